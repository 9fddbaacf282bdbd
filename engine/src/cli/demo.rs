//! `ringraft demo`: a real cluster under load loses a node half way, and nothing else.

use crate::cli::bench::failure;
use crate::cli::launch::{Cluster, ClusterSpec, Directory, is_memory};
use crate::cli::load::{self, Bound, Pace, Phase, Progress, Report, Workload};
use crate::cli::progress::Bar;
use crate::cli::{Exit, ExitContext, Failure, output, signals};
use clap::Args;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the killed node stays dead: longer than an election, if the demo is long enough.
const DEAD_TIME: Duration = Duration::from_secs(2);

/// Flags of `ringraft demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Nodes, each a process
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: u16,
    /// Shards of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub shards: u16,
    /// Groups
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub groups: u32,
    /// How long the load lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub seconds: u64,
    /// Where the nodes keep their data: an empty or new directory [default: a fresh one here]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave the data where it is
    #[arg(long)]
    pub keep: bool,
    /// Show what the nodes log
    #[arg(long)]
    pub verbose: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Run this executable's `serve` instead of the own one: another build, another version
    #[arg(long, value_name = "FILE", hide = true)]
    pub executable: Option<PathBuf>,
}

/// Runs `ringraft demo`.
///
/// # Errors
/// [`Exit::Failed`] when anything acknowledged was lost (the data is kept then), a node failed, or it was
/// interrupted.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let interrupted = signals::interrupted().exit(Exit::Failed)?;
    let stop = || interrupted.load(Ordering::Relaxed);
    let mut directory = Directory::new(args.dir.as_deref(), "ringraft-demo")?;
    let mut bar = Bar::new();
    announce(args, &directory, &bar)?;
    let data = (1..=args.nodes).map(|node| directory.subdirectory(&format!("node-{node}"))).collect();
    let spec = ClusterSpec {
        executable: args.executable.clone().map_or_else(std::env::current_exe, Ok).exit(Exit::Failed)?,
        data,
        shards: args.shards,
        groups: args.groups,
        loud: args.verbose,
    };
    let cluster = match Cluster::start(spec, &stop) {
        Err(_) if stop() => return Err(Failure::failed("interrupted")),
        other => other?,
    };
    let outcome = show(args, cluster, &mut bar, &interrupted);
    bar.clear();
    let lost = matches!(&outcome, Ok(report) if !is_clean(report));
    if args.keep || lost {
        directory.keep();
        bar.say(&format!("the data stays in {}", directory.path().display()));
    }
    let report = outcome?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(report.text())?;
    }
    report.judge()
}

fn announce(args: &DemoArgs, directory: &Directory, bar: &Bar) -> Result<(), Failure> {
    let DemoArgs { nodes, shards, groups, .. } = args;
    let path = directory.path().display();
    bar.say(&format!("{nodes} nodes, {shards} shard(s) each, {groups} groups, data in {path}"));
    if is_memory(directory.path()).exit(Exit::Failed)? {
        bar.say("NOT DURABLE: this directory lives in memory. Name one on a disk with --dir.");
    }
    Ok(())
}

fn show(
    args: &DemoArgs,
    cluster: Cluster,
    bar: &mut Bar,
    interrupted: &AtomicBool,
) -> Result<Report, Failure> {
    let time = Duration::from_secs(args.seconds);
    let workload = Workload {
        targets: cluster.clients(),
        cluster: true,
        connections: 8 * usize::from(args.nodes),
        pipeline: 16,
        pace: Pace::Closed,
        reads_percent: 50,
        keys: 20_000,
        key_prefix: "demo:".into(),
        value_bytes: 128,
        preload: true,
        bound: Bound::Time(time),
        verify: true,
        groups: Some(args.groups),
        seed: fastrand::u64(..),
        ..Workload::default()
    };
    let mut drama = Drama::new(cluster, time);
    let outcome = load::run(&workload, &mut |progress| {
        bar.show(progress);
        match drama.play(progress, bar) {
            Ok(()) if !interrupted.load(Ordering::Relaxed) => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(failed) => {
                drama.failed = Some(failed);
                ControlFlow::Break(())
            }
        }
    });
    let failed = drama.failed.take().or_else(|| drama.cluster.check().exit(Exit::Failed).err());
    drama.cluster.end();
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::failed("interrupted"));
    }
    match failed {
        Some(failed) => Err(failed),
        None => outcome.map_err(failure),
    }
}

/// What happens to the cluster while it is under load.
struct Drama {
    cluster: Cluster,
    kill_at: Duration,
    return_at: Duration,
    act: Act,
    failed: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    AllWell,
    Killed(u16),
    Returned(u16),
    Over,
}

impl Drama {
    fn new(cluster: Cluster, time: Duration) -> Drama {
        let kill_at = time / 2;
        let return_at = kill_at + DEAD_TIME.min(time / 4);
        Drama { cluster, kill_at, return_at, act: Act::AllWell, failed: None }
    }

    fn play(&mut self, progress: &Progress, bar: &Bar) -> Result<(), Failure> {
        let at = |time| progress.phase == Phase::Measure && progress.elapsed >= time;
        let over = progress.phase == Phase::ReadBack;
        match self.act {
            Act::AllWell if at(self.kill_at) => {
                // A cluster that cannot say who leads is asked again at the next call.
                if let Some(node) = self.cluster.status().ok().and_then(|status| status.leads_most()) {
                    self.cluster.kill(node);
                    bar.say(&format!("node {node}, which led most groups, was killed"));
                    self.act = Act::Killed(node);
                }
            }
            Act::Killed(node) if at(self.return_at) || over => {
                self.cluster.spawn(node)?;
                bar.say(&format!("node {node} is started again"));
                self.act = Act::Returned(node);
            }
            Act::Returned(node) if over => {
                self.cluster.wait_ready(node).exit(Exit::Failed)?;
                self.act = Act::Over;
            }
            _ => self.cluster.check().exit(Exit::Failed)?,
        }
        Ok(())
    }
}

fn is_clean(report: &Report) -> bool {
    report.verified.as_ref().is_some_and(|verified| verified.clean)
}
