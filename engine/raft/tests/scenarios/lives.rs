//! Random lives of groups that come to rest, read by lease and change their members, among shards that vouch for
//! themselves as the engine's do. In the end nothing is broken any more and nothing new is asked for: the group must
//! have a leader, agree, and come to rest.
//!
//! `RINGRAFT_LIFE=n` runs one life, `RINGRAFT_LIVES=n` so many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft::{Change, Index, NodeId, ReadId, Standing, Time};

use crate::cluster::disk::Entry;
use crate::stage::{Link, Stage};

const NODES: u16 = 5;
/// Between two looks at everything.
const STEP_MS: u64 = 50;
const SILENCE: Duration = Duration::from_millis(1000);

struct Life {
    stage: Stage,
    random: fastrand::Rng,
    /// When a shard's beat last reached another shard, and in which life of the sender.
    heard: BTreeMap<Link, (Time, u32)>,
    boots: BTreeMap<NodeId, u32>,
    held_since: BTreeMap<NodeId, Time>,
    /// Whom a shard has told its replicas to be lost.
    lost: BTreeSet<Link>,
    /// Who has lost entries it acknowledged and has not caught up yet. Nobody survives two of these.
    damaged: Option<NodeId>,
    history: BTreeMap<Index, Entry>,
    /// Reads that wait: whose, and what was committed when they came.
    reads: Vec<(NodeId, ReadId, Index)>,
    served: usize,
    recovered: usize,
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=NODES).map(NodeId)
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = fastrand::Rng::with_seed(seed);
        let voters = random.u16(1..=NODES);
        let lease = random.bool().then_some(Duration::from_millis(800));
        let rest = (random.u8(..4) > 0).then_some(Duration::from_millis(500));
        let stage = Stage::new(NODES, voters, Some(NodeId(1)), |settings| {
            (settings.lease, settings.quiesce_after, settings.seed) = (lease, rest, seed);
        });
        Life {
            stage,
            random,
            heard: BTreeMap::new(),
            boots: BTreeMap::new(),
            held_since: BTreeMap::new(),
            lost: BTreeSet::new(),
            damaged: None,
            history: BTreeMap::new(),
            reads: Vec::new(),
            served: 0,
            recovered: 0,
        }
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.random.u16(1..=NODES))
    }

    fn is_cut(&self, link: Link) -> bool {
        let cut = |node| self.stage.cut.contains(&node);
        cut(link.0) || cut(link.1) || self.stage.cut_links.contains(&link)
    }

    /// Time passes; then shards look who vouches, and everything is checked.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(STEP_MS) {
            self.stage.wait(STEP_MS, true);
            self.vouch();
            self.check();
        }
    }

    /// Time passes, and some links are slow.
    fn pass_slowly(&mut self) {
        let slow = self.random.u32(..) & self.random.u32(..);
        let links = nodes().flat_map(|a| nodes().map(move |b| (a, b)));
        let fast: Vec<Link> =
            links.enumerate().filter(|(at, _)| slow >> at & 1 == 0).map(|(_, link)| link).collect();
        for _ in 0..self.random.u64(1..20) {
            self.stage.wait(STEP_MS, false);
            self.stage.deliver(&fast, false);
            self.vouch();
            self.check();
            if self.random.u8(..4) == 0 {
                let leader = self.node();
                if self.stage.up().contains(&leader) {
                    self.read(leader);
                }
            }
        }
    }

    /// A shard vouches if its disk does not hang. One that is not vouched for, or was started anew, is lost, which is
    /// told once.
    fn vouch(&mut self) {
        let (now, up) = (self.stage.now, self.stage.up());
        for (from, to) in nodes().flat_map(|from| nodes().map(move |to| (from, to))) {
            if from == to || !up.contains(&to) {
                continue;
            }
            let hangs =
                self.held_since.get(&from).is_some_and(|&since| now.saturating_sub(since) > SILENCE / 2);
            let boot = self.boots.get(&from).copied().unwrap_or(0);
            let speaks = up.contains(&from) && !hangs && !self.is_cut((from, to));
            let (last, known) = *self.heard.entry((from, to)).or_insert((now, boot));
            if speaks {
                self.heard.insert((from, to), (now, boot));
                self.lost.remove(&(from, to));
            }
            let silent = !speaks && now.saturating_sub(last) >= SILENCE && self.lost.insert((from, to));
            let anew = speaks && known != boot;
            // Whoever came to rest on the word of a shard that does not vouch is told again.
            let rests = self.lost.contains(&(from, to)) && self.stage.node(to).raft.leader() == Some(from);
            if silent || anew || rests {
                self.stage.node(to).raft.peer_lost(now, from);
            }
        }
    }

    fn check(&mut self) {
        for id in self.stage.up() {
            let node = self.stage.node(id);
            for index in node.log.compacted.index.0 + 1..=node.raft.committed().0 {
                let entry = node.log.get(Index(index)).expect("what is committed is there");
                let first = *self.history.entry(Index(index)).or_insert(entry);
                assert_eq!(first, entry, "two entries committed at {index}");
            }
        }
        if let Some(node) = self.damaged
            && self.stage.up().contains(&node)
            && self.stage.node(node).raft.standing() == Standing::Normal
        {
            self.damaged = None;
            self.recovered += 1;
        }
        for (node, read, index) in std::mem::take(&mut self.stage.confirmed) {
            let confirmed = |&(reader, id, _): &(NodeId, ReadId, Index)| reader == node && id <= read;
            for (_, id, floor) in self.reads.extract_if(.., |waiting| confirmed(waiting)) {
                assert!(index >= floor, "read {id:?} of {node} at {index} misses {floor}");
                self.served += 1;
            }
        }
        let up = self.stage.up();
        self.reads.retain(|(node, ..)| up.contains(node));
        for node in up {
            if !self.stage.node(node).raft.is_leader() {
                self.reads.retain(|(reader, ..)| *reader != node);
            }
        }
    }

    /// A voter's disk loses entries, if the group can do without that voter.
    fn damage(&mut self, leader: NodeId, node: NodeId) {
        let raft = &self.stage.node(leader).raft;
        let config = raft.config();
        let spare = config.voters.len() >= 3 && config.is_voter(node) && !config.is_joint();
        let settled = self.stage.up().into_iter().all(|id| self.stage.node(id).raft.config() == config);
        if self.damaged.is_none() && spare && settled && self.stage.up().len() == usize::from(NODES) {
            let last = self.stage.node(node).raft.last();
            self.stage.crash(node, 0);
            self.stage.damage(node, Index(last.0.saturating_sub(self.random.u64(..9))));
            self.restart(node);
            self.damaged = Some(node);
        }
    }

    fn read(&mut self, node: NodeId) {
        // What anybody may have told a client.
        let floor = self.history.keys().next_back().copied().unwrap_or_default();
        let now = self.stage.now;
        if let Ok(id) = self.stage.node(node).raft.read(now) {
            self.reads.push((node, id, floor));
        }
    }

    fn restart(&mut self, node: NodeId) {
        *self.boots.entry(node).or_default() += 1;
        self.heard.retain(|link, _| link.1 != node);
        self.lost.retain(|link| link.1 != node);
        self.stage.restart(node);
    }

    fn release(&mut self) {
        self.stage.held.clear();
        self.held_since.clear();
    }

    fn install(&mut self) {
        for node in self.stage.up() {
            let from = self.stage.node(node).offered.map(|(from, _)| from);
            let there =
                from.is_some_and(|from| self.stage.up().contains(&from) && !self.is_cut((from, node)));
            if there && self.random.u8(..3) == 0 {
                self.stage.install(node);
            }
        }
    }

    fn break_link(&mut self) {
        let link = (self.node(), self.node());
        self.stage.cut_links.insert(link);
        if self.random.bool() {
            self.stage.cut_links.insert((link.1, link.0));
        }
    }

    fn heal(&mut self) {
        self.stage.cut.clear();
        self.stage.cut_links.clear();
        // Connections that were broken are made anew, and both ends know.
        for (a, b) in nodes().flat_map(|a| nodes().map(move |b| (a, b))) {
            if a != b && self.stage.up().contains(&a) && self.random.bool() {
                self.stage.node(a).raft.unreachable(b);
            }
        }
    }

    fn change(&mut self, leader: NodeId) {
        let count = self.random.usize(1..3);
        let changes: Vec<Change> = (0..count)
            .map(|_| match (self.node(), self.random.u8(..4)) {
                (node, 0 | 1) => Change::Voter(node),
                (node, 2) => Change::Learner(node),
                (node, _) => Change::Remove(node),
            })
            .collect();
        self.stage.change(leader, &changes);
    }

    fn happen(&mut self) {
        let (one, now) = (self.node(), self.stage.now);
        let is_up = self.stage.up().contains(&one);
        let leaders: Vec<NodeId> =
            self.stage.up().into_iter().filter(|&id| self.stage.node(id).raft.is_leader()).collect();
        let leader =
            if leaders.is_empty() { None } else { Some(leaders[self.random.usize(..leaders.len())]) };
        match (self.random.u8(..100), leader) {
            (0..14, Some(leader)) => self.stage.propose(leader, 1),
            (14..28, Some(leader)) => self.read(leader),
            (28..33, Some(leader)) if self.damaged.is_none() => self.change(leader),
            (84..88, Some(leader)) => self.damage(leader, one),
            (33..36, Some(leader)) => self.stage.transfer(leader, one),
            (36..39, _) if is_up => {
                let survive = self.random.usize(..3);
                self.stage.crash(one, survive);
            }
            (39..52, _) if !is_up => self.restart(one),
            (52..56, _) => self.break_link(),
            (56..58, _) => drop(self.stage.cut.insert(one)),
            (58..66, _) => self.heal(),
            (66..68, _) => {
                self.stage.held.insert(one);
                self.held_since.insert(one, now);
            }
            (68..74, _) => self.release(),
            (74..76, _) if is_up => {
                let to = self.stage.node(one).raft.committed();
                self.stage.node(one).compact(to);
            }
            (76..77, _) if is_up => self.stage.node(one).raft.campaign(now),
            (77..79, _) => self.pass(2500),
            (79..84, _) => self.pass_slowly(),
            _ => self.install(),
        }
    }

    /// Nothing breaks any more, nothing new is asked for.
    fn calm(&mut self, millis: u64) {
        self.release();
        self.heal();
        let up: BTreeSet<NodeId> = self.stage.up().into_iter().collect();
        nodes().filter(|node| !up.contains(node)).for_each(|node| self.restart(node));
        for _ in 0..millis / 100 {
            self.pass(100);
            for node in nodes() {
                if self.stage.node(node).offered.is_some() {
                    self.stage.install(node);
                }
            }
        }
    }

    fn healed(&mut self) -> NodeId {
        self.stage.status(&[]);
        let told = self.stage.take_out();
        let story = told.lines().rev().take(usize::from(NODES)).collect::<Vec<_>>().join("\n");
        let leader = self.stage.leader().unwrap_or_else(|| panic!("nobody leads:\n{story}"));
        let raft = &self.stage.node(leader).raft;
        let (config, last, rests) = (raft.config(), raft.last(), raft.is_quiesced());
        assert!(!config.is_joint() && raft.is_config_committed(), "the change has ended:\n{story}");
        assert_eq!(raft.committed(), last, "{story}");
        for member in config.members() {
            let raft = &self.stage.node(member).raft;
            let own = (raft.leader(), raft.config(), raft.committed(), raft.persisted_index());
            assert_eq!(own, (Some(leader), config.clone(), last, last), "{member}:\n{story}");
            assert_eq!(raft.is_quiesced(), rests, "{member}:\n{story}");
            assert!(!rests || raft.deadline() == Time::NEVER, "{member} rests:\n{story}");
        }
        leader
    }

    fn run(&mut self) {
        for _ in 0..150 {
            self.happen();
            self.pass(STEP_MS);
            self.stage.take_out();
        }
        self.calm(14_000);
        let leader = self.healed();
        self.stage.propose(leader, 1);
        self.read(leader);
        self.calm(6000);
        assert!(self.reads.is_empty(), "the last read is answered");
        self.healed();
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGRAFT_LIFE={}", self.0);
        }
    }
}

#[test]
fn groups_heal_and_come_to_rest_whatever_happened() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds =
        number("RINGRAFT_LIFE").map_or(0..number("RINGRAFT_LIVES").unwrap_or(150), |one| one..one + 1);
    let (mut served, mut committed, mut recovered) = (0, 0, 0);
    for seed in seeds.clone() {
        let named = Named(seed);
        let mut life = Life::new(seed);
        life.run();
        served += life.served;
        committed += life.history.len();
        recovered += life.recovered;
        drop(named);
    }
    println!(
        "{} lives: {committed} entries committed, {served} reads served, {recovered} recovered",
        seeds.count()
    );
}
