//! What the log counts.

use raft::GroupId;
use runtime::Disk;

use crate::Log;

/// Counters since the log was opened, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches issued, seals and checkpoints included.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes handed to the disk: headers and padding included.
    pub bytes: u64,
    /// Segments started.
    pub rolls: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Entries written once more to empty old segments, in bytes.
    pub relocated_bytes: u64,
    /// Entries read to see that they are still what was written, in bytes.
    pub scrubbed_bytes: u64,
    /// Pieces of the log that were found damaged since it was opened: ask for another disk.
    pub damages: u64,
    /// Background reads begun for that: each moves up to 256 KiB, or one record.
    pub relocations: u64,
    /// Segments that became free to be used again.
    pub segments_freed: u64,
    /// Times a batch had to wait because no segment was ready.
    pub stalls: u64,
    /// Batches in flight now.
    pub in_flight: usize,
    /// Bytes building, waiting and in flight now.
    pub unsynced_bytes: u64,
    /// Bytes in the entry cache now.
    pub cache_bytes: u64,
    /// Segments that hold something that is or may be needed.
    pub segments_live: usize,
    /// Segments ready to be written.
    pub segments_ready: usize,
    /// What the entries take that live, in segments: far below what the live segments take, it is spread thin.
    pub live_bytes: u64,
    /// What all segment files take on disk.
    pub file_bytes: u64,
    /// Groups known.
    pub groups: usize,
    /// Entries are refused: the log is at its cap, or its disk is full.
    pub is_full: bool,
}

impl<D: Disk> Log<D> {
    /// What the log did and holds.
    pub fn stats(&self) -> Stats {
        Stats {
            in_flight: self.pipeline.len(),
            unsynced_bytes: self.unsynced_bytes(),
            cache_bytes: self.cache.bytes(),
            segments_live: self.segments.live_len(),
            segments_ready: self.segments.ready_len(),
            segments_freed: self.segments.freed(),
            live_bytes: self.segments.live_bytes(),
            file_bytes: self.segments.file_bytes(),
            groups: self.groups.len(),
            is_full: self.is_full(),
            ..self.stats
        }
    }

    /// [`Stats::bytes`], for who asks every turn.
    pub fn written_bytes(&self) -> u64 {
        self.stats.bytes
    }

    /// At most `max` groups whose live entries hold the oldest segments, those that hold the very oldest first.
    /// Advice: snapshot and compact them, and segments become free.
    pub fn pinning(&self, max: usize) -> Vec<GroupId> {
        let active = self.segments.live().next_back().map_or(0, |segment| segment.seq);
        let oldest = |(group, log): (GroupId, &crate::group::GroupLog)| {
            let segment = self.segments.home(log.records().next()?.batch)?;
            (segment < active).then_some((segment, group))
        };
        let mut pinning: Vec<(u64, GroupId)> = self.groups.iter().filter_map(oldest).collect();
        pinning.sort_unstable();
        pinning.into_iter().take(max).map(|(_, group)| group).collect()
    }
}
