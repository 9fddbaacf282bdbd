//! Whoever comes to lead has every entry that was committed before (Raft, Figure 3). Looks at the newest committed one: those
//! before it follow by log matching.

use raft::EntryId;

use super::committed::Committed;
use super::{Known, Look};
use crate::core_sim::violation::require;

/// The replica leads since this turn.
pub fn check(look: &Look, committed: &Committed, known: &Known) {
    let Some(newest) = committed.newest(look.group) else { return };
    // A leader of an old term may wake up late and not know yet that it is none: it was complete when it was elected.
    let missing = |newest: EntryId| newest.term < look.term && !known.holds(newest);
    require!(
        !missing(newest),
        "leader_completeness",
        "group {}: {} leads term {} without the committed entry {newest}",
        look.group,
        look.node,
        look.term
    );
}
