//! Whole nodes under load: started as processes, driven by the load client of `ringraft bench`, and asked for what they say of
//! themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use ringraft::cli::load::report::Percentiles;
use ringraft::cli::load::schedule::Arrival;
use ringraft::cli::load::{self, Bound, Pace, Report, Workload};
use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, NodeStatus, Options};

use super::data::VALUE_BYTES;

/// A key of the load client and its value.
pub(super) const USER_BYTES: u64 = 16 + VALUE_BYTES as u64;
/// What a node may take to save everything, or to catch up, before something is wrong.
pub(super) const WAIT: Duration = Duration::from_secs(300);

/// A cluster whose groups have leaders, in `dir`. A client may ask any node.
pub(super) fn start(dir: &Path, nodes: u16, args: &[&str]) -> anyhow::Result<Cluster> {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let options = Options { nodes, args, dir: Some(dir.to_owned()), ..Options::default() };
    let cluster = Cluster::start(&options).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(WAIT).map_err(anyhow::Error::msg)?;
    Ok(cluster)
}

/// How many keys make up `mib` mebibytes of keys and values.
pub(super) fn keys_of(mib: u64) -> u64 {
    (mib << 20) / USER_BYTES
}

/// The process of a running node.
pub(super) fn process(cluster: &Cluster, id: u16) -> anyhow::Result<u32> {
    cluster.process_id(id).with_context(|| format!("node {id} does not run"))
}

/// Where the running nodes are.
pub(super) fn targets(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.ids().filter(|id| cluster.is_up(*id)).map(|id| cluster.address(id)).collect()
}

/// Writes as fast as they are answered: of all keys, spread evenly, unless there is more to be said.
pub(super) fn writes(cluster: &Cluster, keys: u64, requests: u64, seed: u64) -> Workload {
    Workload {
        targets: targets(cluster),
        connections: 8,
        pipeline: 128,
        reads_percent: 0,
        keys,
        value_bytes: VALUE_BYTES,
        bound: Bound::Requests(requests),
        // A node that saves while it is written to as fast as can be may be late; that is no reason to break off.
        timeout: Duration::from_secs(30),
        seed,
        ..Workload::default()
    }
}

/// Requests at a fixed rate, until told to end.
pub(super) fn paced(cluster: &Cluster, keys: u64, per_second: f64, reads_percent: u8) -> Workload {
    Workload {
        connections: 32,
        pipeline: 64,
        pace: Pace::Open { per_second, arrival: Arrival::Poisson },
        reads_percent,
        bound: Bound::Time(WAIT),
        ..writes(cluster, keys, 1, 1)
    }
}

/// Writes every key once.
pub(super) fn fill(cluster: &Cluster, keys: u64) -> anyhow::Result<()> {
    run(&Workload { preload: true, ..writes(cluster, keys, 1, 1) }, &mut || ControlFlow::Continue(()))
        .map(drop)
}

/// Runs a load until its end, or until `observer`, which is asked ten times a second, breaks it off. All must be answered.
pub(super) fn run(
    workload: &Workload,
    observer: &mut dyn FnMut() -> ControlFlow<()>,
) -> anyhow::Result<Report> {
    let report = load::run(workload, &mut |_| observer())?;
    let is_sound = report.errors.is_empty() && report.outcome_unknown.is_empty() && report.gave_up.is_none();
    ensure!(is_sound, "the load met errors: {}", report.text());
    Ok(report)
}

/// Runs a load for `time`.
pub(super) fn run_for(workload: &Workload, time: Duration) -> anyhow::Result<Report> {
    run(&Workload { bound: Bound::Time(time), ..workload.clone() }, &mut || ControlFlow::Continue(()))
}

/// Runs a load for as long as `meanwhile` does.
pub(super) fn run_while<T>(
    workload: &Workload,
    meanwhile: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Report)> {
    let ended = AtomicBool::new(false);
    let mut observer = || match ended.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    std::thread::scope(|scope| {
        let load = scope.spawn(|| run(workload, &mut observer));
        let result = meanwhile();
        ended.store(true, Ordering::Relaxed);
        let report = load.join().map_err(|_| anyhow!("the load panicked"))?;
        Ok((result?, report?))
    })
}

/// The 99th percentile, in milliseconds from when each was due.
pub(super) fn p99_ms(latency: Option<Percentiles>) -> anyhow::Result<f64> {
    Ok(latency.context("requests were answered")?.p99_us / 1e3)
}

/// What a node's replicas have applied, by group.
pub(super) fn applied(cluster: &Cluster, id: u16) -> anyhow::Result<BTreeMap<u64, u64>> {
    let status = cluster.status(id).map_err(anyhow::Error::msg)?;
    Ok(status.groups.iter().map(|group| (group.group, group.applied)).collect())
}

/// Whether a node has all of `goal` in what `index` says of its groups.
pub(super) fn reaches(
    status: &NodeStatus,
    goal: &BTreeMap<u64, u64>,
    index: fn(&ringraft_tests::process::GroupStatus) -> u64,
) -> bool {
    goal.iter()
        .all(|(id, goal)| status.groups.iter().any(|group| group.group == *id && index(group) >= *goal))
}

/// Has these nodes, which nobody writes to, save all that they have applied and shorten their logs, and waits for it.
pub(super) fn save(cluster: &Cluster, ids: &[u16]) -> anyhow::Result<()> {
    for id in ids {
        let goal = applied(cluster, *id)?;
        let deadline = Instant::now() + WAIT;
        // Again and again: while a save is under way, what came since its begin is not saved by asking once.
        let is_saved = || ask_to_save(cluster, *id).is_ok() && has_saved(cluster, *id, &goal);
        ensure!(poll::until(deadline, is_saved), "node {id} saves for {WAIT:?}");
    }
    Ok(())
}

/// Has a node save, and says what will be saved then.
pub(super) fn ask_to_save(cluster: &Cluster, id: u16) -> anyhow::Result<BTreeMap<u64, u64>> {
    let goal = applied(cluster, id)?;
    let answer = cluster.client(id)?.line("RINGRAFT SNAPSHOT")?;
    ensure!(answer == Value::Simple("OK".into()), "RINGRAFT SNAPSHOT answered {answer:?}");
    Ok(goal)
}

/// Whether a node's snapshots hold all of `goal`.
pub(super) fn has_saved(cluster: &Cluster, id: u16, goal: &BTreeMap<u64, u64>) -> bool {
    cluster.status(id).is_ok_and(|status| reaches(&status, goal, |group| group.snapshot))
}

/// What a node counts under `name` (docs/METRICS.md).
pub(super) fn count(cluster: &Cluster, id: u16, name: &str) -> anyhow::Result<u64> {
    let Value::Bulk(text) = cluster.client(id)?.line("INFO ringraft")? else {
        return Err(anyhow!("INFO answered something else than text"));
    };
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("INFO without {name}"))?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reaches_a_goal_in_all_groups_or_not_at_all() {
        let text = r#"{"groups":[{"id":1,"leader":1,"last":9,"applied":8,"snapshot":7},
            {"id":2,"leader":1,"last":5,"applied":5,"snapshot":0}]}"#;
        let status = NodeStatus::parse(text).unwrap();
        let reached =
            |goal: &[(u64, u64)]| reaches(&status, &goal.iter().copied().collect(), |group| group.applied);
        assert!(reached(&[(1, 8), (2, 5)]) && reached(&[(2, 4)]));
        assert!(!reached(&[(1, 9), (2, 5)]) && !reached(&[(3, 1)]));
        assert_eq!(keys_of(9), 65_536);
    }
}
