//! A group at rest costs nothing: no timer; and it rests only with everything done.

use raft::Time;

use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::rest";

/// Judges a replica that rests after a step.
pub fn check(scene: &Scene) {
    let raft = &scene.life().node.raft;
    if !raft.is_quiesced() {
        return;
    }
    let id = scene.machine().id;
    // A follower may have its commit index left to record, once.
    let sleeps = raft.deadline() == Time::NEVER || !raft.is_leader();
    require!(sleeps, CHECK, "{id} rests until {:?}", raft.deadline());
    let done = raft.committed() == raft.last();
    require!(done, CHECK, "{id} rests with {} of {} committed", raft.committed(), raft.last());
}
