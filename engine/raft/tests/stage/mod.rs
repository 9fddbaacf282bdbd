//! The stage on which stories are played: the nodes, the network between them, and what is said. Beside
//! it, [`lone`]: one replica without a network, for tables of inputs and answers.
#![allow(dead_code, reason = "each test uses its part")]

pub mod lone;
mod words;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use raft::{Change, Config, Index, Message, NodeId, ReadId, Settings, Standing, Time};

use crate::cluster::disk::{Disk, Log};
use crate::cluster::node::{Envelope, Node};
use crate::cluster::{START, settings, voters};

/// A link as in `1->2`.
pub type Link = (NodeId, NodeId);

/// More deliveries than this in one command are a message storm.
const DELIVERIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Stage {
    pub now: Time,
    nodes: Vec<Option<Node>>,
    disks: Vec<Disk>,
    settings: Vec<Settings>,
    /// Who should lead.
    preferred: Option<NodeId>,
    pub held: BTreeSet<NodeId>,
    pub cut: BTreeSet<NodeId>,
    /// Directed links that lose everything.
    pub cut_links: BTreeSet<Link>,
    network: Vec<Envelope>,
    committed: Vec<Index>,
    /// Reads that were confirmed, whose, and at which index.
    pub confirmed: Vec<(NodeId, ReadId, Index)>,
    next_value: u64,
    /// Entries in one append at most.
    pub batch: u64,
    out: String,
}

fn at(node: NodeId) -> usize {
    usize::from(node.0) - 1
}

impl Stage {
    /// The first `voters_count` nodes are the group's founders; the others know them, and are no members yet.
    pub fn new(
        count: u16,
        voters_count: u16,
        preferred: Option<NodeId>,
        configure: impl Fn(&mut Settings),
    ) -> Stage {
        let mut stage = Stage { now: START, next_value: 1, batch: 10, preferred, ..Stage::default() };
        let config = Config::of_voters(&voters(voters_count));
        for node in 1..=count {
            let mut settings = settings(node, 7);
            configure(&mut settings);
            stage.settings.push(settings);
            stage.nodes.push(None);
            let log = Log { config: config.clone(), ..Log::default() };
            stage.disks.push(Disk { log, ..Disk::default() });
            stage.committed.push(Index::ZERO);
        }
        voters(count).into_iter().for_each(|node| stage.restart(node));
        stage
    }

    fn say(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("a string takes everything");
    }

    /// What was said since the last time.
    pub fn take_out(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes[at(id)].as_mut().unwrap_or_else(|| panic!("node {id} is down"))
    }

    pub fn up(&self) -> Vec<NodeId> {
        self.nodes.iter().flatten().map(|node| node.id).collect()
    }

    pub fn restart(&mut self, id: NodeId) {
        assert!(self.nodes[at(id)].is_none(), "node {id} is up");
        let disk = std::mem::take(&mut self.disks[at(id)]);
        let node = Node::start(self.settings[at(id)].clone(), self.preferred == Some(id), disk, self.now);
        self.committed[at(id)] = node.raft.committed();
        self.nodes[at(id)] = Some(node);
    }

    pub fn crash(&mut self, id: NodeId, survive: usize) {
        let node = self.nodes[at(id)].take().expect("a node that is up");
        self.disks[at(id)] = node.crash(survive);
        self.network.retain(|envelope| envelope.from != id && envelope.to != id);
    }

    /// The node stops if it runs, and starts with `disk`, and the configuration it started with before.
    pub fn start_with(&mut self, id: NodeId, mut disk: Disk) {
        if self.nodes[at(id)].is_some() {
            self.crash(id, 0);
        }
        disk.log.config = self.disks[at(id)].log.config.clone();
        self.disks[at(id)] = disk;
        self.restart(id);
    }

