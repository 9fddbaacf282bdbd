//! How long a start takes with a gibibyte of log, beside reading all of it and doing nothing with it. (A start reads lists of what
//! lives in complete segments, so it need not read as much.)

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use raftlog::Options;
use runtime::{Context, Disk, File};

use super::ours::{Ours, Shape};
use super::{Settings, on_shard};
use crate::summary::{median, ratio_line};

/// What is written, entries of 256 bytes.
const LOG_BYTES: u64 = 1 << 30;
const SHAPE: Shape = Shape { groups: 64, entries: 16, command_bytes: 256 };
/// Of the speed of reading: within 1.3 times its time.
const SHARE_MIN: f64 = 0.77;
/// How the files are read beside it.
const PIECE_BYTES: usize = 1 << 20;
const AHEAD: usize = 8;

fn options() -> Options {
    Options { cap_bytes: 4 * LOG_BYTES, ..Options::new([1; 16], 0, 1) }
}

/// Seconds to read `bytes` of the files in `dir`, one file after the other, several pieces under way.
async fn read(context: &Context, dir: &Path, bytes: u64) -> anyhow::Result<f64> {
    let disk = context.disk();
    let mut files = Vec::new();
    for name in disk.list(dir).await? {
        files.push(disk.open(&dir.join(name)).await?);
    }
    let began = Instant::now();
    let places = files.iter().flat_map(|file| {
        (0..file.file_bytes()).step_by(PIECE_BYTES).map(move |offset| (file.clone(), offset))
    });
    let mut pieces = places.take(usize::try_from(bytes / PIECE_BYTES as u64)?);
    let mut reads = VecDeque::new();
    loop {
        while reads.len() < AHEAD
            && let Some((file, offset)) = pieces.next()
        {
            let mut piece = Box::pin(async move { file.read_at(offset, PIECE_BYTES).await });
            let begun = std::future::poll_fn(|task| std::task::Poll::Ready(piece.as_mut().poll(task))).await;
            match begun {
                std::task::Poll::Ready(result) => drop(result?),
                std::task::Poll::Pending => reads.push_back(piece),
            }
        }
        let Some(oldest) = reads.pop_front() else { break };
        drop(oldest.await?);
    }
    Ok(began.elapsed().as_secs_f64())
}

/// What a start read, and the seconds of each round: plain reads of the whole log, and starts.
async fn measure(
    context: Context,
    dir: PathBuf,
    settings: Settings,
) -> anyhow::Result<(u64, Vec<(f64, f64)>)> {
    let mut ours = Ours::open_with(&context, &dir, options()).await?;
    while ours.log.stats().bytes < LOG_BYTES {
        ours.add(SHAPE, 0, true);
        ours.log.drain().await?;
        ours.prepare(&context);
    }
    ours.end(&context).await?;
    let (mut rounds, mut bytes) = (Vec::new(), 0);
    for round in 0..=settings.rounds {
        let plain = read(&context, &dir, LOG_BYTES).await?;
        let began = Instant::now();
        let (log, recovered) = raftlog::Log::open(context.disk(), &dir, options()).await?;
        let start = began.elapsed().as_secs_f64();
        drop(log);
        if round > 0 {
            rounds.push((plain, start));
        }
        bytes = recovered.report.bytes_read;
    }
    Ok((bytes, rounds))
}

#[expect(clippy::cast_precision_loss, reason = "a few gigabytes")]
pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    let dir = dir.to_owned();
    let (bytes, rounds) = on_shard(move |context| measure(context, dir, settings))?;
    let rate = |seconds: f64| LOG_BYTES as f64 / seconds / 1e9;
    let (plain, start) =
        (median(rounds.iter().map(|round| round.0)), median(rounds.iter().map(|round| round.1)));
    let ratio = median(rounds.iter().map(|(plain, start)| plain / start));
    println!(
        "{LOG_BYTES} bytes: read in {plain:.3} s ({:.2} GB/s), recovered in {start:.3} s ({:.2} GB/s) from {bytes} bytes",
        rate(plain),
        rate(start)
    );
    Ok(vec![ratio_line("log_recovery_of_read", ratio, SHARE_MIN)])
}
