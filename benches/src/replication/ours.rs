//! Our core, driven as a shard drives it.

use std::rc::Rc;
use std::time::Duration;

use raft::{Config, GroupId, Message, NodeId, Raft, Restored, Settings, Time};

use super::{COMMAND_BYTES, Meter, NODES, Operation, Pass, Side, WINDOW};

const IDS: [NodeId; NODES] = [NodeId(1), NodeId(2), NodeId(3)];
const LEADER: NodeId = IDS[0];
const BEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Our replicas, by node and group.
pub struct Ours {
    nodes: [Vec<Raft>; NODES],
    now: Time,
    /// Messages with their group and the follower, from one step to the next. Kept, so that room for them costs
    /// nothing in what is measured.
    appends: Vec<(usize, usize, Message)>,
    acks: Vec<(usize, usize, Message)>,
}

fn settings(node: NodeId) -> Settings {
    Settings {
        node,
        election_timeout_min: Duration::from_millis(1000),
        election_timeout_max: Duration::from_millis(1500),
        beat_interval: BEAT_INTERVAL,
        inflight_appends_max: WINDOW,
        inflight_bytes_max: 8 << 20,
        uncommitted_bytes_max: 8 << 20,
        seed: 7,
        quiesce_after: None,
        lease: None,
    }
}

/// The log below has written it.
fn persist(raft: &mut Raft) {
    if let Some(write) = raft.take_write() {
        raft.persisted(write);
    }
}

fn apply(raft: &mut Raft) {
    while raft.take_event().is_some() {}
    raft.applied(raft.committed());
}

fn entry_bytes(entries: u64) -> u64 {
    entries * raft::entry_bytes(COMMAND_BYTES) as u64
}

/// All there is to send to a follower, in one append.
fn append(leader: &mut Raft, now: Time, to: NodeId) -> Option<Message> {
    let plan = leader.next_append(to)?;
    let bytes = entry_bytes(plan.last.0 - plan.first.0 + 1);
    Some(leader.append(now, to, plan.last, u32::try_from(bytes).expect("few entries")))
}

/// A follower's part.
fn follow(follower: &mut Raft, now: Time, message: Message) -> Option<Message> {
    follower.step(now, LEADER, message, &[]);
    persist(follower);
    apply(follower);
    follower.take_message(now, LEADER)
}

impl Ours {
    /// Replicas that have elected their leaders and committed the first entries of their terms.
    ///
    /// # Panics
    /// If they do not: nothing is measured then.
    #[must_use]
    pub fn new(groups: usize) -> Ours {
        let now = Time(0);
        let restored = || Restored { config: Config::of_voters(&IDS), ..Restored::default() };
        let groups = u32::try_from(groups).expect("few groups");
        let nodes = IDS.map(|node| {
            let settings = Rc::new(settings(node));
            (1..=groups).map(|group| Raft::new(&settings, GroupId(group), false, restored(), now)).collect()
        });
        let mut ours = Ours { nodes, now, appends: Vec::new(), acks: Vec::new() };
        for group in 0..ours.groups() {
            ours.nodes[0][group].campaign(now);
            ours.settle(group);
            assert!(ours.nodes[0][group].is_leader(), "the only one that campaigns wins");
        }
        ours.beat(&mut Meter::of_allocations(), Pass { repeat: 1, batch: 1 });
        ours
    }

    /// Delivers the group's messages until there are none.
    fn settle(&mut self, group: usize) {
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

    fn groups(&self) -> usize {
        self.nodes[0].len()
    }

    /// A later moment, before any beat is due.
    fn pass_time(&mut self) {
        self.now = self.now + Duration::from_micros(1);
    }
}

impl Side for Ours {
    fn name(&self) -> &'static str {
        "ringraft"
    }

    fn replicate(&mut self, meter: &mut Meter, pass: Pass) {
        self.pass_time();
        let now = self.now;
        let [leaders, seconds, thirds] = &mut self.nodes;
        meter.section(Operation::ReplicatedEntry, || {
            for (leader, (second, third)) in leaders.iter_mut().zip(seconds.iter_mut().zip(thirds)) {
                for _ in 0..pass.repeat {
                    leader.propose(pass.batch, entry_bytes(pass.batch)).expect("it leads");
                    let to_second = append(leader, now, IDS[1]).expect("a new entry");
                    let to_third = append(leader, now, IDS[2]).expect("a new entry");
                    persist(leader);
                    let ack = follow(second, now, to_second).expect("an ack");
                    leader.step(now, IDS[1], ack, &[]);
                    let ack = follow(third, now, to_third).expect("an ack");
                    leader.step(now, IDS[2], ack, &[]);
                    apply(leader);
                }
            }
        });
    }

    fn steps(&mut self, meter: &mut Meter, pass: Pass) {
        self.pass_time();
        let now = self.now;
        let len = self.groups() * usize::try_from(pass.repeat).expect("small");
        let Ours { nodes: [leaders, followers @ ..], appends, acks, .. } = self;
        appends.reserve(2 * len);
        acks.reserve(2 * len);
        meter.section(Operation::Propose, || {
            for (group, leader) in leaders.iter_mut().enumerate() {
                for _ in 0..pass.repeat {
                    leader.propose(pass.batch, entry_bytes(pass.batch)).expect("it leads");
                    for (slot, to) in IDS[1..].iter().enumerate() {
                        appends.push((group, slot, append(leader, now, *to).expect("a new entry")));
                    }
                }
            }
        });
        leaders.iter_mut().for_each(persist);
        meter.section(Operation::Append, || {
            for (group, slot, message) in appends.drain(..) {
                let ack = follow(&mut followers[slot][group], now, message).expect("an ack");
                acks.push((group, slot, ack));
            }
        });
        meter.section(Operation::Ack, || {
            for (group, slot, ack) in acks.drain(..) {
                leaders[group].step(now, IDS[slot + 1], ack, &[]);
            }
        });
        leaders.iter_mut().for_each(apply);
    }

    fn beat(&mut self, meter: &mut Meter, pass: Pass) {
        let Ours { nodes: [leaders, followers @ ..], now, .. } = self;
        meter.section(Operation::Beat, || {
            for _ in 0..pass.repeat {
                *now = *now + BEAT_INTERVAL;
                for (group, leader) in leaders.iter_mut().enumerate() {
                    leader.tick(*now);
                    persist(leader);
                    for (slot, followers) in followers.iter_mut().enumerate() {
                        let id = IDS[slot + 1];
                        let beat = leader.take_message(*now, id).expect("a beat");
                        let answer = follow(&mut followers[group], *now, beat).expect("an answer");
                        leader.step(*now, id, answer, &[]);
                    }
                }
            }
        });
    }

    fn commits(&self) -> [u64; NODES] {
        self.nodes.each_ref().map(|groups| groups.iter().map(|raft| raft.committed().0).sum())
    }
}
