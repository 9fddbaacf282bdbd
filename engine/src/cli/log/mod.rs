//! `ringraft log`: what is in the log of a stopped node, by the code that a start would use, and read-only.

mod dump;
mod ls;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Failure;
use crate::cli::stopped::Of;

/// Flags of `ringraft log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be asked of a log.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Segments, and where every group is: what a start would find
    Ls(Of),
    /// Every record, in the order written
    Dump(dump::DumpArgs),
    /// Check every byte that counts; exit code 5 and the exact place if one is not what was written
    Verify(Of),
}

/// Runs `ringraft log`.
///
/// # Errors
/// [`Exit::Usage`](super::Exit::Usage): there is no data directory, a node works on it, or it has no such shard. [`Exit::Corruption`](super::Exit::Corruption): what was
/// durable is damaged; the message names file and byte. [`Exit::Failed`](super::Exit::Failed): the disk cannot be read.
pub fn run(args: &LogArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Ls(of) => ls::run(of),
        Action::Dump(args) => dump::run(args),
        Action::Verify(of) => verify::run(of),
    }
}
