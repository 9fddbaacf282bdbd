//! The log against the device under it: batches of the same size, written in the same way, as many of them in flight.
//!
//! The probe writes blocks that have been written before through the same files as the log does (O_DIRECT, the same sync
//! mode), and does nothing else: it is what the device gives. The log beside it encodes entries, keeps an index and a cache,
//! checkpoints, rolls, and frees segments. Both go on one thread, in turns, and each turn's ratio is of two neighbours.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use raft::{EntryId, EntryKind, EntrySpec, GroupId, Index, Term, encode_entry, entry_bytes};
use raftlog::{BatchSeq, Log, Options};
use runtime::{BufferMut, Context, Disk, File, RealDisk, RealFile, ShardSpec, spawn_shard};

use crate::disk::Device;
use crate::host;
use crate::summary::{median, ratio_line};

/// Sizes of batches, in bytes, with their names.
const SIZES: [(usize, &str); 5] =
    [(4 << 10, "4k"), (16 << 10, "16k"), (64 << 10, "64k"), (256 << 10, "256k"), (1 << 20, "1m")];
/// Batches in flight, as the log has them at most.
const IN_FLIGHT: usize = 4;
/// The probe goes round in a file of this size, as large as a segment.
const PROBE_BYTES: u64 = 64 << 20;
/// What a command holds: with its entry's header a little over a thousand bytes.
const COMMAND_BYTES: usize = 1000;
/// What of a batch is not entries: header, a few records, alignment.
const OVERHEAD_BYTES: usize = 448;
/// The group is compacted after so many batches, so that segments are used again.
const COMPACT_EVERY: u64 = 32;
/// Rolls before anything counts: from then on segments were written before.
const ROLLS_BEFORE: u64 = 6;
const GROUP: GroupId = GroupId(1);

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rounds that count; ratios are medians over them.
    pub rounds: u32,
    /// What each side writes for, in each round.
    pub slice: Duration,
}

/// What one side did in one slice.
#[derive(Clone, Copy, Debug)]
struct Slice {
    batches_per_second: f64,
    cpu_micros: f64,
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
    fn end(&self, batches: u64) -> anyhow::Result<Slice> {
        let time = self.began.elapsed().as_secs_f64();
        let cpu = host::cpu_time(std::process::id())?.saturating_sub(self.cpu);
        let batches = batches.max(1) as f64;
        Ok(Slice { batches_per_second: batches / time, cpu_micros: cpu.as_secs_f64() * 1e6 / batches })
    }
}

async fn turn(context: &Context) {
    context.ring().submit();
    context.ring().wait().await;
    context.ring().events(&mut Vec::new());
}

type Write = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;

/// The bare device.
async fn probe(
    context: &Context,
    file: &RealFile,
    bytes: usize,
    flight: usize,
    slice: Duration,
) -> anyhow::Result<Slice> {
    let mut block = BufferMut::zeroed(bytes);
    block.iter_mut().zip(0_u32..).for_each(|(byte, at)| *byte = at.to_le_bytes()[0]);
    let block = block.freeze();
    let places = PROBE_BYTES / bytes as u64;
    let (mut writes, mut begun, mut done) = (VecDeque::<Write>::new(), 0_u64, 0_u64);
    let meter = Meter::start()?;
    while meter.began.elapsed() < slice || !writes.is_empty() {
        while writes.len() < flight && meter.began.elapsed() < slice {
            let (file, data, offset) = (file.clone(), block.clone(), begun % places * bytes as u64);
            writes.push_back(Box::pin(async move { file.write_durable(offset, data).await }));
            begun += 1;
        }
        let mut failed = Ok(());
        writes.retain_mut(|write| match write.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(result) => {
                done += 1;
                failed = std::mem::replace(&mut failed, Ok(())).and(result);
                false
            }
        });
        failed?;
        if writes.len() == flight || !writes.is_empty() && meter.began.elapsed() >= slice {
            turn(context).await;
        }
    }
    meter.end(done)
}

/// The log, and what it was given so far.
struct Ours {
    log: Log<RealDisk>,
    last: Index,
    compacted: BatchSeq,
}

impl Ours {
    async fn open(context: &Context, dir: &Path, flight: usize) -> anyhow::Result<Ours> {
        let options = Options { in_flight_max: flight, cap_bytes: 1 << 30, ..Options::new([1; 16], 0, 1) };
        let (log, _) = Log::open(context.disk(), dir, options).await?;
        Ok(Ours { log, last: Index(0), compacted: BatchSeq(0) })
    }

    /// One batch of `bytes` with entries of [`COMMAND_BYTES`].
    fn add(&mut self, bytes: usize) {
        let each = entry_bytes(COMMAND_BYTES);
        let count = ((bytes - OVERHEAD_BYTES) / each).max(1);
        let first = EntryId::new(Term(1), self.last.next());
        let records = u32::try_from(count).expect("a batch has few entries");
        let mut space = self.log.entries_space(GROUP, 1, first, records, count * each);
        for index in (first.index.0..).take(count) {
            let (place, rest) = space.split_at_mut(each);
            space = rest;
            let id = EntryId::new(Term(1), Index(index));
            let spec = EntrySpec { group: GROUP, incarnation: 1, id, kind: EntryKind::Command };
            encode_entry(place, spec, COMMAND_BYTES, |out| out.fill(index.to_le_bytes()[0]));
        }
        self.last = Index(self.last.0 + count as u64);
        self.log.applied(GROUP, self.last);
        if self.log.building().0 >= self.compacted.0 + COMPACT_EVERY {
            self.compacted = self.log.building();
            let visible = self.log.visible(GROUP);
            self.log.compact(GROUP, EntryId::new(Term(1), visible));
        }
        self.log.submit();
    }

