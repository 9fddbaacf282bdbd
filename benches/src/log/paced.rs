//! The 99th percentile of a batch when both logs are offered the same: 0.7 of what raft-engine reaches with one writer, from
//! a schedule, so that a batch that waits behind a slow one counts from when it was due. Beside both, bare writes of the commands
//! alone from the same schedule: what the device gives.

use std::path::Path;
use std::time::{Duration, Instant};

use runtime::Disk;

use super::device::{IN_FLIGHT, PROBE_BYTES, probe_at};
use super::engine::{CASES, Theirs, bare_bytes};
use super::ours::{Ours, Shape};
use super::{Settings, on_shard};
use crate::summary::{limit_line, median};

/// Of raft-engine's own maximum.
const OFFERED: f64 = 0.7;
/// Between opening and the first batch that is due.
const LEAD: Duration = Duration::from_millis(5);

fn schedule(per_second: f64, slice: Duration) -> impl Iterator<Item = Instant> {
    let (begin, every) = (Instant::now() + LEAD, Duration::from_secs_f64(1.0 / per_second));
    let end = begin + slice;
    std::iter::successors(Some(begin), move |due| Some(*due + every)).take_while(move |due| *due < end)
}

fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let at = times.len() * 99 / 100;
    times.get(at.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64) * 1e6
}

/// The 99th percentiles of both in microseconds, round by round, and the rate offered.
struct Rounds {
    rate: f64,
    theirs: Vec<f64>,
    ours: Vec<f64>,
    bare: Vec<f64>,
}

fn measure(dir: &Path, shape: Shape, settings: Settings) -> anyhow::Result<Rounds> {
    let mut theirs = Theirs::open(&dir.join("raft-engine"))?;
    let maxima: Vec<f64> = (0..3)
        .map(|_| Ok(theirs.write(shape, 1, settings.slice)?.batches_per_second))
        .collect::<anyhow::Result<_>>()?;
    let rate = OFFERED * median(maxima);
    let mut rounds = Rounds { rate, theirs: Vec::new(), ours: Vec::new(), bare: Vec::new() };
    let place = dir.join("ours");
    on_shard(move |context| async move {
        let mut ours = Ours::open(&context, &place, IN_FLIGHT).await?;
        ours.warm_up(&context).await?;
        let file = context.disk().create(&place.join("bare"), PROBE_BYTES).await?;
        for round in 0..=settings.rounds {
            let other = p99(theirs.write_at(shape, schedule(rate, settings.slice))?);
            let own = p99(ours.write_at(&context, shape, schedule(rate, settings.slice)).await?);
            let bytes = bare_bytes(shape);
            let bare =
                p99(probe_at(&context, &file, bytes, IN_FLIGHT, schedule(rate, settings.slice)).await?);
            if round > 0 {
                rounds.theirs.push(other);
                rounds.ours.push(own);
                rounds.bare.push(bare);
            }
        }
        Ok(rounds)
    })
}

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    println!(
        "{:<9} {:>10} {:>16} {:>12} {:>7} {:>12} {:>7}",
        "batch", "batches/s", "raft-engine p99", "ours p99", "share", "bare p99", "share"
    );
    let mut lines = Vec::new();
    for (name, shape, _) in CASES {
        let place = dir.join(name);
        std::fs::create_dir(&place)?;
        let rounds = measure(&place, shape, settings)?;
        let part = |own: &[f64]| median(own.iter().zip(&rounds.theirs).map(|(own, other)| own / other));
        let (share, least) = (part(&rounds.ours), part(&rounds.bare));
        let (theirs, ours, bare) = (median(rounds.theirs), median(rounds.ours), median(rounds.bare));
        println!(
            "{name:<9} {:>10.0} {theirs:>13.0} us {ours:>9.0} us {share:>7.3} {bare:>9.0} us {least:>7.3}",
            rounds.rate
        );
        lines.push(limit_line(&format!("log_paced_p99_{name}"), share, 0.5));
        std::fs::remove_dir_all(&place)?;
    }
    Ok(lines)
}
