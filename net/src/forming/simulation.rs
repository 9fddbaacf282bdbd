//! Forming and joining under everything that can go wrong: a seeded random simulation of up to 5 founders and 2 nodes
//! that join.
//!
//! The network is worse than TCP: messages are delayed, reordered, lost, doubled, and outlive the processes
//! that sent them and those they were sent to. Nodes crash at any moment and lose what is not synced; in half
//! of the runs one of them comes back with an empty disk, again and again. Then everything heals, and the
//! cluster must form.
//!
//! Where nodes join, an operator adds who waits and removes who lost its disk (and sometimes who joined), as group 0
//! would commit it: one list of rosters, which each member learns in order and late.

mod operator;

use std::collections::BTreeSet;

use fastrand::Rng;
use raft::{NodeId, Time};

use super::*;

struct Node {
    birth: Birth,
    boot: u64,
    founder: bool,
    disk: Option<Cluster>,
    /// Its disk was empty once more.
    wiped: bool,
    /// How many rosters it has learned.
    learned: usize,
    /// `None` while it is down.
    former: Option<Former>,
    /// A sync under way.
    syncing: Option<Cluster>,
    connected: BTreeSet<usize>,
    notices: Vec<Notice>,
}

#[derive(Clone)]
struct Letter {
    /// Delivered after so many steps of the world.
    due: u32,
    from: usize,
    incarnation: u64,
    to: usize,
    message: Forming,
}

struct World {
    random: Rng,
    now: Time,
    nodes: Vec<Node>,
    steps: u32,
    letters: Vec<Letter>,
    /// Lost and doubled messages, crashes, cut connections.
    chaos: bool,
    bad_disk: Option<usize>,
    /// What group 0 has committed.
    rosters: Vec<Roster>,
}

fn node_id(at: usize) -> NodeId {
    NodeId(u16::try_from(at).unwrap() + 1)
}

fn address(node: NodeId) -> Address {
    Address::new("127.0.0.1", 7000 + 100 * node.0).unwrap()
}

impl World {
    fn new(seed: u64, founders: usize, joiners: usize) -> World {
        let mut random = Rng::with_seed(seed);
        // Those who join have the lowest ids or the highest.
        let first = if joiners > 0 && random.bool() { joiners } else { 0 };
        let is_founder = |at: usize| (first..first + founders).contains(&at);
        let node = |at| {
            let listed = (0..founders + joiners).filter(|other| is_founder(*other) || *other == at);
            Node {
                birth: Birth {
                    node: node_id(at),
                    incarnation: random.u64(1..),
                    shard_count: 2,
                    group_count: 16,
                    client: address(node_id(at)),
                    list: listed.map(|at| (node_id(at), address(node_id(at)))).collect(),
                },
                boot: 0,
                founder: is_founder(at),
                disk: None,
                wiped: false,
                learned: 0,
                former: None,
                syncing: None,
                connected: BTreeSet::new(),
                notices: Vec::new(),
            }
        };
        let nodes: Vec<Node> = (0..founders + joiners).map(node).collect();
        let bad_disk = match random.u8(..4) {
            0 => Some(first + random.usize(..founders)),
            1 => Some(first),
            _ => None,
        };
        World {
            random,
            now: Time(1_000_000),
            nodes,
            steps: 0,
            letters: Vec::new(),
            chaos: true,
            bad_disk,
            rosters: Vec::new(),
        }
    }

    fn start(&mut self, at: usize) {
        let candidate = ClusterId(self.random.u128(1..).to_le_bytes());
        let node = &mut self.nodes[at];
        (node.boot, node.learned) = (node.boot + 1, 0);
        let (birth, disk) = (node.birth.clone(), node.disk.clone());
        node.former = Some(Former::new(self.now, birth, node.boot, disk, candidate));
        self.carry_out(at);
    }

    fn crash(&mut self, at: usize) {
        for other in 0..self.nodes.len() {
            self.disconnect(at, other);
        }
        let node = &mut self.nodes[at];
        node.former = None;
        // A sync under way may have reached the disk, or not.
        let synced = node.syncing.take().filter(|_| self.random.bool());
        node.disk = node.disk.take().or(synced);
    }

