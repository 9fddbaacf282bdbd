//! What a replica has said to be durable is there after a crash: its log is at least as up to date as it was, by the last
//! durable entry's term and index. (A later leader may have replaced entries in a write that nobody knew to be
//! durable yet: then the log is more up to date, not less.) What was committed and durable is still there.

use super::{Known, Look};
use crate::core_sim::violation::require;

/// The first look after a restart, before the known log follows it.
pub fn check(known: &Known, now: &Look) {
    let Some(before) = &known.look else { return };
    let promised = known.promised;
    require!(
        (now.last.term, now.last.index) >= promised,
        "restarts",
        "group {}: {} comes back with {} and had {}@{} durable",
        now.group,
        now.node,
        now.last,
        promised.1,
        promised.0
    );
    require!(
        now.last.index >= before.committed.min(before.persisted),
        "restarts",
        "group {}: {} comes back with {} and had committed and synced {}",
        now.group,
        now.node,
        now.last,
        before.committed.min(before.persisted)
    );
}
