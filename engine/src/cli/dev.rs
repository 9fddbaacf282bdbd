//! `ringraft dev`: a local cluster that stays until Ctrl-C.

use crate::cli::launch::{Cluster, ClusterSpec, Directory, is_memory};
use crate::cli::{Exit, ExitContext, Failure, output, signals};
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Flags of `ringraft dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Nodes, each a process
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: u16,
    /// Shards of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub shards: u16,
    /// Groups
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub groups: u32,
    /// Where the nodes keep their data: an empty or new directory [default: a fresh one here]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave the data when the cluster ends
    #[arg(long)]
    pub keep: bool,
    /// Show what the nodes log
    #[arg(long)]
    pub verbose: bool,
    /// Run this executable's `serve` instead of the own one: another build, another version
    #[arg(long, value_name = "FILE", hide = true)]
    pub executable: Option<PathBuf>,
}

/// Runs `ringraft dev` until SIGINT or SIGTERM.
///
/// # Errors
/// A node failed: [`Exit::Failed`] with its last words.
pub fn run(args: &DevArgs) -> Result<(), Failure> {
    let interrupted = signals::interrupted().exit(Exit::Failed)?;
    let stop = || interrupted.load(Ordering::Relaxed);
    let mut directory = Directory::new(args.dir.as_deref(), "ringraft-dev")?;
    if args.keep {
        directory.keep();
    }
    let data = (1..=args.nodes).map(|node| directory.subdirectory(&format!("node-{node}"))).collect();
    let spec = ClusterSpec {
        executable: args.executable.clone().map_or_else(std::env::current_exe, Ok).exit(Exit::Failed)?,
        data,
        shards: args.shards,
        groups: args.groups,
        loud: args.verbose,
    };
    let outcome = Cluster::start(spec, &stop);
    let mut cluster = match outcome {
        Err(_) if stop() => return Ok(()),
        other => other?,
    };
    output::print(guide(&cluster, directory.path())?)?;
    let outcome = loop {
        if stop() {
            break Ok(());
        }
        if let Err(ended) = cluster.check() {
            break Err(ended);
        }
        std::thread::sleep(WATCH_INTERVAL);
    };
    cluster.end();
    outcome.exit(Exit::Failed)
}

/// What to do with it.
fn guide(cluster: &Cluster, directory: &Path) -> Result<String, Failure> {
    let clients = cluster.clients();
    let targets: Vec<String> = clients.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for (node, client) in (1..).zip(&clients) {
        writeln!(text, "node {node}   {client}").exit(Exit::Failed)?;
    }
    let durable = if is_memory(directory).exit(Exit::Failed)? { ", NOT DURABLE: in memory" } else { "" };
    writeln!(text, "data     {}{durable}\n", directory.display()).exit(Exit::Failed)?;
    for line in [
        format!("redis-cli -p {} set hello world", clients[0].port()),
        format!("ringraft bench --cluster --target {} --load", targets.join(",")),
        format!("ringraft status --target {}", targets[0]),
    ] {
        writeln!(text, "  {line}").exit(Exit::Failed)?;
    }
    text.push_str("\nCtrl-C ends the cluster");
    Ok(text)
}
