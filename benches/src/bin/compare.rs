//! `compare redis`, `compare raft`, `compare log`, `compare snapshot` and `compare idle`: our figures beside somebody else's, measured alike.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ringraft_benches::cell::Times;
use ringraft_benches::redis::{Settings, Verdict};
use ringraft_benches::replication::ours::Ours;
use ringraft_benches::replication::{Meter, Pass, Side, compare};
use ringraft_benches::{disk, idle, log, redis, snapshot};

/// Other load used the machine: nothing was concluded.
const DISTURBED: u8 = 3;
const WARM_UP: Duration = Duration::from_secs(2);

/// Compares ringraft with what people know.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Three ringraft nodes against one redis-server that syncs every write. With the defaults it takes
    /// about 20 minutes and 20 GB of disk.
    Redis {
        /// Where all data goes [default: a fresh directory below the current one].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Rounds; the ratios are medians over them.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Measured seconds of each cell.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// The load average above which nothing is measured.
        #[arg(long, default_value_t = 0.5)]
        load_max: f64,
    },
    /// The Raft core against the crate `raft` (raft-rs): nanoseconds and allocations per operation.
    Raft {
        /// Rounds that count; the ratios are medians over them.
        #[arg(long, default_value_t = 15)]
        rounds: u32,
        /// The share of a core below which a round is done again.
        #[arg(long, default_value_t = 0.6)]
        share_min: f64,
    },
    /// Entries through our core and nothing else, for a profiler.
    #[command(hide = true)]
    RaftLoop {
        #[arg(long, default_value_t = 1)]
        groups: usize,
        #[arg(long, default_value_t = 1000)]
        passes: u32,
    },
    /// The log against the bare device, fio, raft-engine, and a plain read of its files.
    Log {
        /// Parts to measure.
        #[arg(value_enum, default_values_t = log::PARTS)]
        parts: Vec<log::Part>,
        /// Where all data goes, up to four gigabytes at once [default: a fresh directory below the current one].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Rounds that count; the ratios are medians over them.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
        /// Seconds that each side writes for in a round.
        #[arg(long, default_value_t = 0.5)]
        seconds: f64,
    },
    /// Snapshots: their files against redb, fjall and plain copies, and whole nodes that save, start and catch up.
    Snapshot {
        /// Parts to measure.
        #[arg(value_enum, default_values_t = snapshot::PARTS)]
        parts: Vec<snapshot::Part>,
        /// Where all data goes, up to ten gigabytes at once [default: a fresh directory below the current one].
        #[arg(long)]
        dir: Option<PathBuf>,
        #[command(flatten)]
        settings: snapshot::Settings,
    },
    /// The CPU that three nodes without clients use, once all their groups rest.
    Idle {
        /// Groups of the cluster [default: as the server chooses].
        #[arg(long)]
        groups: Option<u32>,
        /// Where all data goes [default: a fresh directory below the current one].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Overwrites blocks durably and prints the median in nanoseconds.
    #[command(hide = true)]
    Overwrite {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        seconds: f64,
    },
}

/// A directory below `dir` that removes itself.
fn fresh(dir: Option<PathBuf>) -> anyhow::Result<tempfile::TempDir> {
    let parent = dir.map_or_else(std::env::current_dir, Ok)?;
    std::fs::create_dir_all(&parent)?;
    Ok(tempfile::TempDir::with_prefix_in("ringraft-compare-", parent)?)
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().what {
        What::Redis { dir, rounds, seconds, load_max } => {
            let dir = fresh(dir)?;
            let times = Times { warm_up: WARM_UP, measured: Duration::from_secs_f64(seconds) };
            if let Verdict::Disturbed(why) = redis::run(dir.path(), Settings { rounds, times, load_max })? {
                eprintln!("no verdict: {why}");
                return Ok(ExitCode::from(DISTURBED));
            }
        }
        What::Raft { rounds, share_min } => {
            let settings = compare::Settings { rounds, share_min };
            if let compare::Verdict::Disturbed(why) = compare::run(settings)? {
                eprintln!("no verdict: {why}");
                return Ok(ExitCode::from(DISTURBED));
            }
        }
        What::RaftLoop { groups, passes } => {
            let (mut side, pass) = (Ours::new(groups), Pass::for_groups(groups, 1));
            // No clock: valgrind cannot read it.
            (0..passes).for_each(|_| side.replicate(&mut Meter::of_allocations(), pass));
        }
        What::Log { parts, dir, rounds, seconds } => {
            let slice = Duration::from_secs_f64(seconds);
            log::run(fresh(dir)?.path(), log::Settings { rounds, slice }, &parts)?;
        }
        What::Snapshot { parts, dir, settings } => snapshot::run(fresh(dir)?.path(), &settings, &parts)?,
        What::Idle { dir, groups } => idle::run(fresh(dir)?.path(), groups)?,
        What::Overwrite { dir, seconds } => {
            println!("{}", disk::overwrite(&dir, Duration::from_secs_f64(seconds))?.as_nanos());
        }
    }
    Ok(ExitCode::SUCCESS)
}
