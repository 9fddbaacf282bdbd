//! raft-rs as its documentation says to drive it: through `RawNode`, one `Ready` per turn.

use raft_rs::eraftpb::Message;
use raft_rs::{RawNode, StateRole};

use super::bare::{config, no_logger, proposal, receiver};
use super::storage::Log;
use super::{Meter, NODES, Operation, Pass, Side};

/// Replicas of raft-rs, by node and group.
pub struct Nodes {
    nodes: [Vec<RawNode<Log>>; NODES],
    /// Reused, so that handing messages over costs no allocation.
    messages: Vec<Message>,
    /// Messages with their group, from one step to the next.
    appends: Vec<(usize, Message)>,
    acks: Vec<(usize, Message)>,
}

fn step(node: &mut RawNode<Log>, message: Message) {
    node.step(message).expect("a message it knows");
}

/// Handles what is ready: persists, applies, and adds the messages to `out`.
fn turn(node: &mut RawNode<Log>, out: &mut Vec<Message>) {
    if !node.has_ready() {
        return;
    }
    let mut ready = node.ready();
    out.append(&mut ready.take_messages());
    if let Some(last) = ready.entries().last() {
        node.raft.store().append(last.index, last.term);
    }
    out.append(&mut ready.take_persisted_messages());
    let mut light = node.advance(ready);
    out.append(&mut light.take_messages());
    node.advance_apply();
}

impl Nodes {
    /// Replicas that have elected their leaders and committed the first entries of their terms.
    ///
    /// # Panics
    /// If they do not: nothing is measured then.
    #[must_use]
    pub fn new(groups: usize) -> Nodes {
        let logger = no_logger();
        let node = |node| RawNode::new(&config(node), Log::default(), &logger).expect("sound settings");
        let nodes = std::array::from_fn(|number| (0..groups).map(|_| node(number)).collect());
        let mut all = Nodes { nodes, messages: Vec::new(), appends: Vec::new(), acks: Vec::new() };
        for group in 0..groups {
            all.nodes[0][group].campaign().expect("it may");
            all.settle(group);
            assert_eq!(all.nodes[0][group].raft.state, StateRole::Leader, "the only one that campaigns wins");
        }
        all.beat(&mut Meter::of_time(), Pass { repeat: 1, batch: 1 });
        all
    }

    /// Delivers the group's messages until there are none.
    fn settle(&mut self, group: usize) {
        loop {
            for groups in &mut self.nodes {
                turn(&mut groups[group], &mut self.messages);
            }
            if self.messages.is_empty() {
                return;
            }
            for message in self.messages.drain(..) {
                step(&mut self.nodes[receiver(&message)][group], message);
            }
        }
    }
}

impl Side for Nodes {
    fn name(&self) -> &'static str {
        "raft-rs, RawNode"
    }

    fn replicate(&mut self, meter: &mut Meter, pass: Pass) {
        let [leaders, followers @ ..] = &mut self.nodes;
        let mut acks = Vec::with_capacity(NODES);
        meter.section(Operation::ReplicatedEntry, || {
            for (group, leader) in leaders.iter_mut().enumerate() {
                for _ in 0..pass.repeat {
                    step(leader, proposal(pass.batch));
                    turn(leader, &mut self.messages);
                    for append in self.messages.drain(..) {
                        let follower = &mut followers[receiver(&append) - 1][group];
                        step(follower, append);
                        turn(follower, &mut acks);
                    }
                    for ack in acks.drain(..) {
                        step(leader, ack);
                        turn(leader, &mut self.messages);
                    }
                }
            }
        });
    }

    fn steps(&mut self, meter: &mut Meter, pass: Pass) {
        let len = 2 * self.nodes[0].len() * usize::try_from(pass.repeat).expect("small");
        let Nodes { nodes: [leaders, followers @ ..], messages, appends, acks } = self;
        appends.reserve(len);
        acks.reserve(len);
        meter.section(Operation::Propose, || {
            for (group, leader) in leaders.iter_mut().enumerate() {
                for _ in 0..pass.repeat {
                    step(leader, proposal(pass.batch));
                    turn(leader, messages);
                    appends.extend(messages.drain(..).map(|message| (group, message)));
                }
            }
        });
        meter.section(Operation::Append, || {
            for (group, append) in appends.drain(..) {
                let follower = &mut followers[receiver(&append) - 1][group];
                step(follower, append);
                turn(follower, messages);
                acks.extend(messages.drain(..).map(|message| (group, message)));
            }
        });
        meter.section(Operation::Ack, || {
            for (group, ack) in acks.drain(..) {
                step(&mut leaders[group], ack);
                turn(&mut leaders[group], messages);
            }
        });
    }

    fn beat(&mut self, meter: &mut Meter, pass: Pass) {
        let [leaders, followers @ ..] = &mut self.nodes;
        let mut answers = Vec::with_capacity(NODES);
        meter.section(Operation::Beat, || {
            for _ in 0..pass.repeat {
                for (group, leader) in leaders.iter_mut().enumerate() {
                    leader.tick();
                    turn(leader, &mut self.messages);
                    for beat in self.messages.drain(..) {
                        let follower = &mut followers[receiver(&beat) - 1][group];
                        step(follower, beat);
                        turn(follower, &mut answers);
                    }
                    for answer in answers.drain(..) {
                        step(leader, answer);
                    }
                    turn(leader, &mut self.messages);
                }
            }
        });
    }

    fn commits(&self) -> [u64; NODES] {
        self.nodes.each_ref().map(|groups| groups.iter().map(|node| node.raft.raft_log.committed).sum())
    }
}
