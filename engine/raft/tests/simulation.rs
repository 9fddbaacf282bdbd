//! Thousands of short random lives of small clusters: messages late, lost, doubled and swapped; syncs
//! late; crashes that lose what was not synced; cuts of the network; snapshots, transfers and reads in
//! between. After each, the faults stop and the cluster must heal with no new proposal.
//!
//! A failing seed is printed; `RINGRAFT_RAFT_SEED=n` runs it alone, `RINGRAFT_RAFT_SEEDS=n` runs more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use std::time::Duration;

use cluster::check::Checker;
use cluster::disk::{Disk, Log};
use cluster::node::{Envelope, Node};
use cluster::{START, settings, voters};
use raft::{Body, Config, Index, NodeId, ReadId, Time};

/// A place in the cluster: a running node, or the disk of one that is down.
enum Place {
    Up(Box<Node>),
    Down(Disk),
}

impl Place {
    fn disk(&self) -> &Disk {
        match self {
            Place::Up(node) => &node.disk,
            Place::Down(disk) => disk,
        }
    }
}

struct Simulation {
    random: fastrand::Rng,
    now: Time,
    voters: Vec<NodeId>,
    places: Vec<Place>,
    network: Vec<Envelope>,
    /// Directed links that lose everything.
    cut: Vec<(NodeId, NodeId)>,
    checker: Checker,
    next_value: u64,
    /// Reads in flight: which node, its id, and what was committed anywhere when it came.
    reads: Vec<(NodeId, ReadId, Index)>,
    reads_served: usize,
    lives: u64,
    /// How many of a hundred steps of time are long enough for elections.
    restless: u8,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = fastrand::Rng::with_seed(seed);
        let voters = voters(*random.choice(&[1, 2, 3, 3, 3, 4, 5]).unwrap());
        let restless = *random.choice(&[0, 10, 40]).unwrap();
        let config = Config::of_voters(&voters);
        let new = || Disk { log: Log { config: config.clone(), ..Log::default() }, ..Disk::default() };
        let places = voters.iter().map(|_| Place::Down(new())).collect();
        let (network, cut, reads) = (Vec::new(), Vec::new(), Vec::new());
        let checker = Checker::default();
        let mut simulation = Simulation {
            random,
            now: START,
            voters,
            places,
            network,
            cut,
            checker,
            next_value: 1,
            reads,
            reads_served: 0,
            lives: 0,
            restless,
        };
        (0..simulation.places.len()).for_each(|at| simulation.restart(at));
        simulation
    }

    fn restart(&mut self, at: usize) {
        if let Place::Down(disk) = &mut self.places[at] {
            self.lives += 1;
            let settings = settings(self.voters[at].0, self.lives);
            let preferred = at == 0 && self.random.bool();
            let node = Node::start(settings, preferred, std::mem::take(disk), self.now);
            self.checker.restarted(node.id);
            self.places[at] = Place::Up(Box::new(node));
        }
    }

    fn crash(&mut self, at: usize) {
        let survive = self.random.usize(..3);
        let place = &mut self.places[at];
        if let Place::Up(_) = place {
            let Place::Up(node) = std::mem::replace(place, Place::Down(Disk::default())) else { return };
            self.reads.retain(|(reader, ..)| *reader != node.id);
            *place = Place::Down(node.crash(survive));
        }
    }

    /// Lets a node that runs do something, and checks all invariants after it.
    fn with<R>(&mut self, at: usize, act: impl FnOnce(&mut Node, Time) -> R) -> Option<R> {
        let now = self.now;
        let Place::Up(node) = &mut self.places[at] else { return None };
        let result = act(node, now);
        node.settle(now);
        let events: Vec<_> = node.events.drain(..).collect();
        if !node.raft.is_leader() {
            self.reads.retain(|(reader, ..)| *reader != node.id);
        }
        if let Place::Up(node) = &self.places[at] {
            self.checker.check(node, &events, self.places.iter().map(Place::disk));
        }
        Some(result)
    }

    fn send(&mut self, at: usize, to: NodeId) {
        let entries_max = self.random.u64(1..6);
        let mut out = Vec::new();
        self.with(at, |node, now| node.send(now, to, entries_max, &mut out));
        for envelope in out {
            self.checker.sent(envelope.from, envelope.to, &envelope.message);
            self.check_ack(&envelope);
            if !self.cut.contains(&(envelope.from, envelope.to)) {
                self.network.push(envelope);
            }
        }
        self.serve_reads(at);
    }

    /// What a node acks is on its disk, and the same as in the log of the leader it acks to.
    fn check_ack(&self, ack: &Envelope) {
        let disk = self.places[usize::from(ack.from.0 - 1)].disk();
        let matched = match ack.message.body {
            Body::AppendAck { matched, .. } => matched,
            Body::SnapshotAck { id, installed: true } => id.index,
            _ => return,
        };
        assert!(disk.hard_state.term >= ack.message.term, "{:?} acks in a term it may forget", ack.from);
        assert!(matched <= disk.log.last(), "{:?} acks {matched:?}, which it may forget", ack.from);
        if let Place::Up(leader) = &self.places[usize::from(ack.to.0 - 1)]
            && leader.raft.is_leader()
            && leader.raft.term() == ack.message.term
            && let (Some(own), Some(acked)) = (leader.log.get(matched), disk.log.get(matched))
        {
            assert_eq!(own, acked, "{:?} acks another entry at {matched:?}", ack.from);
        }
    }

    fn serve_reads(&mut self, at: usize) {
        let confirmed = self.with(at, |node, _| std::mem::take(&mut node.reads)).unwrap_or_default();
        let reader = self.voters[at];
        for (id, index) in confirmed {
            self.reads.retain(|&(node, read, floor)| {
                let confirmed = node == reader && read <= id;
                assert!(!confirmed || index >= floor, "a read at {index:?} misses what {floor:?} committed");
                self.reads_served += usize::from(confirmed);
                !confirmed
            });
        }
    }

    fn deliver(&mut self, at: usize) {
        let envelope = self.network.remove(at);
        let to = usize::from(envelope.to.0 - 1);
        if self.random.u8(..40) == 0 {
            self.with(to, |node, now| node.raft.refuse(now, envelope.from, envelope.message));
        } else {
            self.with(to, |node, now| node.step(now, envelope));
        }
    }

    fn propose(&mut self, at: usize) {
        let count = self.random.u64(1..5);
        let values: Vec<u64> = (self.next_value..self.next_value + count).collect();
        self.next_value += count;
        self.with(at, |node, _| node.propose(&values));
    }

    fn read(&mut self, at: usize) {
        let floor = self.checker.newest().index;
        if let Some(Ok(id)) = self.with(at, |node, now| node.raft.read(now)) {
            self.reads.push((self.voters[at], id, floor));
        }
    }

    /// One random thing happens.
    fn chaos(&mut self) {
        let at = self.random.usize(..self.places.len());
        let other = *self.random.choice(&self.voters).unwrap();
        match self.random.u32(..1000) {
            0..300 => self.send(at, other),
            300..600 if !self.network.is_empty() => {
                let fifo = self.random.u8(..4) > 0;
                let place = if fifo { 0 } else { self.random.usize(..self.network.len()) };
                match self.random.u8(..20) {
                    0 => drop(self.network.remove(place)),
                    1 => self.network.push(self.network[place].clone()),
                    _ => self.deliver(place),
                }
            }
            600..700 => drop(self.with(at, |node, _| node.submit())),
            700..800 => drop(self.with(at, Node::persist)),
            800..860 => self.propose(at),
            860..890 => self.read(at),
            890..940 => {
                let jump = if self.random.u8(..100) < self.restless { 1500 } else { 150 };
                self.now = self.now + Duration::from_millis(self.random.u64(..jump));
                for at in 0..self.places.len() {
                    self.with(at, |node, now| node.raft.tick(now));
                }
            }
            940..950 => self.crash(at),
            950..970 => self.restart(at),
            970..980 => {
                let to = Index(self.random.u64(..20) + self.checker.history.len().saturating_sub(10) as u64);
                self.with(at, |node, _| node.compact(to));
            }
            980..984 => drop(self.with(at, |node, now| node.raft.campaign(now))),
            984..988 => drop(self.with(at, |node, now| node.raft.transfer(now, other))),
            988..991 => drop(self.with(at, |node, _| node.raft.unreachable(other))),
            991..994 => self.cut.push((self.voters[at], other)),
            994..996 => self.cut.clear(),
            996..998 => self.end_snapshot(at, other),
            _ => {
                let config = Config::of_voters(&self.voters);
                self.with(at, |node, now| node.install(now, &config));
            }
        }
    }

    /// A stretch of life in which the network is cut in two and some disks hardly answer, but everybody
    /// is busy: leaders come and go on both sides, and logs grow apart.
    fn storm(&mut self) {
        let nodes = self.places.len();
        let (side, slow) = (self.random.u32(..), self.random.u32(..) & self.random.u32(..));
        let sides = |node: &NodeId| side >> node.0 & 1;
        let links = self.voters.iter().flat_map(|a| self.voters.iter().map(move |b| (*a, *b)));
        self.cut = links.filter(|(a, b)| sides(a) != sides(b)).collect();
        let end = self.now + Duration::from_millis(self.random.u64(300..4000));
        while self.now < end {
            for at in 0..nodes {
                let persists = slow >> at & 1 == 0 || self.random.u8(..30) == 0;
                let (submits, installs) = (self.random.u8(..4) > 0, self.random.u8(..8) == 0);
                let config = Config::of_voters(&self.voters);
                self.with(at, |node, now| {
                    node.raft.tick(now);
                    if installs {
                        node.install(now, &config);
                    }
                    if submits {
                        node.submit();
                    }
                    (0..node.in_flight()).filter(|_| persists).for_each(|_| node.persist(now));
                });
                if self.random.u8(..6) == 0 {
                    self.propose(at);
                }
                (0..nodes).for_each(|to| self.send(at, self.voters[to]));
            }
            for envelope in std::mem::take(&mut self.network) {
                if self.random.u8(..50) > 0 {
                    let to = usize::from(envelope.to.0 - 1);
                    self.with(to, |node, now| node.step(now, envelope));
                }
            }
            self.now = self.now + Duration::from_millis(self.random.u64(..100));
        }
        (0..nodes)
            .filter(|_| self.random.u8(..3) == 0)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| self.crash(at));
        (0..nodes)
            .filter(|_| self.random.u8(..3) > 0)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| self.restart(at));
        if self.random.bool() {
            self.cut.clear();
        }
    }

    /// The sending of a snapshot ends, well only if the follower really has it.
    fn end_snapshot(&mut self, at: usize, to: NodeId) {
        let has = self.places[usize::from(to.0 - 1)].disk().log.compacted;
        let id = self.with(at, |node, _| node.log.compacted).unwrap_or_default();
        self.with(at, |node, now| node.raft.snapshot_sent(now, to, id, has.index >= id.index));
    }

    /// No more faults and nothing new: everything moves until nobody has anything to do at once.
    fn calm(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            let config = Config::of_voters(&self.voters);
            for at in 0..self.places.len() {
                self.with(at, |node, now| {
                    node.raft.tick(now);
                    node.install(now, &config);
                    node.submit();
                    (0..node.in_flight()).for_each(|_| node.persist(now));
                });
                (0..self.voters.len()).for_each(|to| self.send(at, self.voters[to]));
            }
            if self.network.is_empty() {
                self.now = self.now + Duration::from_millis(20);
            }
            for envelope in std::mem::take(&mut self.network) {
                let to = usize::from(envelope.to.0 - 1);
                self.with(to, |node, now| node.step(now, envelope));
            }
        }
    }

    fn up(&self) -> Vec<&Node> {
        let nodes = self.places.iter().filter_map(|place| match place {
            Place::Up(node) => Some(&**node),
            Place::Down(_) => None,
        });
        nodes.collect()
    }

    fn match_logs(&self) {
        let nodes = self.up();
        for (at, a) in nodes.iter().enumerate() {
            nodes[at + 1..].iter().for_each(|b| self.checker.match_logs(a, b));
        }
    }

    fn assert_healed(&self) {
        let nodes = self.up();
        let leader = nodes.iter().find(|node| node.raft.is_leader()).expect("a leader after healing");
        for node in &nodes {
            let raft = &node.raft;
            assert_eq!(raft.leader(), Some(leader.id), "{:?} follows another", node.id);
            let own = (raft.term(), raft.last(), raft.committed(), raft.persisted_index());
            let last = leader.raft.last();
            assert_eq!(
                own,
                (leader.raft.term(), last, last, last),
                "{:?} is behind: {:?}",
                node.id,
                leader.raft.status()
            );
        }
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            self.chaos();
            if step % 100 == 0 {
                self.storm();
                self.match_logs();
            }
        }
        self.cut.clear();
        (0..self.places.len()).for_each(|at| self.restart(at));
        let acknowledged = self.checker.history.len();
        self.calm(Duration::from_secs(8));
        self.match_logs();
        self.assert_healed();
        assert!(self.checker.history.len() >= acknowledged.max(1));
        let leader = self.up().iter().position(|node| node.raft.is_leader()).unwrap();
        self.read(leader);
        self.propose(leader);
        self.calm(Duration::from_millis(300));
        assert!(self.reads.is_empty(), "a read after healing is served");
        self.assert_healed();
    }
}

/// Names the seed when a life ends badly.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RINGRAFT_RAFT_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn clusters_keep_their_promises_and_heal() {
    let seeds = match number("RINGRAFT_RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGRAFT_RAFT_SEEDS").unwrap_or(2500),
    };
    let (mut committed, mut reads) = (0, 0);
    for seed in seeds.clone() {
        let named = Seed(seed);
        let mut simulation = Simulation::new(seed);
        simulation.run(800);
        committed += simulation.checker.history.len();
        reads += simulation.reads_served;
        drop(named);
    }
    println!("{} lives: {committed} entries committed, {reads} reads served", seeds.clone().count());
    assert!(committed > seeds.clone().count(), "the simulation does too little to mean anything");
}
