//! raft-rs without its `RawNode`: its core called directly, its messages taken where it leaves them, so that
//! nothing is measured but Raft itself. Less than any application can do.

use raft_rs::eraftpb::{Entry, Message, MessageType};
use raft_rs::{Config, NO_LIMIT, Raft, StateRole};

use super::storage::{Log, command};
use super::{Meter, NODES, Operation, Pass, Side, WINDOW};

/// Replicas of raft-rs, by node and group.
pub struct Bare {
    nodes: [Vec<Raft<Log>>; NODES],
    /// Messages with their group, from one step to the next.
    appends: Vec<(usize, Message)>,
    acks: Vec<(usize, Message)>,
}

/// Like ours: windows, PreVote and CheckQuorum, the commit index with the next append or beat; and no limit
/// that would have to be computed.
#[must_use]
pub fn config(node: usize) -> Config {
    Config {
        election_tick: 10,
        heartbeat_tick: 1,
        max_size_per_msg: NO_LIMIT,
        max_inflight_msgs: WINDOW,
        check_quorum: true,
        pre_vote: true,
        skip_bcast_commit: true,
        ..Config::new(node as u64 + 1)
    }
}

/// A logger that drops everything; in a release build the core's own trace and debug lines are not there.
pub fn no_logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// A proposal of `batch` entries.
#[must_use]
pub fn proposal(batch: u64) -> Message {
    let entry = || Entry { data: command().into(), ..Entry::default() };
    let mut message = Message { from: 1, ..Message::default() };
    message.set_msg_type(MessageType::MsgPropose);
    message.set_entries((0..batch).map(|_| entry()).collect::<Vec<_>>().into());
    message
}

/// Where a message goes.
#[must_use]
pub fn receiver(message: &Message) -> usize {
    usize::try_from(message.to - 1).expect("a node")
}

/// The log below has written it.
fn persist(raft: &mut Raft<Log>) {
    let Some(last) = raft.raft_log.unstable_entries().last() else { return };
    let (index, term) = (last.index, last.term);
    raft.store().append(index, term);
    raft.raft_log.stable_entries(index, term);
    raft.on_persist_entries(index, term);
}

fn apply(raft: &mut Raft<Log>) {
    let committed = raft.raft_log.committed;
    if committed > raft.raft_log.applied {
        raft.commit_apply(committed);
    }
}

fn step(raft: &mut Raft<Log>, message: Message) {
    raft.step(message).expect("a message it knows");
}

/// A follower's part.
fn follow(follower: &mut Raft<Log>, message: Message) -> Message {
    step(follower, message);
    persist(follower);
    apply(follower);
    follower.msgs.pop().expect("an answer")
}

impl Bare {
    /// Replicas that have elected their leaders and committed the first entries of their terms.
    ///
    /// # Panics
    /// If they do not: nothing is measured then.
    #[must_use]
    pub fn new(groups: usize) -> Bare {
        let logger = no_logger();
        let raft = |node| Raft::new(&config(node), Log::default(), &logger).expect("a sound configuration");
        let nodes = std::array::from_fn(|node| (0..groups).map(|_| raft(node)).collect());
        let mut bare = Bare { nodes, appends: Vec::new(), acks: Vec::new() };
        for group in 0..groups {
            let mut campaign = Message::default();
            campaign.set_msg_type(MessageType::MsgHup);
            step(&mut bare.nodes[0][group], campaign);
            bare.settle(group);
            assert_eq!(bare.nodes[0][group].state, StateRole::Leader, "the only one that campaigns wins");
        }
        bare.beat(&mut Meter::of_time(), Pass { repeat: 1, batch: 1 });
        bare
    }

    /// Delivers the group's messages until there are none.
    fn settle(&mut self, group: usize) {
        let mut busy = true;
        while std::mem::take(&mut busy) {
            for from in 0..NODES {
                persist(&mut self.nodes[from][group]);
                apply(&mut self.nodes[from][group]);
                for message in std::mem::take(&mut self.nodes[from][group].msgs) {
                    step(&mut self.nodes[receiver(&message)][group], message);
                    busy = true;
                }
            }
        }
    }
}

impl Side for Bare {
    fn name(&self) -> &'static str {
        "raft-rs, bare"
    }

    fn replicate(&mut self, meter: &mut Meter, pass: Pass) {
        let [leaders, seconds, thirds] = &mut self.nodes;
        meter.section(Operation::ReplicatedEntry, || {
            for (leader, (second, third)) in leaders.iter_mut().zip(seconds.iter_mut().zip(thirds)) {
                for _ in 0..pass.repeat {
                    step(leader, proposal(pass.batch));
                    let (one, other) = (leader.msgs.pop().expect("two"), leader.msgs.pop().expect("appends"));
                    let (to_second, to_third) = if one.to == 2 { (one, other) } else { (other, one) };
                    persist(leader);
                    step(leader, follow(second, to_second));
                    step(leader, follow(third, to_third));
                    apply(leader);
                }
            }
        });
    }

    fn steps(&mut self, meter: &mut Meter, pass: Pass) {
        let len = self.nodes[0].len() * usize::try_from(pass.repeat).expect("small");
        let Bare { nodes: [leaders, followers @ ..], appends, acks } = self;
        appends.reserve(2 * len);
        acks.reserve(2 * len);
        meter.section(Operation::Propose, || {
            for (group, leader) in leaders.iter_mut().enumerate() {
                for _ in 0..pass.repeat {
                    step(leader, proposal(pass.batch));
                    appends.extend(leader.msgs.drain(..).map(|message| (group, message)));
                }
            }
        });
        leaders.iter_mut().for_each(persist);
        meter.section(Operation::Append, || {
            for (group, message) in appends.drain(..) {
                let follower = &mut followers[receiver(&message) - 1][group];
                acks.push((group, follow(follower, message)));
            }
        });
        meter.section(Operation::Ack, || {
            for (group, ack) in acks.drain(..) {
                step(&mut leaders[group], ack);
            }
        });
        leaders.iter_mut().for_each(apply);
    }

    fn beat(&mut self, meter: &mut Meter, pass: Pass) {
        let [leaders, followers @ ..] = &mut self.nodes;
        meter.section(Operation::Beat, || {
            for _ in 0..pass.repeat {
                for (group, leader) in leaders.iter_mut().enumerate() {
                    leader.tick();
                    for _ in 1..NODES {
                        let beat = leader.msgs.pop().expect("a beat");
                        let follower = &mut followers[receiver(&beat) - 1][group];
                        let answer = follow(follower, beat);
                        step(leader, answer);
                    }
                }
            }
        });
    }

    fn commits(&self) -> [u64; NODES] {
        self.nodes.each_ref().map(|groups| groups.iter().map(|raft| raft.raft_log.committed).sum())
    }
}
