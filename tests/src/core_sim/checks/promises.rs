//! What is promised to others is on the disk when it is said: votes, acks, and the term they are
//! given in.

use raft::Body;

use super::super::input::Envelope;
use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::promises";

/// Judges the promises a step sends.
pub fn check(scene: &Scene) {
    let disk = &scene.machine().disk;
    for sent in &scene.outcome.sent {
        let known = disk.hard_state.term >= sent.message.term;
        match sent.message.body {
            Body::VoteReply { granted: true } => {
                let vote = (disk.hard_state.term, disk.hard_state.vote);
                require!(
                    vote == (sent.message.term, Some(sent.to.0)),
                    CHECK,
                    "forgettable: {sent}; {vote:?}"
                );
            }
            Body::Vote { .. } => {
                let vote = (disk.hard_state.term, disk.hard_state.vote);
                require!(
                    vote == (sent.message.term, Some(sent.from.0)),
                    CHECK,
                    "forgettable: {sent}; {vote:?}"
                );
            }
            Body::AppendAck { matched, .. } => {
                require!(known && matched <= disk.log.last(), CHECK, "forgettable: {sent}; {disk:?}");
                same_as_leaders(scene, sent, matched);
            }
            Body::SnapshotAck { id, installed: true } => {
                // What it names is committed, in whatever term: no vote is bound to it.
                require!(id.index <= disk.log.last(), CHECK, "forgettable: {sent}; {disk:?}");
                same_as_leaders(scene, sent, id.index);
            }
            _ => {}
        }
    }
}

/// What is acked is what the leader has, if it still leads.
fn same_as_leaders(scene: &Scene, ack: &Envelope, matched: raft::Index) {
    let leader = scene.machines.iter().find(|machine| machine.id == ack.to.0 && machine.leads());
    let Some(leader) = leader.and_then(|machine| machine.node()) else { return };
    if leader.raft.term() != ack.message.term {
        return;
    }
    let disk = &scene.machine().disk.log;
    if let (Some(own), Some(theirs)) = (disk.get(matched), leader.log.get(matched)) {
        require!(own == theirs, CHECK, "{} acks {own:?} at {matched}, its leader has {theirs:?}", ack.from.0);
    }
}