    /// The leader of the newest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leaders = self.nodes.iter().flatten().filter(|node| node.raft.is_leader());
        leaders.max_by_key(|node| node.raft.term()).map(|node| node.id)
    }

    /// The disk of a node that is down has lost the entries after `kept`, which is found when it starts.
    pub fn damage(&mut self, id: NodeId, kept: Index) {
        assert!(self.nodes[at(id)].is_none(), "node {id} is up");
        let disk = &mut self.disks[at(id)];
        let log = &mut disk.log;
        let first = kept.max(log.compacted.index).next();
        if first <= log.last() {
            log.write(first, &[], &[]);
        }
        disk.hard_state.standing = Standing::Recovering;
    }

    pub fn propose(&mut self, id: NodeId, count: u64) {
        let values: Vec<u64> = (self.next_value..self.next_value + count).collect();
        self.next_value += count;
        let line = match self.node(id).propose(&values) {
            Ok(first) => format!("{id} appended {first} ..={}", first.index.0 + count - 1),
            Err(error) => format!("{id} refused: {error}"),
        };
        self.say(&line);
    }

    pub fn read(&mut self, id: NodeId) {
        let now = self.now;
        let line = match self.node(id).raft.read(now) {
            Ok(read) => format!("{id} takes read {}", read.0),
            Err(error) => format!("{id} refused: {error}"),
        };
        self.say(&line);
    }

    pub fn transfer(&mut self, id: NodeId, to: NodeId) {
        let now = self.now;
        if let Err(error) = self.node(id).raft.transfer(now, to) {
            self.say(&format!("{id} refused: {error}"));
        }
    }

    /// The snapshot that was offered to `id` has arrived.
    pub fn install(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let Some((from, of)) = self.node(id).offered else { return false };
        let config = self.node(from).log.config_at(of.index);
        self.node(id).install(now, &config)
    }

    pub fn change(&mut self, id: NodeId, changes: &[Change]) {
        let now = self.now;
        if let Err(error) = self.node(id).change(now, changes) {
            self.say(&format!("{id} refused: {error}"));
        }
    }

    pub fn lease(&mut self, id: NodeId) {
        let now = self.now;
        let holds = self.node(id).raft.lease_holds(now);
        self.say(&format!("{id} holds {} lease", if holds { "a" } else { "no" }));
    }

    /// Says when the nodes have something to do by themselves.
    pub fn timers(&mut self) {
        for id in self.up() {
            let (now, deadline) = (self.now, self.node(id).raft.deadline());
            if deadline == Time::NEVER {
                self.say(&format!("{id} sleeps"));
            } else {
                self.say(&format!("{id} wakes in {} ms", deadline.saturating_sub(now).as_millis()));
            }
        }
    }

    pub fn persist(&mut self, id: NodeId, count: usize) {
        let now = self.now;
        let node = self.node(id);
        (0..count.min(node.in_flight())).for_each(|_| node.persist(now));
    }

    /// Takes what is on the link.
    pub fn take(&mut self, (from, to): Link) -> Vec<Envelope> {
        let on_link = |envelope: &Envelope| (envelope.from, envelope.to) == (from, to);
        let (taken, rest) = std::mem::take(&mut self.network).into_iter().partition(on_link);
        self.network = rest;
        taken
    }

    pub fn double(&mut self, link: Link) {
        let taken = self.take(link);
        self.network.extend(taken.iter().cloned().chain(taken.iter().cloned()));
    }

    /// What is on the link arrives in the opposite order.
    pub fn reverse(&mut self, link: Link) {
        let taken = self.take(link);
        self.network.extend(taken.into_iter().rev());
    }

    pub fn refuse(&mut self, link: Link) {
        let now = self.now;
        for envelope in self.take(link) {
            self.node(link.1).raft.refuse(now, envelope.from, envelope.message);
        }
    }

    /// A message that no node has sent.
    pub fn forge(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.network.push(Envelope { from, to, message, entries: Vec::new(), configs: Vec::new() });
    }

    /// All nodes do what a turn's end does: write, send, apply; and it is said what happened.
    pub fn turn(&mut self) {
        for id in self.up() {
            let now = self.now;
            let free = !self.held.contains(&id);
            let node = self.node(id);
            node.settle(now);
            node.submit();
            if free {
                (0..node.in_flight()).for_each(|_| node.persist(now));
                node.submit();
                (0..node.in_flight()).for_each(|_| node.persist(now));
            }
            self.send(id);
            self.tell(id);
        }
    }

    fn send(&mut self, id: NodeId) {
        let (now, batch) = (self.now, self.batch);
        let mut out = Vec::new();
        for to in 1..=u16::try_from(self.nodes.len()).expect("few nodes") {
            self.node(id).send(now, NodeId(to), batch, &mut out);
        }
        out.retain(|envelope| {
            let up = self.nodes[at(envelope.to)].is_some();
            let cut = [envelope.from, envelope.to].iter().any(|node| self.cut.contains(node));
            up && !cut && !self.cut_links.contains(&(envelope.from, envelope.to))
        });
        self.network.extend(out);
    }

    /// Says what the node reports since the last time.
    fn tell(&mut self, id: NodeId) {
        let before = self.committed[at(id)];
        let node = self.node(id);
        let mut lines: Vec<String> = node.events.iter().map(|event| words::event(id, event)).collect();
        node.events.clear();
        let reads = std::mem::take(&mut node.reads);
        self.confirmed.extend(reads.iter().map(|&(read, index)| (id, read, index)));
        let node = self.node(id);
        lines.extend(
            reads.iter().map(|(read, index)| format!("{id} may serve reads up to {} at {index}", read.0)),
        );
        let committed = node.raft.committed();
        if committed != before {
            lines.push(format!("{id} committed {committed}"));
        }
        self.committed[at(id)] = committed;
        lines.iter().for_each(|line| self.say(line));
    }

    /// Delivers what is on `links`, or on all if none is named, and what follows from it on them.
    pub fn deliver(&mut self, links: &[Link], aloud: bool) {
        self.turn();
        let chosen = |envelope: &Envelope| links.is_empty() || links.contains(&(envelope.from, envelope.to));
        for _ in 0..DELIVERIES_MAX {
            let Some(first) = self.network.iter().position(chosen) else { return };
            let envelope = self.network.remove(first);
            if self.nodes[at(envelope.to)].is_none() {
                continue;
            }
            if aloud {
                self.say(&words::message(envelope.from, envelope.to, &envelope.message));
            }
            let now = self.now;
            self.node(envelope.to).step(now, envelope);
            self.turn();
        }
        panic!("the nodes never fall silent");
    }

    /// Delivers the oldest message, if there is one.
    pub fn deliver_one(&mut self) -> bool {
        self.turn();
        if self.network.is_empty() {
            return false;
        }
        let envelope = self.network.remove(0);
        let now = self.now;
        if self.nodes[at(envelope.to)].is_some() {
            self.node(envelope.to).step(now, envelope);
        }
        self.turn();
        true
    }

    /// Time passes; who is due ticks. With `delivering`, all messages arrive at once.
    pub fn wait(&mut self, millis: u64, delivering: bool) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            if delivering {
                self.deliver(&[], false);
            }
            let deadlines = self.nodes.iter().flatten().map(|node| node.raft.deadline());
            let next = deadlines.min().unwrap_or(Time::NEVER).max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            for id in self.up() {
                self.node(id).raft.tick(next);
            }
            self.turn();
        }
        self.now = end;
    }

    pub fn status(&mut self, nodes: &[NodeId]) {
        let all = self.up();
        for &id in if nodes.is_empty() { &all } else { nodes } {
            let node = self.node(id);
            let terms: Vec<u64> = node.log.entries.iter().map(|entry| entry.term.0).collect();
            let line = words::status(id, &node.raft.status(), &terms);
            self.say(&line);
        }
    }
}
