//! Merging two files into one, as a save does beside the turns of a shard that has nothing else to do, beside `dd` of as many
//! bytes.
//!
//! The two files hold different keys, so what is read and what is written are the same bytes on both sides.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use runtime::{Context, RealDisk};
use snapshot::{Builder, FileRun, Finished, Merge, Room, Slot, Store};

use super::{Settings, files, forget_cache};
use crate::host;
use crate::log::{on_shard, turn};
use crate::summary::{median, ratio_line};

/// Of what `dd` does.
const GOAL: f64 = 0.7;
/// What a save moves between two rests.
const SLICE_BYTES: usize = 64 << 10;

/// What one side did in one round.
struct Copied {
    bytes: u64,
    time: Duration,
    cpu: Duration,
}

impl Copied {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn cpu_per_gib(&self) -> f64 {
        self.cpu.as_secs_f64() * (1u64 << 30) as f64 / self.bytes as f64
    }
}

/// Moves all items of the files into a new one.
async fn merge(context: Context, sources: Vec<PathBuf>, slot: Slot<RealDisk>) -> anyhow::Result<Finished> {
    let mut scans = Vec::new();
    for path in &sources {
        scans.push(FileRun::open(&context.disk(), path).await?.scan().await?);
    }
    let mut older = Merge::new(scans).await?;
    let mut builder = Builder::create(slot, files::spec()).await?;
    let mut slice_bytes = 0;
    while let Some(item) = older.peek().await? {
        let room = builder.push(item.key, item.value)?;
        slice_bytes += item.key.len() + item.value.len();
        older.pass();
        if room == Room::Flush || slice_bytes >= SLICE_BYTES {
            slice_bytes = 0;
            builder.flush().await?;
            context.pause(runtime::REST).await;
        }
    }
    Ok(builder.finish().await?)
}

/// Merges beside the main future, which has nothing to do but to wait.
async fn merge_beside(
    context: &Context,
    sources: Vec<PathBuf>,
    slot: Slot<RealDisk>,
) -> anyhow::Result<Finished> {
    let (merged, doorbell) = (Rc::new(RefCell::new(None)), context.ring().doorbell());
    let (result, beside) = (Rc::clone(&merged), context.clone());
    context.spawn_background(async move {
        let finished = merge(beside, sources, slot).await;
        *result.borrow_mut() = Some(finished);
        doorbell.ring();
    });
    loop {
        if let Some(finished) = merged.borrow_mut().take() {
            return finished;
        }
        turn(context).await;
    }
}

/// Copies a file that is not in the page cache, and removes the copy.
fn dd(file: &Path) -> anyhow::Result<Copied> {
    let copy = file.with_extension("copy");
    forget_cache(file)?;
    let (began, cpu) = (Instant::now(), host::ended_children_cpu_time()?);
    let mut command = Command::new("dd");
    command.arg(format!("if={}", file.display())).arg(format!("of={}", copy.display()));
    let output = command.args(["bs=1M", "conv=fdatasync"]).output().context("dd")?;
    let time = began.elapsed();
    ensure!(output.status.success(), "dd: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::metadata(&copy)?.len();
    std::fs::remove_file(&copy)?;
    Ok(Copied { bytes, time, cpu: host::ended_children_cpu_time()?.saturating_sub(cpu) })
}

async fn round(
    context: &Context,
    store: &Store<RealDisk>,
    sources: &[PathBuf],
    number: u64,
) -> anyhow::Result<[Copied; 2]> {
    let slot = store.begin_build(files::GROUP, files::entry(3 + number));
    let slot = slot.ok().context("nothing else is being built")?;
    let (began, cpu) = (Instant::now(), host::ring_thread_cpu_time()?);
    let finished = merge_beside(context, sources.to_vec(), slot).await?;
    let time = began.elapsed();
    let cpu = host::ring_thread_cpu_time()?.saturating_sub(cpu);
    let ours = Copied { bytes: finished.reference.bytes, time, cpu };
    let theirs = dd(&store.path(finished.reference.name))?;
    drop(finished.guard);
    store.collect().await?;
    Ok([ours, theirs])
}

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let rounds = measure(dir, settings.keys, settings.rounds)?;
    println!("{:<44} {:>8} {:>10} {:>7}", "two files into one", "MiB/s", "CPU s/GiB", "ratio");
    let ratio = |side: usize| median(rounds.iter().map(|round| round[0].rate() / round[side].rate()));
    for (side, name) in ["a merge", "dd conv=fdatasync"].into_iter().enumerate() {
        let rate = median(rounds.iter().map(|round| round[side].rate())) / f64::from(1 << 20);
        let cpu = median(rounds.iter().map(|round| round[side].cpu_per_gib()));
        println!("{name:<44} {rate:>8.0} {cpu:>10.2} {:>7.2}", ratio(side));
    }
    Ok(vec![ratio_line("snapshot_merge_vs_dd", ratio(1), GOAL)])
}

/// The rounds that count.
fn measure(dir: &Path, keys: u32, rounds: u32) -> anyhow::Result<Vec<[Copied; 2]>> {
    let place = dir.to_owned();
    on_shard(move |context| async move {
        let store = files::open_store(&context, &place, &[]).await?;
        let even = files::build(&store, 1, (0..keys).step_by(2), 0).await?;
        let odd = files::build(&store, 2, (1..keys).step_by(2), 0).await?;
        let sources = [&odd, &even].map(|file| store.path(file.reference.name));
        // Published, they stay; their guards would count as builds.
        store.publish(&files::manifest(&[odd.reference, even.reference]));
        drop((odd.guard, even.guard));
        let mut all = Vec::new();
        // One more, which does not count.
        round(&context, &store, &sources, 0).await?;
        for number in 1..=u64::from(rounds) {
            all.push(round(&context, &store, &sources, number).await?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_write_the_same_bytes_and_leave_the_sources() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let rounds = measure(dir.path(), 10_000, 2).unwrap();
        assert_eq!(rounds.len(), 2);
        for [ours, theirs] in &rounds {
            assert!(ours.bytes == theirs.bytes && ours.bytes > 10_000 * 144);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "two files, and nothing else");
    }
}
