//! A leader never overwrites or deletes entries of its own log while it leads (Raft, Figure 3). A leader that steps down and
//! leads again in a later term may have changed in between.

use super::Look;
use crate::core_sim::violation::require;

/// The replica has led since the last look, and `cut` of the entries it had then are not in its log any more.
pub fn check(led: bool, cut: usize, look: &Look) {
    require!(
        !led || cut == 0,
        "leader_append_only",
        "group {}: {} leads term {} and loses {cut} entries",
        look.group,
        look.node,
        look.term
    );
}
