//! Batches of the same size, written in the same way, as many of them in flight: the log beside the device under it.
//!
//! The probe writes blocks that have been written before through the same files as the log does (O_DIRECT, the same sync
//! mode), and does nothing else: it is what the device gives. The log builds the next batch while as many as the probe has are in
//! flight, as a shard's next turn does.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use runtime::{Buffer, BufferMut, Context, Disk, File, RealFile};

use super::ours::{Ours, Shape};
use super::{Meter, Settings, Slice, on_shard, turn, turn_until};
use crate::summary::{limit_line, median, ratio_line};

/// Sizes of batches, in bytes, with their names.
pub(super) const SIZES: [(usize, &str); 5] =
    [(4 << 10, "4k"), (16 << 10, "16k"), (64 << 10, "64k"), (256 << 10, "256k"), (1 << 20, "1m")];
/// Batches in flight, as the log has them at most.
pub(super) const IN_FLIGHT: usize = 4;
/// The probe goes round in a file of this size, as large as a segment.
pub(super) const PROBE_BYTES: u64 = 64 << 20;

type Write = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;

/// Bytes that are not all the same.
fn pattern(bytes: usize) -> Buffer {
    let mut block = BufferMut::zeroed(bytes);
    block.iter_mut().zip(0_u32..).for_each(|(byte, at)| *byte = at.to_le_bytes()[0]);
    block.freeze()
}

fn poll(write: &mut Write) -> Poll<std::io::Result<()>> {
    write.as_mut().poll(&mut Task::from_waker(Waker::noop()))
}

/// The bare device.
pub(super) async fn probe(
    context: &Context,
    file: &RealFile,
    bytes: usize,
    flight: usize,
    slice: Duration,
) -> anyhow::Result<Slice> {
    let block = pattern(bytes);
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
        writes.retain_mut(|write| match poll(write) {
            Poll::Pending => true,
            Poll::Ready(result) => {
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
    meter.end(done, done * bytes as u64)
}

/// The bare device, a write at each time of `schedule`, at most `flight` under way. How long each took from its time on.
pub(super) async fn probe_at(
    context: &Context,
    file: &RealFile,
    bytes: usize,
    flight: usize,
    schedule: impl Iterator<Item = Instant>,
) -> anyhow::Result<Vec<Duration>> {
    let (block, places) = (pattern(bytes), PROBE_BYTES / bytes as u64);
    let (mut writes, mut times) = (VecDeque::<(Write, Instant)>::new(), Vec::new());
    let (mut schedule, mut begun) = (schedule.peekable(), 0_u64);
    while schedule.peek().is_some() || !writes.is_empty() {
        while writes.len() < flight
            && let Some(due) = schedule.next_if(|due| *due <= Instant::now())
        {
            let (file, data, offset) = (file.clone(), block.clone(), begun % places * bytes as u64);
            writes.push_back((Box::pin(async move { file.write_durable(offset, data).await }), due));
            begun += 1;
        }
        let mut failed = Ok(());
        writes.retain_mut(|(write, due)| match poll(write) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                times.push(due.elapsed());
                failed = std::mem::replace(&mut failed, Ok(())).and(result);
                false
            }
        });
        failed?;
        if schedule.peek().is_some() || !writes.is_empty() {
            turn_until(context, schedule.peek().filter(|_| writes.len() < flight).copied()).await;
        }
    }
    context.ring().set_timer(Duration::MAX);
    Ok(times)
}

/// The rounds of one size and depth: the probe's slices and the log's.
type Rounds = (Vec<Slice>, Vec<Slice>);

async fn measure(
    context: &Context,
    dir: &Path,
    flight: usize,
    settings: Settings,
) -> anyhow::Result<Vec<Rounds>> {
    let file = context.disk().create(&dir.join(format!("probe-{flight}")), PROBE_BYTES).await?;
    let mut ours = Ours::open(context, &dir.join(format!("log-{flight}")), flight).await?;
    ours.warm_up(context).await?;
    let mut all = Vec::new();
    for (bytes, _) in SIZES {
        let shape = Shape::of_bytes(bytes);
        let mut rounds: Rounds = (Vec::new(), Vec::new());
        for round in 0..=settings.rounds {
            let theirs = probe(context, &file, bytes, flight, settings.slice).await?;
            let own = ours.write(context, shape, (flight, 1), settings.slice).await?;
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

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    let place: PathBuf = dir.to_owned();
    let (one, four) = on_shard(move |context| async move {
        let one = measure(&context, &place, 1, settings).await?;
        Ok((one, measure(&context, &place, IN_FLIGHT, settings).await?))
    })?;
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
            if (flight, *size) == (1, "4k") {
                lines.push(limit_line("log_write_4k_times_bare", 1.0 / ratio, 1.15));
            }
        }
        if *bytes <= 64 << 10 {
            lines.push(ratio_line(&format!("log_pipeline_{size}"), rate(&four.1) / rate(&one.0), 1.5));
        }
    }
    Ok(lines)
}
