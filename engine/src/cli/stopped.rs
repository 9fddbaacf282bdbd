//! The data directory of a node that does not run, for tools that look into it and change nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use raftlog::inspect::Inspection;
use raftlog::{OpenError, Options};
use runtime::{DirLock, LockError};

use super::{Exit, ExitContext, Failure};
use crate::node::{Identity, log_dir};

/// Which shards of which data directory.
#[derive(Debug, Clone, Args)]
pub struct Of {
    /// The node's data directory; no node may be running on it
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Only this shard
    #[arg(long, value_name = "SHARD")]
    pub shard: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A data directory on which no node works as long as this lives.
pub(super) struct Stopped<'a> {
    /// The directory.
    pub(super) dir: &'a Path,
    identity: Identity,
    /// The shards that are asked about.
    pub(super) shards: Vec<u32>,
    _lock: Option<DirLock>,
}

impl Stopped<'_> {
    /// Locks the directory and reads whose it is.
    ///
    /// # Errors
    /// [`Exit::Usage`]: there is none, a node works on it, or it has no such shard. [`Exit::Failed`], [`Exit::Corruption`]: it
    /// cannot be read.
    pub(super) fn of(of: &Of) -> Result<Stopped<'_>, Failure> {
        let dir = of.data.as_path();
        let lock = runtime::share_dir(dir).map_err(|error| match error {
            LockError::InUse(dir) => Failure::usage(format!(
                "a node is running on {}: stop it first, what is written to cannot be read",
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
    pub(super) fn inspect(&self, shard: u32) -> Result<Inspection, Failure> {
        let options = Options::new(self.identity.store, shard, self.identity.shards);
        Inspection::of(&log_dir(self.dir, shard), &options).map_err(|error| {
            let exit = if matches!(error, OpenError::Io { .. }) { Exit::Failed } else { Exit::Corruption };
            Failure::new(exit, anyhow::Error::new(error).context(format!("shard {shard}")))
        })
    }
}

/// The name of a file, as it is shown beside its directory.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
