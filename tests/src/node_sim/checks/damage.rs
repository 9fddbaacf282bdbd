//! Where nothing was ever damaged nothing is missing: no start misses a batch or a segment, and no replica has to get anything back
//! from its peers. A log that used a segment again too early would come back without it, and heal, and nobody would know.

use raft::Standing;
use raftlog::Loss;

use super::Look;
use crate::core_sim::violation::require;

/// A replica after a turn.
pub fn check(look: &Look) {
    require!(
        look.standing != Standing::Recovering || look.may_forget,
        "damage",
        "group {}: {} recovers, and nothing of it was damaged",
        look.group,
        look.node
    );
}

/// What the start of a shard could not read. What nobody needs stays damaged when all else is healed: so this asks whether its disk
/// ever was.
pub fn check_losses(was_damaged: bool, losses: &[Loss]) {
    require!(was_damaged || losses.is_empty(), "damage", "a start misses what was never damaged: {losses:?}");
}
