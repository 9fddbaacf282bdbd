//! What a shard's log says of itself to the threads that answer INFO. docs/METRICS.md says what each number means.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use raftlog::{Spread, Stats};
use runtime::SyncMode;

/// One number of a log.
type Read = fn(&Stats) -> u64;

/// The numbers, with the names that INFO gives them. Those that only grow end in `_total` and count from the node's start. Of those
/// that end in `_max` the greatest of the shards' is told, of all others the sum.
const NUMBERS: [(&str, Read); 57] = [
    ("ringraft_log_batches_total", |stats| stats.batches),
    ("ringraft_log_records_total", |stats| stats.records),
    ("ringraft_log_written_bytes_total", |stats| stats.bytes),
    ("ringraft_log_in_flight", |stats| stats.in_flight as u64),
    ("ringraft_log_wait_us_total", |stats| stats.waited.total_us),
    ("ringraft_log_wait_us_max", |stats| stats.waited.longest_us),
    ("ringraft_log_writes_total", |stats| stats.written.count),
    ("ringraft_log_write_us_total", |stats| stats.written.total_us),
    ("ringraft_log_write_us_max", |stats| stats.written.longest_us),
    ("ringraft_log_write_us_le_32_total", |stats| stats.write_spread.within(0)),
    ("ringraft_log_write_us_le_128_total", |stats| stats.write_spread.within(1)),
    ("ringraft_log_write_us_le_512_total", |stats| stats.write_spread.within(2)),
    ("ringraft_log_write_us_le_2048_total", |stats| stats.write_spread.within(3)),
    ("ringraft_log_write_us_le_8192_total", |stats| stats.write_spread.within(4)),
    ("ringraft_log_write_us_le_32768_total", |stats| stats.write_spread.within(5)),
    ("ringraft_log_write_us_le_131072_total", |stats| stats.write_spread.within(6)),
    ("ringraft_log_write_us_le_524288_total", |stats| stats.write_spread.within(7)),
    ("ringraft_log_ack_us_total", |stats| stats.acked.total_us),
    ("ringraft_log_ack_us_max", |stats| stats.acked.longest_us),
    ("ringraft_log_rolls_total", |stats| stats.rolls),
    // More than none: segments are made more slowly than they are written; give the log a larger cap, or a faster disk.
    ("ringraft_log_stalls_total", |stats| stats.stalled.count),
    ("ringraft_log_stall_us_total", |stats| stats.stalled.total_us),
    ("ringraft_log_stall_us_max", |stats| stats.stalled.longest_us),
    ("ringraft_log_segments_failed_total", |stats| stats.segments_failed),
    ("ringraft_log_checkpoints_total", |stats| stats.checkpoints),
    ("ringraft_log_checkpoint_bytes_total", |stats| stats.checkpoint_bytes),
    ("ringraft_log_checkpoint_us_total", |stats| stats.checkpointed.total_us),
    ("ringraft_log_checkpoint_us_max", |stats| stats.checkpointed.longest_us),
    ("ringraft_log_relocated_bytes_total", |stats| stats.relocated_bytes),
    ("ringraft_log_relocations_total", |stats| stats.relocations),
    ("ringraft_log_segments_freed_total", |stats| stats.segments_freed),
    ("ringraft_log_cache_hits_total", |stats| stats.cache_hits),
    ("ringraft_log_cache_misses_total", |stats| stats.cache_misses),
    ("ringraft_log_read_bytes_total", |stats| stats.read_bytes),
    // More than none: the disk forgets what it was given. What it lost is healed; replace it.
    ("ringraft_log_damages_total", |stats| stats.damages),
    ("ringraft_log_damaged_reads_total", |stats| stats.damaged_reads),
    ("ringraft_log_failed_reads_total", |stats| stats.failed_reads),
    ("ringraft_log_group_losses_total", |stats| stats.group_losses),
    ("ringraft_log_scrubbed_bytes_total", |stats| stats.scrubbed_bytes),
    ("ringraft_log_scrub_passes_total", |stats| stats.scrub_passes),
    ("ringraft_log_scrub_pass_bytes", |stats| stats.scrub_pass_bytes),
    ("ringraft_log_scrub_age_us_max", |stats| stats.scrub_age_us),
    ("ringraft_log_unsynced_bytes", |stats| stats.unsynced_bytes),
    ("ringraft_log_cache_bytes", |stats| stats.cache_bytes),
    ("ringraft_log_segments_live", |stats| stats.segments_live as u64),
    ("ringraft_log_segments_ready", |stats| stats.segments_ready as u64),
    // Far below the live segments' bytes: a few old entries of many groups hold them, and are moved once the log is half full.
    ("ringraft_log_live_bytes", |stats| stats.live_bytes),
    ("ringraft_log_file_bytes", |stats| stats.file_bytes),
    // Shards whose logs take no entries: at the cap, or the disk is full.
    ("ringraft_log_full", |stats| u64::from(stats.is_full)),
    ("ringraft_log_recovery_read_bytes", |stats| stats.recovery.bytes_read),
    ("ringraft_log_recovery_torn_bytes", |stats| stats.recovery.torn_tail_bytes),
    ("ringraft_log_recovery_losses", |stats| stats.recovery.losses as u64),
    ("ringraft_log_recovery_groups_lost", |stats| stats.recovery.groups_lost as u64),
    ("ringraft_log_recovery_survey_us_max", |stats| stats.recovery.phases.survey_us),
    ("ringraft_log_recovery_read_us_max", |stats| stats.recovery.phases.read_us),
    ("ringraft_log_recovery_replay_us_max", |stats| stats.recovery.phases.replay_us),
    ("ringraft_log_recovery_write_us_max", |stats| stats.recovery.phases.write_us),
];

