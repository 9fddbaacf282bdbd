//! The simulator: `cargo sim core --seeds 10000`, `cargo sim core SEED`, `cargo sim core --exhaustive`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use ringraft_tests::core_sim::exhaustive;
use ringraft_tests::core_sim::graphs::{self, Cuts};
use ringraft_tests::core_sim::run::{self, Failure, Plan};
use ringraft_tests::core_sim::trace::Trace;
use ringraft_tests::node_sim;
use ringraft_tests::node_sim::marks::{MARKS, Reached};

/// Thousands of lives with aligned buffers: the C library's heap grows by megabytes with each of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCOPES: u32 = 5;
const _: () = assert!(exhaustive::SCOPES.len() == SCOPES as usize);

/// More failures than this end a run of many seeds: they are usually one bug.
const FAILURES_MAX: usize = 10;

/// Simulations of ringraft, each of which replays from its seed.
#[derive(Parser)]
struct Sim {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The Raft core: random lives of small clusters, checked after every step and followed by a naive
    /// Raft in lock-step.
    Core(Core),
    /// Whole nodes: production shards, logs, snapshots and machines in a simulated world.
    Node(Node),
}

/// Which lives to live.
#[derive(Args)]
struct Lives {
    /// Lives this one seed and, if it fails, shows its last steps.
    seed: Option<u64>,
    /// Lives this many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The threads to use; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Shows the last steps of a seed that passes, too.
    #[arg(long)]
    verbose: bool,
}

impl Lives {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

#[derive(Args)]
struct Node {
    #[command(flatten)]
    lives: Lives,
    /// Shows which branches of the recovery tables were reached, and fails if one was not that should be.
    #[arg(long)]
    marks: bool,
    /// Lives seed after seed until one fails, and says how fast.
    #[arg(long, conflicts_with = "seed")]
    forever: bool,
    /// How many of the last lines of a trace are shown.
    #[arg(long, default_value_t = 200)]
    lines: usize,
}

#[derive(Args)]
struct Core {
    #[command(flatten)]
    lives: Lives,
    /// Takes three nodes through every order of events within small bounds, instead.
    #[arg(long, conflicts_with = "seed")]
    exhaustive: bool,
    /// Lives under every partition of five nodes that leaves a quorum, instead.
    #[arg(long, conflicts_with_all = ["seed", "exhaustive"])]
    graphs: bool,
    /// The exhaustive search ends after so many seconds, complete or not.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many of the last lines of a trace are shown.
    #[arg(long, default_value_t = 400)]
    lines: usize,
}

fn main() -> ExitCode {
    // A panic of the core is caught, named and printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let good = match Sim::parse().what {
        What::Core(core) => match core.lives.seed {
            Some(seed) => one(seed, core.lines, core.lives.verbose),
            None if core.exhaustive => small_scope(&core),
            None if core.graphs => partitions(&core),
            None => many(&core),
        },
        What::Node(node) => match node.lives.seed {
            Some(seed) => one_cluster(seed, &node),
            None if node.forever => clusters_forever(&node),
            None => many_clusters(&node),
        },
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, lines: usize, verbose: bool) -> bool {
    let trace = Trace::aloud(lines);
    let result = run::seed(seed, true, &trace);
    if verbose || result.is_err() {
        print!("{}", trace.text());
    }
    match &result {
        Ok(worth) => println!("seed {seed}: {worth:?}\n1 passed, 0 failed"),
        Err(failure) => {
            show(failure);
            println!("0 passed, 1 failed");
        }
    }
    result.is_ok()
}

fn small_scope(core: &Core) -> bool {
    let (mut good, mut states) = (true, 0);
    let end = Instant::now() + Duration::from_secs(core.seconds);
    for ((what, bounds), left) in exhaustive::SCOPES.into_iter().zip((1..=SCOPES).rev()) {
        let started = Instant::now();
        let time = end.saturating_duration_since(started) / left;
        let found = exhaustive::search(bounds, time, core.lives.threads());
        let extent = if found.complete { "all of them" } else { "the time is up" };
        let seconds = started.elapsed().as_secs_f64();
        println!("{what}: {} states in {} steps, {extent}, in {seconds:.1} s", found.states, found.steps);
        states += found.states;
        for end in &found.bad {
            print!("{}", end.trace);
            println!("failed in {}: {}", end.violation.check, end.violation.text);
            good = false;
        }
    }
    println!("{states} states visited");
    println!("{}", if good { "1 passed, 0 failed" } else { "0 passed, 1 failed" });
    good
}

fn partitions(core: &Core) -> bool {
    let graphs: Vec<Cuts> = graphs::two_way(5).into_iter().chain(graphs::one_way()).collect();
    let started = Instant::now();
    let failures = run::graphs(&graphs, core.lives.threads());
    failures.iter().for_each(|failure| println!("{failure}"));
    println!("{} graphs in {:.1} s", graphs.len(), started.elapsed().as_secs_f64());
    println!("{} passed, {} failed", graphs.len() - failures.len(), failures.len());
    failures.is_empty()
}

fn many(core: &Core) -> bool {
    let started = Instant::now();
    let threads = core.lives.threads();
    let plan = Plan {
        from: core.lives.from,
        count: core.lives.seeds,
        threads,
        failures_max: FAILURES_MAX,
        spec: true,
    };
    let summary = run::seeds(plan, || {});
    summary.failures.iter().for_each(show);
    println!("{:?} in {:.1} s", summary.worth, started.elapsed().as_secs_f64());
    println!("{} passed, {} failed", summary.passed, summary.failures.len());
    summary.failures.is_empty()
}

fn show(failure: &Failure) {
    println!("seed {} failed in {}: {}", failure.seed, failure.violation.check, failure.violation.text);
    println!("    replay it: cargo sim core {}", failure.seed);
}

fn one_cluster(seed: u64, node: &Node) -> bool {
    let trace = Trace::aloud(node.lines);
    let started = Instant::now();
    let result = node_sim::run::seed(seed, &trace);
    if node.lives.verbose || result.is_err() {
        print!("{}", trace.text());
    }
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(counts) => {
            let (lines, digest) = trace.digest();
            println!(
                "seed {seed}: {counts:?} in {seconds:.2} s, {lines} lines of trace, digest {digest:016x}"
            );
            println!("1 passed, 0 failed");
        }
        Err(failure) => {
            show_cluster(failure);
            println!("0 passed, 1 failed");
        }
    }
    result.is_ok()
}

