//! A real cluster under random faults and load for as long as wanted, judged all the while:
//! `cargo run --release -p ringraft-tests --bin soak -- --minutes 30`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use fastrand::Rng;
use ringraft_tests::poll;
use ringraft_tests::probes::Probes;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::soak::faults::Faults;
use ringraft_tests::soak::judge::{Judge, Tally};
use ringraft_tests::workload::{Plan, Workload};

/// Faults are active for at most this share of the time: the rest shows that the cluster works.
const ACTIVE_SHARE_MAX: f64 = 0.3;
/// 20 million acknowledged operations in 30 minutes.
const OPERATIONS_PER_MINUTE_MIN: f64 = 20e6 / 30.0;
/// Leaders are found and nodes start within this.
const START_TIME: Duration = Duration::from_secs(60);
/// How long the clients use the same keys.
const WINDOW: Duration = Duration::from_secs(5);
/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const CLIENTS: u32 = 8;
const PIPELINE: u32 = 64;
/// Keys of each shared family: so many that few requests of the clients' pipelines meet at one.
const KEYS: usize = 256;

/// Real nodes under random faults and load.
#[derive(Parser)]
struct Soak {
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Nodes; by default 3 to 5, drawn by the seed.
    #[arg(long)]
    nodes: Option<u16>,
    /// Shards of each node.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Requests per second that the clients ask at most.
    #[arg(long, default_value_t = 24_000)]
    rate: u32,
    /// Where the nodes' directories and logs go, and stay; they are removed otherwise.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// The seed of all choices. What the machine's timing makes of them is not repeatable.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Soak::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("soak: {error}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Soak) -> Result<bool, String> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let nodes = options.nodes.unwrap_or_else(|| rng.u16(3..=5));
    println!("{nodes} nodes of {} shards for {} minutes, --seed {seed}", options.shards, options.minutes);
    if let Some(dir) = &options.dir {
        std::fs::create_dir_all(dir).map_err(|error| format!("--dir {}: {error}", dir.display()))?;
    }
    let cluster = Cluster::start(&Options {
        nodes,
        shards: options.shards,
        dir: options.dir.clone(),
        ..Options::default()
    })?;
    cluster.wait_leaders(START_TIME)?;
    let groups = cluster.status(1)?.groups.iter().map(|group| group.group).max().unwrap_or_default();
    let targets = cluster.addresses();
    let probes = Probes::start(targets.clone(), groups, PROBE_INTERVAL)?;
    let rate = options.rate.div_ceil(CLIENTS * PIPELINE);
    let plan = Plan {
        seed,
        clients: CLIENTS,
        keys: KEYS,
        rate,
        pipeline: PIPELINE as usize,
        window: Some(WINDOW),
        ..Plan::default()
    };
    let workload = Workload::start(targets.clone(), plan);
    let tally = Tally::default();
    let mut judge = Judge::new(&tally, targets, rng.fork());
    let mut faults = Faults::new(cluster, rng, groups);
    let started = Instant::now();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let judging = scope.spawn(|| judge.follow(&workload, &stop));
        let end = started + Duration::from_secs(60 * options.minutes);
        let done = break_until(end, &mut faults, &probes, || progress(started, &workload, &tally));
        stop.store(true, Ordering::Relaxed);
        done.and(judging.join().map_err(|_| "the judge panicked".to_string())?)
    })?;
    let (acknowledged, ran) = (workload.acknowledged(), started.elapsed());
    drop(probes);
    faults.cluster.wait_leaders(START_TIME)?;
    judge.judge(workload.stop())?;
    let kept = judge.read_kept();
    Ok(verdict(&tally, &faults, acknowledged, ran, kept))
}

/// One fault after the other, each followed by a rest, and a calm last part.
fn break_until(
    end: Instant,
    faults: &mut Faults,
    probes: &Probes,
    mut progress: impl FnMut(),
) -> Result<(), String> {
    let started = Instant::now();
    let mut told = started;
    while Instant::now() < end {
        print!("  {:>4.0} s: {}", started.elapsed().as_secs_f64(), faults.next(probes)?);
        // Until the faults so far are a small enough share of all that has passed, and at least for a second.
        let rest = faults.active().div_f64(ACTIVE_SHARE_MAX * 0.95).saturating_sub(started.elapsed());
        let until = Instant::now() + rest.max(Duration::from_secs(1));
        while Instant::now() < until {
            poll::until(until.min(Instant::now() + Duration::from_secs(1)), || false);
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                progress();
            }
        }
    }
    Ok(())
}

fn progress(started: Instant, workload: &Workload, tally: &Tally) {
    let seconds = started.elapsed().as_secs_f64();
    let acknowledged = workload.acknowledged();
    println!(
        "{seconds:>6.0} s: {acknowledged} acknowledged, {:.0} a second; {} windows judged, {} guilty",
        acknowledged as f64 / seconds,
        tally.clean.load(Ordering::Relaxed) + tally.guilty.load(Ordering::Relaxed),
        tally.guilty.load(Ordering::Relaxed)
    );
}

fn verdict(
    tally: &Tally,
    faults: &Faults,
    acknowledged: u64,
    ran: Duration,
    kept: Result<usize, String>,
) -> bool {
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    println!("fault                   times  longest silence s  active s");
    for (kind, toll) in &faults.tolls {
        let (silence, active) = (toll.silence_max.as_secs_f64(), toll.active.as_secs_f64());
        println!("{:<22}  {:>5}  {silence:>17.2}  {active:>8.1}", kind.to_string(), toll.count);
    }
    let share = faults.active().as_secs_f64() / ran.as_secs_f64();
    println!(
        "{acknowledged} operations acknowledged in {:.0} s; faults active {:.0} % of the time",
        ran.as_secs_f64(),
        share * 100.0
    );
    println!("{} requests judged, {} of unknown outcome", count(&tally.judged), count(&tally.unknown));
    let kept_clean = kept.is_ok();
    match kept {
        Ok(keys) => println!("{keys} keys written once are on every node at the end"),
        Err(lost) => println!("{lost}"),
    }
    let failed = count(&tally.guilty) + count(&tally.undecided) + u64::from(!kept_clean);
    let per_minute = acknowledged as f64 / (ran.as_secs_f64() / 60.0);
    println!("LIMIT soak_violations {} max 0", count(&tally.guilty) + u64::from(!kept_clean));
    println!("LIMIT soak_operations_per_minute {per_minute:.0} min {OPERATIONS_PER_MINUTE_MIN:.0}");
    println!("{} passed, {failed} failed", count(&tally.clean) + u64::from(kept_clean));
    failed == 0
}
