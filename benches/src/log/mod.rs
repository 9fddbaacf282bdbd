//! The log against the device under it, against raft-engine, and against a plain read of its own files.
//!
//! Everything is measured in turns on one machine and one file system, and each round's ratio is of neighbours in time.
//! What is ours runs on a shard as in production: O_DIRECT through the ring, index, entry cache, checkpoints, segments used again.

mod append;
mod device;
mod engine;
mod fio;
mod gc;
mod ours;
mod paced;
mod recovery;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use runtime::{Context, ShardSpec, spawn_shard};

use crate::disk::Device;
use crate::host;

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rounds that count; ratios are medians over them.
    pub rounds: u32,
    /// What each side writes for, in each round.
    pub slice: Duration,
}

/// What `compare log` measures, one part after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Batches of 4 KiB to 1 MiB beside bare writes of the same sizes.
    Device,
    /// The bare writes beside fio, where it is installed.
    Fio,
    /// Entries per second beside raft-engine.
    Engine,
    /// The 99th percentile beside raft-engine's, both at 0.7 of its maximum.
    Paced,
    /// A start with a gibibyte of entries beside reading the same bytes.
    Recovery,
    /// CPU time and allocations per entry.
    Append,
    /// Ten times the log's cap while some groups keep their entries, beside the same where none does.
    Gc,
}

/// All of them.
pub const PARTS: [Part; 7] =
    [Part::Device, Part::Fio, Part::Engine, Part::Paced, Part::Recovery, Part::Append, Part::Gc];

/// What one side did in one slice.
#[derive(Clone, Copy, Debug)]
struct Slice {
    batches_per_second: f64,
    cpu_micros: f64,
    /// What it had written, in bytes per batch.
    bytes: f64,
}

/// When a slice began, and what CPU time had been used by then.
struct Meter {
    began: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> anyhow::Result<Meter> {
        Ok(Meter { began: Instant::now(), cpu: host::cpu_time(std::process::id())? })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn end(&self, batches: u64, bytes: u64) -> anyhow::Result<Slice> {
        let time = self.began.elapsed().as_secs_f64();
        let cpu = host::cpu_time(std::process::id())?.saturating_sub(self.cpu);
        let batches = batches.max(1) as f64;
        Ok(Slice {
            batches_per_second: batches / time,
            cpu_micros: cpu.as_secs_f64() * 1e6 / batches,
            bytes: bytes as f64 / batches,
        })
    }
}

/// Waits until something in the ring is done.
pub(crate) async fn turn(context: &Context) {
    context.ring().submit();
    context.ring().wait().await;
    context.ring().events(&mut Vec::new());
}

/// Waits until something in the ring is done, or something is due. Whoever waits so is woken late, as a shard is by its clients;
/// to stay awake would be worse: it takes the processor from those that complete the writes (seen: 2 ms at the 99th percentile).
async fn turn_until(context: &Context, due: Option<Instant>) {
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    context.ring().set_timer(left.map_or(Duration::MAX, |left| runtime::now().saturating_add(left)));
    turn(context).await;
}

/// Runs `work` on a shard of its own.
pub(crate) fn on_shard<T, Fut>(work: impl FnOnce(Context) -> Fut + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    Fut: Future<Output = anyhow::Result<T>> + 'static,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let spec = ShardSpec { name: "compare-log".to_owned(), cpu: None };
    let shard = spawn_shard(spec, move |context| async move {
        let _nobody_waits = sender.send(work(context).await);
    })?;
    shard.join().map_err(|error| anyhow!("the shard panicked: {error}"))?;
    receiver.recv().context("the shard sent nothing")?
}

/// Measures `parts` in `dir` and prints tables and the lines that others read.
///
/// # Errors
/// The disk, or a shard that could not be started.
pub fn run(dir: &Path, settings: Settings, parts: &[Part]) -> anyhow::Result<()> {
    println!("{}", Device::of(dir)?.describe());
    let mut lines = Vec::new();
    for part in parts {
        let place = dir.join(format!("{part:?}").to_lowercase());
        std::fs::create_dir(&place)?;
        println!("\n{part:?}");
        lines.extend(match part {
            Part::Device => device::run(&place, settings)?,
            Part::Fio => fio::run(&place, settings)?,
            Part::Engine => engine::run(&place, settings)?,
            Part::Paced => paced::run(&place, settings)?,
            Part::Recovery => recovery::run(&place, settings)?,
            Part::Append => append::run(&place, settings)?,
            Part::Gc => gc::run(&place, settings)?,
        });
        std::fs::remove_dir_all(&place)?;
    }
    println!();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
