//! What must stay within bounds does: the log's files, what it holds in memory, and the queues between clients, groups and
//! peers, by the limits that the code names. When nobody waits for anything, nothing is left in any of them. The lives of
//! the simulator are far too small to fill most queues, so a limit that is never looked at shows here only if the queue
//! leaks; tests of the parts fill them. Memory that no queue counts is not seen.

use ringraft::simulation::Bound;

use crate::core_sim::violation::require;

/// What a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsLook {
    /// Bytes of all segment files of its log.
    pub log_file_bytes: u64,
    /// What they may take.
    pub log_file_bytes_max: u64,
    /// Bytes handed to the log that are not durable.
    pub unsynced_bytes: u64,
    /// What they may be: the log's bound and one turn above it.
    pub unsynced_bytes_max: u64,
    /// What waits for the shard's next turn: inputs.
    pub inputs: usize,
}

/// A shard had a turn.
pub fn check(look: &BoundsLook) {
    let kept =
        look.log_file_bytes <= look.log_file_bytes_max && look.unsynced_bytes <= look.unsynced_bytes_max;
    require!(kept, "bounds", "{look:?}");
}

/// What a shard's queues hold, and may hold.
pub fn check_queues(bounds: &[Bound]) {
    for bound in bounds {
        require!(bound.is <= bound.max, "bounds", "{bound:?}");
    }
}

/// Nobody waits for anything, so nothing may be left.
pub fn check_rest(node: raft::NodeId, left: &[(&'static str, usize)]) {
    let left: Vec<_> = left.iter().filter(|(_, count)| *count > 0).collect();
    require!(left.is_empty(), "leftovers", "{node} is at rest and keeps {left:?}");
}
