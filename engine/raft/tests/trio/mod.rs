//! Three nodes with a replica of each of many groups, on a perfect network and a disk that takes no time.

use std::rc::Rc;
use std::time::Duration;

use raft::{Config, GroupId, Message, NodeId, Raft, Restored, Settings, Time};

pub const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
pub const ENTRY_BYTES: u64 = 176;

pub struct Trio {
    /// By node and group.
    pub nodes: [Vec<Raft>; 3],
    pub now: Time,
}

fn settings(node: NodeId) -> Settings {
    Settings {
        node,
        election_timeout_min: Duration::from_millis(1000),
        election_timeout_max: Duration::from_millis(1500),
        beat_interval: Duration::from_millis(100),
        inflight_appends_max: 64,
        inflight_bytes_max: 8 << 20,
        uncommitted_bytes_max: 8 << 20,
        seed: 7,
        quiesce_after: Some(Duration::from_secs(1)),
        lease: Some(Duration::from_millis(800)),
    }
}

pub fn persist(raft: &mut Raft) {
    if let Some(write) = raft.take_write() {
        raft.persisted(write);
    }
}

pub fn apply(raft: &mut Raft) {
    while raft.take_event().is_some() {}
    raft.applied(raft.committed());
}

/// One append with all there is to send.
pub fn append(leader: &mut Raft, now: Time, to: NodeId) -> Option<Message> {
    let plan = leader.next_append(to)?;
    let bytes = ENTRY_BYTES * (plan.last.0 - plan.first.0 + 1);
    Some(leader.append(now, to, plan.last, u32::try_from(bytes).expect("few entries")))
}

impl Trio {
    pub fn new(groups: u32) -> Trio {
        let restored = || Restored { config: Config::of_voters(&IDS), ..Restored::default() };
        let nodes = IDS.map(|node| {
            let settings = Rc::new(settings(node));
            let raft = |group| Raft::new(&settings, GroupId(group), false, restored(), Time(0));
            (1..=groups).map(raft).collect()
        });
        Trio { nodes, now: Time(0) }
    }

    pub fn groups(&self) -> usize {
        self.nodes[0].len()
    }

    /// Delivers the group's messages until there are none.
    pub fn settle(&mut self, group: usize) {
        let now = self.now;
        let mut busy = true;
        while std::mem::take(&mut busy) {
            for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
                persist(&mut self.nodes[from][group]);
                apply(&mut self.nodes[from][group]);
                while let Some(message) = append(&mut self.nodes[from][group], now, IDS[to])
                    .or_else(|| self.nodes[from][group].take_message(now, IDS[to]))
                {
                    self.nodes[to][group].step(now, IDS[from], message, &[]);
                    busy = true;
                }
            }
        }
    }

    /// The node leads all groups from now on.
    pub fn elect(&mut self, node: usize) {
        // Nobody has heard a leader for so long that votes are free.
        self.now = self.now + Duration::from_secs(2);
        for group in 0..self.groups() {
            self.nodes[node][group].campaign(self.now);
            self.settle(group);
            assert!(self.nodes[node][group].is_leader());
        }
    }

    /// `proposals` of one entry each in every group, `ahead` of them sent before the first is acked.
    pub fn replicate(&mut self, leader: usize, proposals: usize, ahead: usize) {
        assert_eq!(proposals % ahead, 0);
        let followers = [0, 1, 2].map(|node| (node != leader).then_some(node));
        for group in 0..self.groups() {
            for _ in 0..proposals / ahead {
                let mut sent = Vec::with_capacity(2 * ahead);
                for _ in 0..ahead {
                    let raft = &mut self.nodes[leader][group];
                    raft.propose(1, ENTRY_BYTES).expect("it leads");
                    for to in followers.into_iter().flatten() {
                        sent.push((to, append(raft, self.now, IDS[to]).expect("a new entry")));
                    }
                    persist(raft);
                }
                for (to, message) in sent {
                    let follower = &mut self.nodes[to][group];
                    follower.step(self.now, IDS[leader], message, &[]);
                    persist(follower);
                    apply(follower);
                    let ack = follower.take_message(self.now, IDS[leader]).expect("an ack");
                    self.nodes[leader][group].step(self.now, IDS[to], ack, &[]);
                }
            }
            self.settle(group);
        }
    }

    /// Time passes without requests until every replica rests.
    pub fn rest(&mut self) {
        for _ in 0..50 {
            self.now = self.now + Duration::from_millis(100);
            for group in 0..self.groups() {
                let awake = self.nodes.iter_mut().map(|rafts| &mut rafts[group]);
                let due: Vec<&mut Raft> = awake.filter(|raft| raft.deadline() <= self.now).collect();
                if due.is_empty() {
                    continue;
                }
                due.into_iter().for_each(|raft| raft.tick(self.now));
                self.settle(group);
            }
        }
        assert!(self.nodes.iter().flatten().all(Raft::is_quiesced));
    }
}
