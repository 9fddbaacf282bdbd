//! `ringraft snapshot`: takes them on running nodes, and looks into those of a stopped one, read-only.

mod dump;
mod files;
mod ls;
mod take;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Failure;
use crate::cli::stopped::Of;

/// Flags of `ringraft snapshot`.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with snapshots.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Have running nodes save all their groups now, so that their logs get short
    Take(take::TakeArgs),
    /// The files of a stopped node: which ones a start would use, and what they hold
    Ls(Of),
    /// Every item of every snapshot of a stopped node, in the order of slot, hash and key
    Dump(dump::DumpArgs),
    /// Check every byte of the snapshots that a start would use; exit code 5 and the exact place if one is not what was written
    Verify(Of),
}

/// Runs `ringraft snapshot`.
///
/// # Errors
/// `take`: [`Exit::Unavailable`](super::Exit::Unavailable) when a node does not answer,
/// [`Exit::Timeout`](super::Exit::Timeout) when `--wait` ran out. All others: [`Exit::Usage`](super::Exit::Usage) when there is
/// no data directory, a node works on it, or it has no such shard; [`Exit::Corruption`](super::Exit::Corruption) when what was
/// durable is damaged or missing; [`Exit::Failed`](super::Exit::Failed) when the disk cannot be read.
pub fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Take(args) => take::run(args),
        Action::Ls(of) => ls::run(of),
        Action::Dump(args) => dump::run(args),
        Action::Verify(of) => verify::run(of),
    }
}