/// Shards that write and then sync; the others' writes are synced when they end. Of the disk, which the log does not look into.
const FDATASYNC: &str = "ringraft_log_fdatasync";

/// The names above tell the bounds.
const _: () = assert!(Spread::BOUNDS_US[0] == 32 && Spread::BOUNDS_US[7] == 524_288);

/// The numbers of one shard's log, as of a short while ago.
pub(crate) struct LogFacts {
    numbers: [AtomicU64; NUMBERS.len()],
    syncs_after: AtomicBool,
}

impl Default for LogFacts {
    fn default() -> LogFacts {
        LogFacts {
            numbers: std::array::from_fn(|_| AtomicU64::default()),
            syncs_after: AtomicBool::default(),
        }
    }
}

impl LogFacts {
    pub(crate) fn publish(&self, stats: &Stats) {
        for (place, (_, read)) in self.numbers.iter().zip(NUMBERS) {
            place.store(read(stats), Relaxed);
        }
    }

    /// How the shard's writes are made durable.
    pub(crate) fn set_sync_mode(&self, mode: SyncMode) {
        self.syncs_after.store(mode == SyncMode::LinkedSync, Relaxed);
    }

    /// The sums over `logs`, or the greatest, by name.
    pub(crate) fn sums<'a>(logs: impl Iterator<Item = &'a LogFacts> + Clone) -> Vec<(&'static str, u64)> {
        let total = |(at, (name, _)): (usize, &(&'static str, Read))| {
            let all = logs.clone().map(|log| log.numbers[at].load(Relaxed));
            (*name, if name.ends_with("_max") { all.max().unwrap_or(0) } else { all.sum() })
        };
        let mut sums: Vec<(&'static str, u64)> = NUMBERS.iter().enumerate().map(total).collect();
        sums.push((FDATASYNC, logs.clone().filter(|log| log.syncs_after.load(Relaxed)).count() as u64));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_put_together_by_name() {
        let logs = [LogFacts::default(), LogFacts::default()];
        for (log, batches) in logs.iter().zip([3, 4]) {
            let mut stats = Stats::default();
            (stats.batches, stats.is_full) = (batches, true);
            (stats.written.longest_us, stats.written.total_us) = (batches * 10, batches * 20);
            log.publish(&stats);
        }
        logs[1].set_sync_mode(SyncMode::LinkedSync);
        let sums = LogFacts::sums(logs.iter());
        let of = |name: &str| sums.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!(
            (of("ringraft_log_batches_total"), of("ringraft_log_full"), of("ringraft_log_rolls_total")),
            (7, 2, 0)
        );
        assert_eq!((of("ringraft_log_write_us_max"), of("ringraft_log_write_us_total")), (40, 140));
        assert_eq!(of(FDATASYNC), 1);
    }

    #[test]
    fn every_number_is_described_and_no_other() {
        let page = include_str!("../../docs/METRICS.md");
        let described = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let described: Vec<&str> =
            described.map(|(name, _)| name).filter(|name| name.starts_with("ringraft_log_")).collect();
        let known: Vec<&str> = LogFacts::sums([].iter()).into_iter().map(|(name, _)| name).collect();
        for name in &known {
            assert!(described.contains(name), "docs/METRICS.md lacks {name}");
        }
        for name in &described {
            assert!(known.contains(name), "docs/METRICS.md has {name}, which INFO has not");
        }
    }
}
