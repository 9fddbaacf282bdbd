//! `ringraft log`: what is in the log of a stopped node, by the code that a start would use, and read-only.

mod dump;
mod ls;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use raftlog::inspect::Inspection;
use raftlog::{OpenError, Options};
use runtime::{DirLock, LockError};

use crate::cli::{Exit, ExitContext, Failure};
use crate::node::{Identity, log_dir};

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

/// Whose log.
#[derive(Debug, Clone, Args)]
pub struct Of {
    /// The node's data directory; no node may be running on it
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Only this shard's log
    #[arg(long, value_name = "SHARD")]
    pub shard: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `ringraft log`.
///
/// # Errors
/// [`Exit::Usage`]: there is no data directory, a node works on it, or it has no such shard. [`Exit::Corruption`]: what was
/// durable is damaged; the message names file and byte. [`Exit::Failed`]: the disk cannot be read.
pub fn run(args: &LogArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Ls(of) => ls::run(of),
        Action::Dump(args) => dump::run(args),
        Action::Verify(of) => verify::run(of),
    }
}

/// A data directory on which no node works as long as this lives.
struct Stopped<'a> {
    dir: &'a Path,
    identity: Identity,
    /// The shards that are asked about.
    shards: Vec<u32>,
    _lock: Option<DirLock>,
}

impl Stopped<'_> {
    fn of(of: &Of) -> Result<Stopped<'_>, Failure> {
        let dir = of.data.as_path();
        let lock = runtime::share_dir(dir).map_err(|error| match error {
            LockError::InUse(dir) => Failure::usage(format!(
                "a node is running on {}: stop it first, a log that is written to cannot be read",
                dir.display()
            )),
            other => Failure::new(Exit::Failed, other),
        })?;
        let Some(identity) = Identity::read(dir).exit(Exit::Corruption)? else {
            return Err(Failure::usage(format!(
                "{} is no data directory of a node: it has no node.toml",
                dir.display()
            )));
        };
        let shards = match of.shard {
            None => (0..identity.shards).collect(),
            Some(shard) if shard < identity.shards => vec![shard],
            Some(shard) => {
                let count = identity.shards;
                return Err(Failure::usage(format!("--shard is {shard}, but the node has {count} shards")));
            }
        };
        Ok(Stopped { dir, identity, shards, _lock: lock })
    }

    /// The log of a shard, as a start would find it.
    fn inspect(&self, shard: u32) -> Result<Inspection, Failure> {
        let options = Options::new(self.identity.store, shard, self.identity.shards);
        Inspection::of(&log_dir(self.dir, shard), &options).map_err(|error| {
            let exit = if matches!(error, OpenError::Io { .. }) { Exit::Failed } else { Exit::Corruption };
            Failure::new(exit, anyhow::Error::new(error).context(format!("shard {shard}")))
        })
    }
}

/// The name of a file, as it is shown beside its directory.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
