//! What must stay within bounds does: the log's files, and what it holds in memory.

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
