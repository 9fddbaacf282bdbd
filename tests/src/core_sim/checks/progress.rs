//! What a leader believes of its followers is true: what it counts as held is on their disks, it
//! never sends again what it counts, and its counters of what is in flight can be recomputed.

use raft::FollowerState;

use super::super::input::Input;
use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::progress";

/// Judges a leader's books after it heard something or sent something.
pub fn check(scene: &Scene) {
    let life = scene.life();
    let told = matches!(scene.input, Input::Deliver(_) | Input::Tick | Input::Unreachable(_));
    if !life.node.raft.is_leader() || !told {
        return;
    }
    let roster = life.node.roster();
    for follower in life.node.raft.status().followers {
        let (node, matched) = (follower.node, follower.matched);
        require!(follower.next > matched, CHECK, "{follower:?} gets what it has");
        let idle = follower.state != FollowerState::Replicate || follower.next == matched.next();
        require!(!idle || follower.inflight_bytes == 0, CHECK, "{follower:?} has nothing in flight");
        let machine = scene.machines.iter().find(|machine| machine.id == node).expect("members exist");
        // Who was wiped, or follows another leader by now, may hold something else; this one cannot know.
        let moved_on = machine.disk.hard_state.term > life.node.raft.term();
        if moved_on || roster.incarnation(node) != Some(machine.incarnation) {
            continue;
        }
        if let Some(entry) = life.node.log.get(matched) {
            require!(machine.holds(matched, entry), CHECK, "{follower:?} does not hold {matched}");
        }
    }
}
