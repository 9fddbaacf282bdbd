//! A node that was away while its peers took a million writes and let go of the log: how long until it has everything, what it
//! was sent, and what that costs those who write meanwhile.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ringraft_tests::poll;
use ringraft_tests::process::Cluster;

use super::{Settings, nodes};
use crate::summary::{limit_line, median};

const NODES: u16 = 3;
/// The one that is away.
const AWAY: u16 = 3;
const P99_TIMES_MAX: f64 = 1.5;
/// What the peers' load is measured for while the node is away.
const WITHOUT: Duration = Duration::from_secs(5);
/// The same load before each of the two measurements, so that both begin alike.
const BEFORE: Duration = Duration::from_secs(1);

/// What one return came to.
struct Return {
    seconds: f64,
    sent_bytes: u64,
    /// Files that the peers sent.
    files: u64,
    /// The writes' 99th percentile in milliseconds: while the node was away, and while it came back.
    p99_ms: [f64; 2],
}

/// Bytes and files of the snapshots that a node, by its log, has begun to send.
fn sent(log: &str) -> (u64, u64) {
    let number = |line: &str, name: &str| -> Option<u64> {
        let digits = line.split(name).nth(1)?;
        digits.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    };
    let lines = log.lines().filter(|line| line.contains("sending a snapshot"));
    lines.fold((0, 0), |(bytes, files), line| {
        let (more, count) = (number(line, " bytes=").unwrap_or(0), number(line, " files=").unwrap_or(0));
        (bytes + more, files + count)
    })
}

fn sent_by_peers(cluster: &Cluster) -> (u64, u64) {
    let sums = cluster.ids().filter(|id| *id != AWAY).map(|id| sent(&cluster.log(id)));
    sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn round(cluster: &mut Cluster, settings: &Settings, keys: u64, seed: u64) -> anyhow::Result<Return> {
    cluster.stop(AWAY).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(nodes::WAIT).map_err(anyhow::Error::msg)?;
    let writes = nodes::writes(cluster, keys, settings.writes, seed);
    nodes::run(&writes, &mut || ControlFlow::Continue(()))?;
    let peers: Vec<u16> = cluster.ids().filter(|id| *id != AWAY).collect();
    nodes::save(cluster, &peers)?;
    // To the peers alone, also while the node comes back: a client that asks that one waits for it, whatever it costs its peers.
    let load = nodes::paced(cluster, keys, settings.rate, 0);
    nodes::run_for(&load, BEFORE)?;
    let without = nodes::run_for(&load, WITHOUT)?;
    nodes::run_for(&load, BEFORE)?;
    let before = sent_by_peers(cluster);
    let goal = nodes::applied(cluster, peers[0])?;
    let began = Instant::now();
    cluster.launch(AWAY).map_err(anyhow::Error::msg)?;
    let watched: &Cluster = cluster;
    let (seconds, with) = nodes::run_while(&load, || {
        let has_all = || {
            let status = watched.status(AWAY);
            status.is_ok_and(|status| nodes::reaches(&status, &goal, |group| group.applied))
        };
        ensure!(poll::until(began + nodes::WAIT, has_all), "the node does not catch up");
        Ok(began.elapsed().as_secs_f64())
    })?;
    cluster.wait_ready(AWAY).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(nodes::WAIT).map_err(anyhow::Error::msg)?;
    let after = sent_by_peers(cluster);
    let p99_ms = [nodes::p99_ms(without.writes.latency)?, nodes::p99_ms(with.writes.latency)?];
    Ok(Return { seconds, sent_bytes: after.0 - before.0, files: after.1 - before.1, p99_ms })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut cluster = nodes::start(dir, NODES, &[])?;
    let keys = settings.writes;
    nodes::fill(&cluster, keys)?;
    println!(
        "{} writes to {keys} keys while a node is away; {:.0} writes/s after that",
        settings.writes, settings.rate
    );
    println!(
        "{:<7} {:>11} {:>9} {:>6} {:>15} {:>12} {:>6}",
        "return", "caught up", "sent MiB", "files", "p99 ms without", "p99 ms with", "times"
    );
    let mut all = Vec::new();
    for number in 1..=u64::from(settings.returns) {
        let back = round(&mut cluster, settings, keys, number)?;
        let ([without, with], mib) = (back.p99_ms, back.sent_bytes as f64 / f64::from(1 << 20));
        println!(
            "{number:<7} {:>9.2} s {mib:>9.0} {:>6} {without:>15.2} {with:>12.2} {:>6.2}",
            back.seconds,
            back.files,
            with / without
        );
        ensure!(back.files > 0, "the node came back without a snapshot: its peers had not let go of the log");
        all.push(back);
    }
    let times = median(all.iter().map(|back| back.p99_ms[1] / back.p99_ms[0]));
    Ok(vec![limit_line("snapshot_catch_up_write_p99_times", times, P99_TIMES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_from_the_log() {
        let log = "INFO sending a snapshot group=1 to=3 id=2:9 bytes=4096 files=2\nINFO sent a snapshot bytes=1\n\
            INFO sending a snapshot group=2 to=3 id=2:7 bytes=100 files=1\n";
        assert_eq!(sent(log), (4196, 3));
        assert_eq!(sent("nothing"), (0, 0));
    }
}
