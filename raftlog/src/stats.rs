//! What the log counts.

use raft::GroupId;
use runtime::Disk;

use crate::{Log, Report, Spread, Took};

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
    /// Batches before they are issued, from their first record on.
    pub waited: Took,
    /// Writes, from a batch's being issued to its being on the disk, whatever those before it do.
    pub written: Took,
    /// How long these took.
    pub write_spread: Spread,
    /// Batches, from being issued until they and all before them are on the disk: so long acknowledgements wait.
    pub acked: Took,
    /// Segments started.
    pub rolls: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Those that became durable, each from its beginning on.
    pub checkpointed: Took,
    /// What they took, in bytes, with the indexes of segments.
    pub checkpoint_bytes: u64,
    /// Entries written once more to empty old segments, in bytes.
    pub relocated_bytes: u64,
    /// Entries read to see that they are still what was written, in bytes.
    pub scrubbed_bytes: u64,
    /// Times that all was read so.
    pub scrub_passes: u64,
    /// What the pass under way has read, of [`Stats::live_bytes`].
    pub scrub_pass_bytes: u64,
    /// The time since the last pass ended; until one did, since the first turn.
    pub scrub_age_us: u64,
    /// Pieces of the log that this found damaged since it was opened: ask for another disk.
    pub damages: u64,
    /// Times that entries asked for were in the cache.
    pub cache_hits: u64,
    /// Reads of entries that were not.
    pub cache_misses: u64,
    /// What was read of segments for whatever reason, in bytes, since the log was opened.
    pub read_bytes: u64,
    /// Such reads that met something that is not what was written, each time that they met it.
    pub damaged_reads: u64,
    /// Those that the disk refused.
    pub failed_reads: u64,
    /// Times that a group gave up what could not be read, since the log was opened.
    pub group_losses: u64,
    /// Background reads begun for that: each moves up to 256 KiB, or one record.
    pub relocations: u64,
    /// Segments that became free to be used again.
    pub segments_freed: u64,
    /// Times that no segment could be made, for want of room or by a fault: each is tried again.
    pub segments_failed: u64,
    /// Batches that had to wait because no segment was ready, the one that waits now included.
    pub stalled: Took,
    /// What the start found.
    pub recovery: Report,
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
        let mut stalled = self.stats.stalled;
        if let Some(since) = self.stalled_since {
            stalled.add(since, self.now);
        }
        let (times, reads) = (&self.pipeline.times, &self.reads);
        Stats {
            written: times.written,
            write_spread: times.spread,
            acked: times.acked,
            stalled,
            scrub_pass_bytes: self.scrub.pass_bytes,
            scrub_age_us: self.scrub.passed.map_or(0, |passed| self.now.0.saturating_sub(passed.0)),
            cache_hits: reads.hits.get(),
            cache_misses: reads.misses.get(),
            read_bytes: reads.bytes.get(),
            damaged_reads: reads.damaged.get(),
            failed_reads: reads.failed.get(),
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