    fn wipe(&mut self, at: usize) {
        self.crash(at);
        let node = &mut self.nodes[at];
        (node.disk, node.wiped, node.boot) = (None, true, 0);
        node.notices.clear();
        node.birth.incarnation = self.random.u64(1..);
    }

    fn is_formed(&self, at: usize) -> bool {
        self.nodes[at].former.as_ref().is_some_and(|former| former.record().is_some())
    }

    fn connect(&mut self, a: usize, b: usize) {
        let up = |at: usize| self.nodes[at].former.is_some();
        // Two members need no forming; and a handshake finds out.
        if a == b || !up(a) || !up(b) || (self.is_formed(a) && self.is_formed(b)) {
            return;
        }
        for (here, there) in [(a, b), (b, a)] {
            let birth = &self.nodes[there].birth;
            let (peer, incarnation) = (birth.node, birth.incarnation);
            let node = &mut self.nodes[here];
            if node.connected.insert(there) {
                node.former.as_mut().unwrap().connected(self.now, peer, incarnation);
                self.carry_out(here);
            }
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (here, there) in [(a, b), (b, a)] {
            let peer = self.nodes[there].birth.node;
            let node = &mut self.nodes[here];
            if node.connected.remove(&there)
                && let Some(former) = &mut node.former
            {
                former.disconnected(peer);
            }
        }
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].former.as_mut().and_then(Former::take_output) {
            let node = &mut self.nodes[at];
            match output {
                Output::Send { to, message } => {
                    let (from, incarnation, to) = (at, node.birth.incarnation, usize::from(to.0) - 1);
                    self.post(Letter { due: 0, from, incarnation, to, message });
                }
                Output::Sync(cluster) => {
                    assert!(node.syncing.replace(cluster).is_none(), "one record, once");
                }
                Output::Formed(cluster) => {
                    assert_eq!(node.disk.as_ref(), Some(&cluster), "synced before used");
                }
                Output::Reconnect(peer) => {
                    let peer = usize::from(peer.0) - 1;
                    assert!(self.nodes[peer].disk.is_some() || self.nodes[peer].wiped, "said on hearsay");
                    self.disconnect(at, peer);
                }
                Output::Notice(notice) => node.notices.push(notice),
            }
        }
    }

    /// Most letters come soon; some much later, some twice, some never.
    fn post(&mut self, mut letter: Letter) {
        let copies = if self.chaos { [0, 1, 1, 1, 1, 1, 2, 2][self.random.usize(..8)] } else { 1 };
        for _ in 0..copies {
            let late = self.chaos && self.random.u8(..3) == 0;
            letter.due = self.steps + self.random.u32(..if late { 600 } else { 20 });
            self.letters.push(letter.clone());
        }
    }

    fn deliver(&mut self) {
        let due = |letter: &Letter| letter.due <= self.steps;
        let Some(pick) = self.letters.iter().position(due) else { return };
        let Letter { from, incarnation, to, message, .. } = self.letters.swap_remove(pick);
        if let Some(former) = &mut self.nodes[to].former {
            former.heard(self.now, node_id(from), incarnation, through_the_wire(message));
            self.carry_out(to);
        }
    }

    fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(cluster) = node.syncing.take() {
            node.disk = Some(through_the_file(&cluster));
            node.former.as_mut().expect("a crash ends a sync").synced(self.now);
            self.carry_out(at);
        }
    }

    fn pass_time(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
        for at in 0..self.nodes.len() {
            if let Some(former) = &mut self.nodes[at].former {
                former.tick(self.now);
                self.carry_out(at);
            }
        }
    }

    /// One disk of the cluster is a bad one, in half of the runs; of all moments to lose it the worst is when
    /// it alone holds the record, as the founder's does for a while.
    fn lose_disk(&mut self) {
        let Some(bad) = self.bad_disk else { return };
        let others = self.nodes.iter().enumerate().any(|(at, node)| at != bad && node.disk.is_some());
        let alone = self.nodes[bad].disk.is_some() && !others;
        if self.random.u32(..if alone { 15 } else { 3000 }) == 0 {
            self.wipe(bad);
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        if self.chaos {
            self.lose_disk();
        }
        let any = self.random.usize(..self.nodes.len());
        let other = self.random.usize(..self.nodes.len());
        match self.random.u32(..1000) {
            0..5 => self.operate(),
            5..30 => self.learn(any),
            30..550 => self.deliver(),
            550..700 => self.sync(any),
            700..750 => self.pass_time(40),
            750..920 => self.connect(any, other),
            920..940 if self.chaos => self.disconnect(any, other),
            940..960 if self.chaos && self.nodes[any].former.is_some() => self.crash(any),
            _ if self.nodes[any].former.is_none() => self.start(any),
            _ => self.deliver(),
        }
        self.check();
    }

    /// No two clusters, ever; and nobody in one who was not there from the start or added.
    fn check(&self) {
        let mut records = self.nodes.iter().filter_map(|node| node.disk.as_ref()).map(|disk| &disk.record);
        let Some(first) = records.next() else { return };
        assert!(records.all(|record| record == first), "two clusters");
        let founders = self.nodes.iter().filter(|node| node.founder).map(|node| node.birth.node);
        assert!(founders.eq(first.members.iter().map(|member| member.node)), "those who join do not found");
        let formed = Roster::as_formed(first);
        for node in self.nodes.iter().filter(|node| node.disk.is_some()) {
            let mut rosters = std::iter::once(&formed).chain(&self.rosters);
            assert!(rosters.any(|roster| roster.lists(&node.birth)), "only members have the record");
        }
    }

    fn is_done(&self) -> bool {
        let record = self.nodes.iter().find_map(|node| node.disk.as_ref()).map(|disk| &disk.record);
        let joining = self.nodes.iter().any(|node| !node.founder);
        self.nodes.iter().enumerate().all(|(at, node)| {
            let lost_disk = record
                .and_then(|record| record.member(node.birth.node))
                .is_some_and(|member| member.incarnation != node.birth.incarnation);
            let told = node.notices.iter().any(|notice| matches!(notice, Notice::LostDisk { .. }));
            if lost_disk && !joining { told } else { self.is_formed(at) }
        })
    }
}

fn through_the_wire(message: Forming) -> Forming {
    use crate::handshake::Message;
    let mut bytes = Vec::new();
    let message = Message::Forming(message);
    message.encode(&mut bytes);
    match Message::decode(&bytes) {
        Ok(Some((Message::Forming(read), len))) if len == bytes.len() => read,
        other => panic!("{message:?} became {other:?}"),
    }
}

fn through_the_file(cluster: &Cluster) -> Cluster {
    Cluster::decode(&cluster.encode()).unwrap()
}

const SEEDS: u64 = 1000;

/// One run: the world as it was when all was done.
fn run(seed: u64, founders: usize, joiners: usize) -> World {
    let mut world = World::new(seed, founders, joiners);
    for _ in 0..world.random.usize(50..3000) {
        world.step();
    }
    world.chaos = false;
    let mut steps = 0;
    while !world.is_done() {
        steps += 1;
        assert!(
            steps < 50_000,
            "seed {seed}, {founders} founders, {joiners} join: it does not come to an end"
        );
        world.step();
    }
    world
}

fn run_all(founders: usize, joiners: usize, mut look: impl FnMut(World)) {
    for seed in 0..SEEDS {
        match std::panic::catch_unwind(|| run(seed, founders, joiners)) {
            Ok(world) => look(world),
            Err(panic) => {
                eprintln!("seed {seed}, {founders} founders, {joiners} join");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn at_most_one_cluster_forms_and_in_the_end_one_does() {
    let mut disks_lost = 0;
    for founders in [1, 3, 5] {
        run_all(founders, 0, |world| {
            disks_lost += u32::from(world.nodes.iter().any(|node| node.disk.is_none()));
        });
    }
    assert!(disks_lost > 0, "the seeds reach the case of a lost disk");
}

#[test]
fn those_who_join_come_in_once_they_are_added_and_never_found_a_cluster() {
    let (mut replaced, mut removed) = (0, 0);
    for (founders, joiners) in [(3, 1), (3, 2), (5, 1)] {
        run_all(founders, joiners, |world| {
            let last = world.rosters.last().expect("somebody was added");
            let founder = |node: NodeId| world.nodes[usize::from(node.0) - 1].founder;
            replaced += last.removed.iter().filter(|tombstone| founder(tombstone.node)).count();
            removed += last.removed.iter().filter(|tombstone| !founder(tombstone.node)).count();
        });
    }
    assert!(replaced > 0 && removed > 0, "the seeds reach lost disks that were replaced, and removals");
}
