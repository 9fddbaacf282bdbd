//! Restarts of a node that was killed, while its two peers serve: until it answers a client, and what it holds in memory then.
//!
//! Nothing is saved for the occasion: the node starts from the snapshots and the log that it happened to have.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::Cluster;

use super::{Settings, forget_cache, nodes};
use crate::host;
use crate::summary::{limit_line, median};

const NODES: u16 = 3;
const SECONDS_MAX: f64 = 1.0;
/// Whatever the data, up to 16 GiB.
const MEMORY_GIB_MAX: f64 = 2.0;
/// The slowest size over the fastest.
const SPREAD_MAX: f64 = 1.3;
/// Between two attempts to be answered.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// One restart.
pub(super) struct Restart {
    /// From just before the program is executed to the first answer.
    answered: Duration,
    /// To where all of the node's replicas have what their peers had applied at the beginning.
    caught_up: Duration,
    memory_bytes: u64,
}

/// Asks a node that starts for a key until it answers with the value, as a client that tries to connect again and again.
fn first_answer(cluster: &Cluster, id: u16, deadline: Instant) -> anyhow::Result<()> {
    let get = |client: &mut Client| client.line("GET key:000000000000");
    while Instant::now() < deadline {
        let client = Client::connect(cluster.address(id), Duration::from_secs(5));
        if let Ok(mut client) = client
            && let Ok(answer) = get(&mut client)
        {
            ensure!(answer != Value::Null, "the node answers that a key is not there");
            if matches!(answer, Value::Bulk(_)) {
                return Ok(());
            }
        }
        std::thread::sleep(RETRY_AFTER);
    }
    anyhow::bail!("node {id} answered nothing")
}

/// Kills a node, lets its peers serve alone, and starts it again.
fn restart_beside_peers(cluster: &mut Cluster, id: u16) -> anyhow::Result<Restart> {
    cluster.kill(id);
    cluster.wait_leaders(nodes::WAIT).map_err(anyhow::Error::msg)?;
    let goal = nodes::applied(cluster, id % NODES + 1)?;
    start(cluster, id, &goal)
}

/// Kills the only node, and starts it again.
pub(super) fn restart_alone(cluster: &mut Cluster) -> anyhow::Result<Restart> {
    let goal = nodes::applied(cluster, 1)?;
    cluster.kill(1);
    start(cluster, 1, &goal)
}

fn start(cluster: &mut Cluster, id: u16, goal: &BTreeMap<u64, u64>) -> anyhow::Result<Restart> {
    forget_cache(&cluster.data(id))?;
    let (began, deadline) = (Instant::now(), Instant::now() + nodes::WAIT);
    cluster.launch(id).map_err(anyhow::Error::msg)?;
    first_answer(cluster, id, deadline)?;
    let answered = began.elapsed();
    let has_all = || {
        let status = cluster.status(id);
        status.is_ok_and(|status| nodes::reaches(&status, goal, |group| group.applied))
    };
    ensure!(poll::until(deadline, has_all), "node {id} does not catch up");
    let caught_up = began.elapsed();
    let memory_bytes = host::memory_bytes(nodes::process(cluster, id)?)?;
    cluster.wait_ready(id).map_err(anyhow::Error::msg)?;
    Ok(Restart { answered, caught_up, memory_bytes })
}

/// What one size of data came to.
pub(super) struct Figures {
    mib: u64,
    /// Seconds to the first answer: median, least, most.
    answered: [f64; 3],
    caught_up: f64,
    memory_mib: f64,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
    pub(super) fn of(mib: u64, restarts: &[Restart]) -> Figures {
        let seconds = || restarts.iter().map(|restart| restart.answered.as_secs_f64());
        let least = seconds().fold(f64::INFINITY, f64::min);
        let memory = median(restarts.iter().map(|restart| restart.memory_bytes as f64));
        Figures {
            mib,
            answered: [median(seconds()), least, seconds().fold(0.0, f64::max)],
            caught_up: median(restarts.iter().map(|restart| restart.caught_up.as_secs_f64())),
            memory_mib: memory / f64::from(1 << 20),
        }
    }

    pub(super) fn print(&self) {
        let Figures { mib, answered: [middle, least, most], caught_up, memory_mib } = self;
        println!("{mib:<10} {middle:>7.3} s {least:>7.3} {most:>7.3} {caught_up:>10.3} s {memory_mib:>11.0}");
    }
}

pub(super) fn print_head() {
    println!("the node's files are taken out of the page cache before each start (posix_fadvise)");
    println!(
        "{:<10} {:>9} {:>7} {:>7} {:>12} {:>11}",
        "data MiB", "first GET", "least", "most", "caught up", "memory MiB"
    );
}

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut cluster = nodes::start(dir, NODES, &[])?;
    let mut all = Vec::new();
    print_head();
    for mib in &settings.restart_mib {
        nodes::fill(&cluster, nodes::keys_of(*mib))?;
        cluster.wait_caught_up(nodes::WAIT).map_err(anyhow::Error::msg)?;
        let restarts =
            (0..settings.restarts).map(|round| restart_beside_peers(&mut cluster, round % NODES + 1));
        let figures = Figures::of(*mib, &restarts.collect::<anyhow::Result<Vec<_>>>()?);
        figures.print();
        all.push(figures);
    }
    Ok(report(&all))
}

pub(super) fn report(all: &[Figures]) -> Vec<String> {
    let mut lines = Vec::new();
    for figures in all {
        let (mib, [middle, ..]) = (figures.mib, figures.answered);
        lines.push(limit_line(&format!("snapshot_restart_seconds_{mib}_mib"), middle, SECONDS_MAX));
        let memory_gib = figures.memory_mib / 1024.0;
        lines.push(limit_line(&format!("snapshot_restart_memory_gib_{mib}_mib"), memory_gib, MEMORY_GIB_MAX));
    }
    let middles = all.iter().map(|figures| figures.answered[0]);
    let (fastest, slowest) = (middles.clone().fold(f64::MAX, f64::min), middles.fold(0.0, f64::max));
    if all.len() > 1 {
        lines.push(limit_line("snapshot_restart_slowest_size_over_fastest", slowest / fastest, SPREAD_MAX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared() {
        let figures = |mib, answered| Figures {
            mib,
            answered: [answered, 0.4, 0.6],
            caught_up: 1.0,
            memory_mib: 512.0,
        };
        let lines = report(&[figures(256, 0.5), figures(1024, 0.6)]);
        assert_eq!(lines[0], "LIMIT snapshot_restart_seconds_256_mib 0.50 max 1");
        assert_eq!(lines[3], "LIMIT snapshot_restart_memory_gib_1024_mib 0.50 max 2");
        assert_eq!(lines[4], "LIMIT snapshot_restart_slowest_size_over_fastest 1.20 max 1.3");
        assert_eq!(report(&[figures(256, 0.5)]).len(), 2, "one size says nothing of others");
    }
}
