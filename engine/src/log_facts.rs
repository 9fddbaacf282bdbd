//! What a shard's log says of itself to the threads that answer INFO.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use raftlog::Stats;

/// One number of a log.
type Read = fn(&Stats) -> u64;

/// The numbers, with the names that INFO gives them. Those that only grow end in `_total` and count from the node's start.
const NUMBERS: [(&str, Read); 18] = [
    ("ringraft_log_batches_total", |stats| stats.batches),
    ("ringraft_log_records_total", |stats| stats.records),
    ("ringraft_log_written_bytes_total", |stats| stats.bytes),
    ("ringraft_log_rolls_total", |stats| stats.rolls),
    ("ringraft_log_checkpoints_total", |stats| stats.checkpoints),
    ("ringraft_log_relocated_bytes_total", |stats| stats.relocated_bytes),
    ("ringraft_log_scrubbed_bytes_total", |stats| stats.scrubbed_bytes),
    // More than none: the disk forgets what it was given. What it lost is healed; replace it.
    ("ringraft_log_damages_total", |stats| stats.damages),
    ("ringraft_log_relocations_total", |stats| stats.relocations),
    ("ringraft_log_segments_freed_total", |stats| stats.segments_freed),
    // More than none: segments are made more slowly than they are written; give the log a larger cap, or a faster disk.
    ("ringraft_log_stalls_total", |stats| stats.stalls),
    ("ringraft_log_unsynced_bytes", |stats| stats.unsynced_bytes),
    ("ringraft_log_cache_bytes", |stats| stats.cache_bytes),
    ("ringraft_log_segments_live", |stats| stats.segments_live as u64),
    ("ringraft_log_segments_ready", |stats| stats.segments_ready as u64),
    // Far below the live segments' bytes: a few old entries of many groups hold them, and are moved once the log is half full.
    ("ringraft_log_live_bytes", |stats| stats.live_bytes),
    ("ringraft_log_file_bytes", |stats| stats.file_bytes),
    // Shards whose logs take no entries: at the cap, or the disk is full.
    ("ringraft_log_full", |stats| u64::from(stats.is_full)),
];

/// The numbers of one shard's log, as of a short while ago.
#[derive(Default)]
pub(crate) struct LogFacts([AtomicU64; NUMBERS.len()]);

impl LogFacts {
    pub(crate) fn publish(&self, stats: &Stats) {
        for (place, (_, read)) in self.0.iter().zip(NUMBERS) {
            place.store(read(stats), Relaxed);
        }
    }

    /// The sums over `logs`, by name.
    pub(crate) fn sums<'a>(logs: impl Iterator<Item = &'a LogFacts> + Clone) -> Vec<(&'static str, u64)> {
        let sum = |at: usize| logs.clone().map(|log| log.0[at].load(Relaxed)).sum();
        NUMBERS.iter().enumerate().map(|(at, (name, _))| (*name, sum(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_by_name() {
        let logs = [LogFacts::default(), LogFacts::default()];
        for (log, batches) in logs.iter().zip([3, 4]) {
            let mut stats = Stats::default();
            (stats.batches, stats.is_full) = (batches, true);
            log.publish(&stats);
        }
        let sums = LogFacts::sums(logs.iter());
        let of = |name: &str| sums.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!(
            (of("ringraft_log_batches_total"), of("ringraft_log_full"), of("ringraft_log_rolls_total")),
            (7, 2, 0)
        );
    }
}
