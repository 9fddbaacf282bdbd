//! Cuts the power of real nodes under load, again and again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ringraft_tests::{fuse_disk, power};

/// Cuts the power of real nodes under load and checks that nothing acknowledged is lost and nothing is invented.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// Power cuts
    #[arg(long, default_value_t = 200)]
    cuts: u32,
    /// The seed of all choices
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes of the cluster, all cut at once
    #[arg(long, default_value_t = 1)]
    nodes: u16,
    /// Clients
    #[arg(long, default_value_t = 4)]
    clients: u32,
}

#[derive(Subcommand)]
enum Role {
    /// Serves one disk until standard input closes; started by the tests
    #[command(hide = true)]
    Disk { fuse: PathBuf, at: PathBuf, bytes: u64 },
}

fn main() -> ExitCode {
    let Arguments { role, run } = Arguments::parse();
    if let Some(Role::Disk { fuse, at, bytes }) = role {
        return match fuse_disk::serve(&fuse, &at, bytes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("error {error}");
                ExitCode::FAILURE
            }
        };
    }
    if !fuse_disk::available() {
        return ExitCode::SUCCESS;
    }
    let seed = run.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("--seed {seed}");
    let tell = |report: &power::Report| {
        if report.passed.is_multiple_of(100) {
            println!("{} cuts, {} writes acknowledged", report.passed, report.acknowledged);
        }
    };
    let Run { cuts, nodes, clients, .. } = run;
    let report = power::run(&power::Plan { nodes, cuts, seed, clients, tell });
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
