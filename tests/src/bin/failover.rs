//! How long keys are out of service when the node that leads them is killed:
//! `cargo run --release -p ringraft-tests --bin failover -- --kills 50`.
//!
//! Real nodes with default timeouts on loopback. For each `kill -9`: the longest time between two acknowledgements over
//! all groups that the dead node led, one write per group every 10 ms.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use ringraft_tests::poll;
use ringraft_tests::probes::Probes;
use ringraft_tests::process::{Cluster, Options};

/// What must hold over 50 kills, in seconds.
const P50_MAX_S: f64 = 2.0;
const P99_MAX_S: f64 = 3.0;
/// A kill is watched at least this long: no silence that begins with it is cut off before the limit.
const WATCH_TIME: Duration = Duration::from_millis(3_500);
/// Silences longer than this are explained by what the probe heard.
const EXPLAINED: Duration = Duration::from_secs(2);
/// Every group is served again, and every node leads again, within this, or the run fails.
const BACK_TIME: Duration = Duration::from_secs(60);

/// Kills nodes of a real cluster and measures how long their groups are silent.
#[derive(Parser)]
struct Failover {
    /// Kills.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Shards of each node.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Milliseconds between two probes of a group.
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
    /// Where the nodes' directories and logs go, and stay; they are removed otherwise.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// The seed of the choice of nodes.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = Failover::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Failover) -> Result<bool, String> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("{} nodes of {} shards, --seed {seed}", options.nodes, options.shards);
    let mut rng = Rng::with_seed(seed);
    let started = Options {
        nodes: options.nodes,
        shards: options.shards,
        dir: options.dir.clone(),
        ..Options::default()
    };
    let mut cluster = Cluster::start(&started)?;
    cluster.wait_leaders(BACK_TIME)?;
    let groups = cluster.status(1)?.groups.iter().map(|group| group.group).max().unwrap_or_default();
    let interval = Duration::from_millis(options.interval_ms);
    let probes = Probes::start(cluster.addresses(), groups, interval)?;
    println!("kill  node  groups led  longest silence s  of group");
    let mut silences = Vec::new();
    for kill in 1..=options.kills {
        let leaders = wait_until_all_lead(&cluster, &probes)?;
        let victim = 1 + rng.u16(..options.nodes);
        let led: Vec<u64> =
            leaders.iter().filter(|(_, l)| *l == u64::from(victim)).map(|(g, _)| *g).collect();
        let killed = Instant::now();
        let (silence, group) = kill_and_watch(&mut cluster, &probes, victim, &led)?;
        println!("{kill:>4}  {victim:>4}  {:>10}  {:>17.3}  {group:>8}", led.len(), silence.as_secs_f64());
        if silence > EXPLAINED {
            print!("{}", probes.heard(group, killed));
        }
        silences.push(silence);
        cluster.start_node(victim)?;
    }
    Ok(judge(silences))
}

/// Waits until every node leads its share of the groups and all are served; who leads which then.
fn wait_until_all_lead(cluster: &Cluster, probes: &Probes) -> Result<Vec<(u64, u64)>, String> {
    cluster.wait_leaders(BACK_TIME)?;
    let found = poll::until_some(Instant::now() + BACK_TIME, || {
        let leaders = leaders(cluster)?;
        let share = leaders.len() / cluster.ids().count();
        let led = |id: u16| leaders.iter().filter(|(_, leader)| *leader == u64::from(id)).count();
        cluster.ids().all(|id| led(id) >= share).then_some(leaders)
    });
    let leaders =
        found.ok_or_else(|| format!("after {BACK_TIME:?} some node still leads less than its share"))?;
    let now = Instant::now();
    if poll::until(now + BACK_TIME, || probes.all_served_since(now)) {
        Ok(leaders)
    } else {
        Err("some group is not served".to_string())
    }
}

fn leaders(cluster: &Cluster) -> Option<Vec<(u64, u64)>> {
    let status = cluster.status(cluster.ids().next()?).ok()?;
    let with_keys = status.groups.iter().filter(|group| group.group > 0);
    with_keys.map(|group| Some((group.group, group.leader?))).collect()
}

fn kill_and_watch(
    cluster: &mut Cluster,
    probes: &Probes,
    victim: u16,
    led: &[u64],
) -> Result<(Duration, u64), String> {
    probes.mark();
    let killed = Instant::now();
    cluster.kill(victim);
    poll::until(killed + WATCH_TIME, || false);
    let back = poll::until(killed + BACK_TIME, || {
        probes.all_served_since(Instant::now().checked_sub(Duration::from_millis(200)).unwrap_or(killed))
    });
    if !back {
        return Err(format!("{BACK_TIME:?} after the death of node {victim} some group is not served"));
    }
    Ok(probes.longest_silence(killed, |group| led.contains(&group)))
}

/// The value below or at which `share` of the sorted values are.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).map_or(f64::NAN, Duration::as_secs_f64)
}

fn judge(mut silences: Vec<Duration>) -> bool {
    silences.sort_unstable();
    let (p50, p99) = (quantile(&silences, 0.5), quantile(&silences, 0.99));
    println!("shortest {:.3} s, longest {:.3} s", quantile(&silences, 0.0), quantile(&silences, 1.0));
    println!("LIMIT failover_p50_s {p50:.3} max {P50_MAX_S}");
    println!("LIMIT failover_p99_s {p99:.3} max {P99_MAX_S}");
    p50 < P50_MAX_S && p99 < P99_MAX_S
}
