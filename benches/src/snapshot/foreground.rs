//! What clients wait for while a node merges its files, beside what they wait for without.
//!
//! Before each merge enough keys are overwritten that the next save writes all files of all groups again. Clients ask at the
//! same fixed rate in both halves of a round. A round in which the node saved by itself, as it does after the most log that it can be
//! told to wait for, is none.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ringraft::cli::load::Report;
use ringraft_tests::poll;
use ringraft_tests::process::Cluster;

use super::{Settings, nodes};
use crate::host;
use crate::summary::{limit_line, median};

const P99_TIMES_MAX: f64 = 1.5;
/// Keys that are overwritten before a merge, of all: more than the part from which on the oldest file is merged, too.
const OVERWRITTEN_PARTS: u64 = 2;
/// What is measured without a merge.
const WITHOUT: Duration = Duration::from_secs(3);
/// The same load before each of the two halves, so that both begin alike.
const BEFORE: Duration = Duration::from_secs(1);
/// Log after which the node saves by itself: as much as it can be told to wait for.
const SAVES_AFTER_MIB: &str = "2048";
/// Rounds for each that counts, at most.
const TRIES: u16 = 2;

/// The 99th percentiles of reads and of writes, in milliseconds.
fn p99s(report: &Report) -> anyhow::Result<[f64; 2]> {
    Ok([nodes::p99_ms(report.reads.latency)?, nodes::p99_ms(report.writes.latency)?])
}

/// One round: without, and with what it merged.
struct Round {
    without: [f64; 2],
    with: [f64; 2],
    seconds: f64,
    written_bytes: u64,
}

/// None if the node saved by itself.
fn round(cluster: &Cluster, settings: &Settings, keys: u64, seed: u64) -> anyhow::Result<Option<Round>> {
    let saves = || nodes::count(cluster, 1, "ringraft_snapshots_frozen_total");
    let saves_before = saves()?;
    let overwrite = nodes::writes(cluster, keys, keys / OVERWRITTEN_PARTS, seed);
    nodes::run(&overwrite, &mut || ControlFlow::Continue(()))?;
    let load = nodes::paced(cluster, keys, settings.rate, 50);
    nodes::run_for(&load, BEFORE)?;
    let without = nodes::run_for(&load, WITHOUT)?;
    nodes::run_for(&load, BEFORE)?;
    if saves()? != saves_before {
        nodes::save(cluster, &[1])?;
        return Ok(None);
    }
    let process = nodes::process(cluster, 1)?;
    let before = host::disk_bytes(process)?;
    let (seconds, with) = nodes::run_while(&load, || {
        let began = Instant::now();
        let goal = nodes::ask_to_save(cluster, 1)?;
        let deadline = began + nodes::WAIT;
        ensure!(poll::until(deadline, || nodes::has_saved(cluster, 1, &goal)), "the node does not save");
        Ok(began.elapsed().as_secs_f64())
    })?;
    let written_bytes = host::disk_bytes(process)? - before;
    Ok(Some(Round { without: p99s(&without)?, with: p99s(&with)?, seconds, written_bytes }))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let cluster = nodes::start(dir, 1, &["--snapshot-after-mib", SAVES_AFTER_MIB])?;
    let keys = nodes::keys_of(settings.foreground_mib);
    nodes::fill(&cluster, keys)?;
    nodes::save(&cluster, &[1])?;
    println!("{} MiB of data, {:.0} requests/s, half of them reads", settings.foreground_mib, settings.rate);
    println!(
        "{:<6} {:>11} {:>12} {:>22} {:>22}",
        "round", "merged in", "written MiB", "p99 ms of reads", "p99 ms of writes"
    );
    let mut rounds = Vec::new();
    for seed in 1..=settings.merges * TRIES {
        if rounds.len() == usize::from(settings.merges) {
            break;
        }
        let Some(round) = round(&cluster, settings, keys, u64::from(seed))? else { continue };
        let Round { without, with, seconds, written_bytes } = round;
        let (number, mib) = (rounds.len() + 1, written_bytes as f64 / f64::from(1 << 20));
        println!(
            "{number:<6} {seconds:>9.2} s {mib:>12.0} {:>10.2} then {:>6.2} {:>10.2} then {:>6.2}",
            without[0], with[0], without[1], with[1]
        );
        rounds.push((without, with));
    }
    ensure!(!rounds.is_empty(), "the node saved by itself in each round");
    let times = |class: usize| median(rounds.iter().map(|(without, with)| with[class] / without[class]));
    Ok(vec![
        limit_line("snapshot_merge_read_p99_times", times(0), P99_TIMES_MAX),
        limit_line("snapshot_merge_write_p99_times", times(1), P99_TIMES_MAX),
    ])
}
