//! The command line: what `ringraft serve | bench | demo | dev | status | member | transfer | backup |
//! restore | log | snapshot` do.
//!
//! Data goes to standard output, everything else to standard error; how a command ended is its
//! [exit code](Exit). The load client in [`load`] shares no code with the server, so that a fault of one
//! cannot hide a fault of the other.

pub mod backup;
pub mod bench;
pub mod client;
pub mod demo;
pub mod dev;
pub mod exit;
pub mod launch;
pub mod load;
pub mod log;
pub mod logging;
pub mod member;
pub mod output;
pub mod progress;
pub mod quantity;
pub mod ready;
pub mod resp;
pub mod restore;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod snapshot;
pub mod status;
pub mod stopped;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

pub use exit::{Exit, ExitContext, Failure};

/// A replicated storage engine: io_uring, one executor per core, many Raft groups.
#[derive(Debug, Parser)]
#[command(name = "ringraft", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// What is logged to standard error: a level, or a list such as `info,ringraft::kv=debug`
    #[arg(long, global = true, env = "RINGRAFT_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The binary's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node of a cluster
    Serve(Box<settings::ServeArgs>),
    /// Load a RESP server (ringraft, Redis, any other) and measure it
    Bench(Box<bench::BenchArgs>),
    /// Three nodes under load, one killed half way: shows speed, and that nothing was lost
    Demo(demo::DemoArgs),
    /// A local cluster that stays until Ctrl-C
    Dev(dev::DevArgs),
    /// Who leads what, and how far every group is
    Status(status::StatusArgs),
    /// Add, remove and list the nodes of a cluster
    Member(member::MemberArgs),
    /// Hand the leadership of a group to a node
    Transfer(member::TransferArgs),
    /// Copy the state of a running cluster into a directory
    Backup(backup::BackupArgs),
    /// Write a backup into a running cluster, of any number of nodes, shards and groups
    Restore(restore::RestoreArgs),
    /// Look into the log of a stopped node; changes nothing
    Log(log::LogArgs),
    /// Take snapshots, or look into those of a stopped node
    Snapshot(snapshot::SnapshotArgs),
}

/// Runs the command given on the command line to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = logging::start(&cli.log).and_then(|()| run(cli.command));
    logging::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringraft: {:#}", failure.error);
            ExitCode::from(failure.exit)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Member(args) => member::run(&args),
        Command::Transfer(args) => member::run_transfer(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