    async fn prepare(&mut self, context: &Context) {
        if let Some(job) = self.log.wanted() {
            let prepared = job.run(&context.disk()).await;
            self.log.prepared(prepared);
        }
    }

    async fn write(
        &mut self,
        context: &Context,
        bytes: usize,
        flight: usize,
        slice: Duration,
    ) -> anyhow::Result<Slice> {
        let before = self.log.stats();
        let meter = Meter::start()?;
        while meter.began.elapsed() < slice {
            let durable = self.log.poll()?;
            let waiting = self.log.building().0 - durable.0;
            if waiting < flight as u64 {
                self.add(bytes);
                continue;
            }
            self.prepare(context).await;
            turn(context).await;
        }
        let batches = self.log.stats().batches - before.batches - self.log.stats().in_flight as u64;
        let slice = meter.end(batches)?;
        self.log.drain().await?;
        let stats = self.log.stats();
        let written = stats.bytes - before.bytes;
        ensure!(
            written < (stats.batches - before.batches) * bytes as u64 * 11 / 10 + (1 << 20),
            "the log wrote {written} bytes for {} batches of {bytes}",
            stats.batches - before.batches
        );
        Ok(slice)
    }

    /// Writes until segments are used again.
    async fn warm_up(&mut self, context: &Context) -> anyhow::Result<()> {
        while self.log.stats().rolls < ROLLS_BEFORE {
            self.add(1 << 20);
            self.log.drain().await?;
            self.prepare(context).await;
        }
        Ok(())
    }
}

/// The rounds of one size and depth: the probe's slices and the log's.
type Rounds = (Vec<Slice>, Vec<Slice>);

async fn measure(
    context: &Context,
    dir: &Path,
    flight: usize,
    settings: Settings,
) -> anyhow::Result<Vec<Rounds>> {
    let disk = context.disk();
    let file = disk.create(&dir.join(format!("probe-{flight}")), PROBE_BYTES).await?;
    let mut ours = Ours::open(context, &dir.join(format!("log-{flight}")), flight).await?;
    ours.warm_up(context).await?;
    let mut all = Vec::new();
    for (bytes, _) in SIZES {
        let mut rounds: Rounds = (Vec::new(), Vec::new());
        for round in 0..=settings.rounds {
            let theirs = probe(context, &file, bytes, flight, settings.slice).await?;
            let own = ours.write(context, bytes, flight, settings.slice).await?;
            if round > 0 {
                rounds.0.push(theirs);
                rounds.1.push(own);
            }
        }
        all.push(rounds);
    }
    Ok(all)
}

fn rate(slices: &[Slice]) -> f64 {
    median(slices.iter().map(|slice| slice.batches_per_second))
}

fn row(size: &str, flight: usize, side: &str, slices: &[Slice], ratio: Option<f64>) -> String {
    let cpu = median(slices.iter().map(|slice| slice.cpu_micros));
    let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    format!("{size:>5} {flight:>9} {side:<6} {:>11.0} {cpu:>13.1} {ratio:>7}", rate(slices))
}

/// Measures in `dir` and prints a table and the lines that others read.
///
/// # Errors
/// The disk, or a shard that could not be started.
pub fn run(dir: &Path, settings: Settings) -> anyhow::Result<()> {
    println!("{}", Device::of(dir)?.describe());
    let (sender, receiver) = std::sync::mpsc::channel();
    let place: PathBuf = dir.to_owned();
    let spec = ShardSpec { name: "compare-log".to_owned(), cpu: None };
    let shard = spawn_shard(spec, move |context| async move {
        let mut both = Vec::new();
        for flight in [1, IN_FLIGHT] {
            both.push(measure(&context, &place, flight, settings).await);
        }
        let _nobody_waits = sender.send(both);
    })?;
    shard.join().map_err(|error| anyhow!("the shard panicked: {error}"))?;
    let mut both = receiver.recv().context("the shard sent nothing")?.into_iter();
    let (one, four) = (both.next().context("no rounds")??, both.next().context("no rounds")??);
    println!(
        "{:>5} {:>9} {:<6} {:>11} {:>13} {:>7}",
        "batch", "in flight", "side", "batches/s", "CPU us/batch", "ratio"
    );
    let mut lines = Vec::new();
    for (((bytes, size), one), four) in SIZES.iter().zip(&one).zip(&four) {
        for (flight, (theirs, own)) in [(1, one), (IN_FLIGHT, four)] {
            let pairs = own.iter().zip(theirs);
            let ratio = median(pairs.map(|(own, theirs)| own.batches_per_second / theirs.batches_per_second));
            println!("{}", row(size, flight, "device", theirs, None));
            println!("{}", row(size, flight, "log", own, Some(ratio)));
            lines.push(ratio_line(&format!("log_device_{size}_{flight}"), ratio, 0.85));
        }
        if *bytes <= 64 << 10 {
            lines.push(ratio_line(&format!("log_pipeline_{size}"), rate(&four.1) / rate(&one.0), 1.5));
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
