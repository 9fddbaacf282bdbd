//! Term, commit and applied indexes never go back while a node runs, and applied <= committed <= last; compacted <= applied.

use super::Look;
use crate::core_sim::violation::require;

/// Two looks at a replica in one start.
pub fn check(before: &Look, now: &Look) {
    let ordered =
        now.applied <= now.committed && now.committed <= now.last.index && now.compacted.index <= now.applied;
    let monotone = before.term <= now.term
        && before.committed <= now.committed
        && before.applied <= now.applied
        && before.compacted.index <= now.compacted.index;
    require!(ordered && monotone, "cursors", "group {}: {now:?} after {before:?}", now.group);
}