/// Ends with the first failure, after the batch of seeds it is in.
fn clusters_forever(node: &Node) -> bool {
    let started = Instant::now();
    let threads = node.lives.threads();
    let mut from = node.lives.from;
    loop {
        let summary = node_sim::run::seeds(from, node.lives.seeds, threads, FAILURES_MAX, || {});
        from += node.lives.seeds;
        let hours = started.elapsed().as_secs_f64() / 3600.0;
        println!(
            "seeds {} to {}: {:.0} per hour",
            node.lives.from,
            from - 1,
            (from - node.lives.from) as f64 / hours
        );
        if !summary.failures.is_empty() {
            summary.failures.iter().for_each(show_cluster);
            return false;
        }
    }
}

fn many_clusters(node: &Node) -> bool {
    let started = Instant::now();
    let threads = node.lives.threads();
    let summary = node_sim::run::seeds(node.lives.from, node.lives.seeds, threads, FAILURES_MAX, || {});
    summary.failures.iter().for_each(show_cluster);
    let seconds = started.elapsed().as_secs_f64();
    println!("{:?} in {seconds:.1} s, {:.1} seeds/s", summary.counts, summary.passed as f64 / seconds);
    let unreached = unreached(&summary.marks);
    if node.marks {
        summary.marks.iter().for_each(|(mark, count)| println!("mark {mark}: {count}"));
        unreached.iter().for_each(|mark| println!("mark {mark} was never reached"));
    }
    println!("{} passed, {} failed", summary.passed, summary.failures.len());
    summary.failures.is_empty() && (!node.marks || unreached.is_empty())
}

/// The marks that the lives were to reach and did not.
fn unreached(reached: &BTreeMap<&'static str, u64>) -> Vec<&'static str> {
    let by_seeds = MARKS.iter().filter(|(_, by)| *by == Reached::BySeeds).map(|(mark, _)| *mark);
    by_seeds.filter(|mark| !reached.contains_key(mark)).collect()
}

fn show_cluster(failure: &Failure) {
    println!("seed {} failed in {}: {}", failure.seed, failure.violation.check, failure.violation.text);
    println!("    replay it: cargo sim node {}", failure.seed);
}
