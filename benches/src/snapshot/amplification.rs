//! What a node writes to its disk for each byte of keys and values that clients overwrite, evenly over all keys: log, snapshots
//! and their merges.
//!
//! The count begins when nothing is left to be written of what came before, and ends when nothing is of what came since.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ringraft_tests::poll;
use ringraft_tests::process::Cluster;

use super::{Settings, nodes};
use crate::host;
use crate::summary::limit_line;

/// Bytes written for each byte of a client.
pub(super) const TIMES_MAX: f64 = 12.0;
/// How often all of the data is overwritten.
const OVERWRITES: u64 = 2;
/// A node that has written nothing for so long has nothing to write.
const QUIET: Duration = Duration::from_secs(2);

/// Waits until the node writes no more; what it has written by then.
fn settled_bytes(process: u32) -> anyhow::Result<u64> {
    let mut last = (host::disk_bytes(process)?, Instant::now());
    let settled = poll::until(Instant::now() + nodes::WAIT, || {
        let bytes = host::disk_bytes(process).unwrap_or(0);
        if bytes != last.0 {
            last = (bytes, Instant::now());
        }
        last.1.elapsed() >= QUIET
    });
    ensure!(settled, "the node writes for {:?} though nobody asks it to", nodes::WAIT);
    Ok(last.0)
}

fn log_bytes(cluster: &Cluster) -> anyhow::Result<u64> {
    nodes::count(cluster, 1, "ringraft_log_written_bytes_total")
}

fn saves(cluster: &Cluster) -> anyhow::Result<u64> {
    nodes::count(cluster, 1, "ringraft_snapshots_published_total")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
/// Overwrites so many of the `mib` mebibytes that the one node of `cluster` holds.
pub(super) fn measure(cluster: &Cluster, mib: u64, requests: u64) -> anyhow::Result<f64> {
    let (keys, process) = (nodes::keys_of(mib), nodes::process(cluster, 1)?);
    let (before, log_before, saves_before) = (settled_bytes(process)?, log_bytes(cluster)?, saves(cluster)?);
    let load = nodes::writes(cluster, keys, requests, 2);
    let report = nodes::run(&load, &mut || ControlFlow::Continue(()))?;
    let (after, log_after, saves_after) = (settled_bytes(process)?, log_bytes(cluster)?, saves(cluster)?);
    let user = (report.requests * nodes::USER_BYTES) as f64;
    let times = (after - before) as f64 / user;
    let log = (log_after - log_before) as f64 / user;
    println!(
        "{mib} MiB of data, {} overwrites at {:.0}/s, {} saves of groups",
        report.requests,
        report.requests_per_second,
        saves_after - saves_before
    );
    println!("bytes written per byte of keys and values: {times:.2}, of them {log:.2} by the log");
    Ok(times)
}

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let cluster = nodes::start(dir, 1, &[])?;
    let keys = nodes::keys_of(settings.overwrite_mib);
    nodes::fill(&cluster, keys)?;
    let times = measure(&cluster, settings.overwrite_mib, keys * OVERWRITES)?;
    Ok(vec![limit_line("snapshot_write_amplification", times, TIMES_MAX)])
}
