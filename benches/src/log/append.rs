//! What an entry costs on its way into the log: CPU time, and allocations, without the disk's part.

use std::path::Path;
use std::time::Duration;

use super::ours::{Ours, Shape};
use super::{Settings, on_shard};
use crate::summary::{limit_line, median};

/// Entries in a batch.
const ENTRIES: u32 = 1024;
const COMMAND_BYTES: usize = 256;
/// Batches in a round.
const BATCHES: u32 = 200;
/// The entry cache is full, and segments are used again, after so many.
const BATCHES_BEFORE: u32 = 1500;

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds and allocations per entry, round by round.
fn measure(dir: &Path, shape: Shape, settings: Settings) -> anyhow::Result<Vec<(f64, f64)>> {
    let dir = dir.to_owned();
    on_shard(move |context| async move {
        let mut ours = Ours::open(&context, &dir, 1).await?;
        ours.warm_up(&context).await?;
        for _ in 0..BATCHES_BEFORE {
            ours.add(shape, 0, false);
            ours.log.drain().await?;
            ours.prepare(&context);
        }
        let mut rounds = Vec::new();
        for _ in 0..settings.rounds {
            let (mut time, mut allocations) = (Duration::ZERO, 0);
            for _ in 0..BATCHES {
                let counted = allocation_counter::measure(|| {
                    let began = cpu_time();
                    ours.add(shape, 0, false);
                    time += cpu_time().saturating_sub(began);
                });
                allocations += counted.count_total;
                ours.log.drain().await?;
                ours.prepare(&context);
            }
            let entries = f64::from(BATCHES * ENTRIES);
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            rounds.push((time.as_secs_f64() * 1e9 / entries, allocations as f64 / entries));
        }
        Ok(rounds)
    })
}

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    println!("{:<22} {:>12} {:>18}", "1024 entries of", "ns/entry", "allocations/entry");
    let mut lines = Vec::new();
    for (name, groups) in [("one group", 1), ("1024 groups", ENTRIES)] {
        let shape = Shape { groups, entries: ENTRIES / groups, command_bytes: COMMAND_BYTES };
        let rounds = measure(&dir.join(groups.to_string()), shape, settings)?;
        let nanos = median(rounds.iter().map(|round| round.0));
        let allocations = median(rounds.iter().map(|round| round.1));
        println!("{name:<22} {nanos:>12.1} {allocations:>18.4}");
        lines.push(limit_line(&format!("log_append_ns_{groups}_groups"), nanos, 150.0));
        lines.push(limit_line(&format!("log_append_allocations_{groups}_groups"), allocations, 0.05));
    }
    Ok(lines)
}
