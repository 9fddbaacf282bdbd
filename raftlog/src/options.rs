//! What a log is told when it is opened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use raft::Time;

use crate::OpenError;

/// Identity, sizes and bounds of one shard's log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shard this log belongs to. Written into every segment; another shard's segments are refused.
    pub shard: u32,
    /// How many shards the store has. Written into every segment.
    pub shard_count: u32,
    /// The data directory's identity. Written into every segment; another store's segments are refused.
    pub store_uuid: [u8; 16],
    /// Size of new segment files: a multiple of 4096. Also bounds one batch, hence one entry.
    pub segment_bytes: u64,
    /// How many empty segments are kept prepared, so that no commit ever waits for a file to be made.
    pub segments_ready: usize,
    /// How many batches may be on their way to the disk at once.
    pub in_flight_max: usize,
    /// What may be un-synced, in bytes, before [`Log::has_room`](crate::Log::has_room) says no. At most
    /// `segment_bytes` is used.
    pub unsynced_bytes_max: u64,
    /// What the entry cache may hold, in bytes. Un-durable and unapplied entries stay even above it.
    pub cache_bytes_max: u64,
    /// What all segment files together may take, in bytes. Two segments of it are kept back from entries, so that
    /// votes and snapshots still work when the log is full.
    pub cap_bytes: u64,
    /// All entries in complete segments are read and verified so often, at 4 MiB a second; the first time after a 24th of it.
    pub scrub_every: Duration,
    /// Whether a start may go on without what it cannot read, since others have it. If not it is refused, and changes nothing.
    pub heals: bool,
    /// Whether a start reads the indexes of complete segments instead of the segments. Without them it finds the same.
    pub uses_indexes: bool,
    /// Records and groups looked at in one turn while it is listed what lives in complete segments.
    pub looks_per_turn: usize,
    /// Told how much a start has read. Clones of the options share it.
    pub progress: Progress,
    /// Reads the time, for what a start says it took: nothing follows from it. By default it stands still, as a simulation wants it.
    pub clock: fn() -> Time,
    /// Where the salts of segments come from: fresh randomness in production, the seed in a simulation.
    pub seed: u64,
}

/// How far a start is, for another thread to look at.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// What was read of segment files so far, in bytes; moves by whole segments.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Segments that only hard states, snapshots and checkpoints may start.
pub(crate) const SEGMENTS_RESERVED: usize = 2;
/// One entry must fit besides what the batch around it takes.
const SEGMENT_BYTES_MIN: u64 = 32 * 1024;
/// Offsets and sizes within a segment are 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

impl Options {
    /// The defaults, for the log of `shard` of the store `store_uuid`.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn new(store_uuid: [u8; 16], shard: u32, shard_count: u32) -> Options {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives randomness");
        Options {
            shard,
            shard_count,
            store_uuid,
            segment_bytes: 64 << 20,
            segments_ready: 2,
            in_flight_max: 4,
            unsynced_bytes_max: 8 << 20,
            cache_bytes_max: 64 << 20,
            cap_bytes: 4 << 30,
            scrub_every: Duration::from_secs(24 * 3600),
            heals: true,
            uses_indexes: true,
            looks_per_turn: 4096, // some hundred microseconds
            progress: Progress::default(),
            clock: || Time(0),
            seed: u64::from_le_bytes(seed),
        }
    }

    /// Refuses what cannot work, in words.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let refuse = |what: String| Err(OpenError::Options { what });
        if !self.segment_bytes.is_multiple_of(4096)
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
        {
            return refuse(format!(
                "segment_bytes is {}, it must be a multiple of 4096 from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            ));
        }
        if self.slots_max() < SEGMENTS_RESERVED + 2 {
            return refuse(format!(
                "cap_bytes is {}, it must hold at least {} segments of {} bytes",
                self.cap_bytes,
                SEGMENTS_RESERVED + 2,
                self.segment_bytes
            ));
        }
        let counts = [self.in_flight_max, self.segments_ready, self.looks_per_turn];
        if counts.contains(&0) || self.shard >= self.shard_count {
            let counted = "in_flight_max, segments_ready, looks_per_turn must be at least 1";
            return refuse(format!("{counted}, shard below shard_count"));
        }
        Ok(())
    }

    /// How many segment files fit under the cap.
    pub(crate) fn slots_max(&self) -> usize {
        usize::try_from(self.cap_bytes / self.segment_bytes).unwrap_or(usize::MAX)
    }
}
