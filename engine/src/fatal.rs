//! What ends a node: an environment that voids our promises (design 9, "no half-dead node").

use std::sync::Arc;

/// Why this node cannot go on. Never retried: after a failed sync nobody knows what is on the disk.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// A write or sync of the log failed.
    #[error("the log of shard {shard} failed: {reason}")]
    Log {
        /// The shard whose log it was.
        shard: u16,
        /// What the operating system said, with file and offset.
        reason: String,
    },
    /// The disk failed while the cluster's record was written to the data directory.
    #[error("cannot store that the cluster has formed: {reason}")]
    DataDir {
        /// What the operating system said, with the file.
        reason: String,
    },
    /// Acknowledged data on this node's disk is damaged.
    #[error("acknowledged data is damaged on shard {shard}: {reason}")]
    Corruption {
        /// The shard whose data it is.
        shard: u16,
        /// File and offset, and what is wrong there.
        reason: String,
    },
    /// The cluster has removed this node. Its data directory is of no more use and is refused from now on; to come
    /// back it is added again, with an empty one.
    #[error("{0}")]
    NoMember(String),
    /// A shard's thread panicked: a bug.
    #[error("a shard thread panicked: {0}")]
    Panic(String),
}

impl Fatal {
    /// The exit code of a process that ends for this reason (design 8).
    pub fn exit_code(&self) -> i32 {
        match self {
            Fatal::Log { .. } | Fatal::DataDir { .. } => 6,
            Fatal::Corruption { .. } => 5,
            Fatal::NoMember(_) => 1,
            Fatal::Panic(_) => 101,
        }
    }
}

/// Called once, on the thread that found out, when the node cannot go on. All shards are silent by then.
pub type FatalHook = Arc<dyn Fn(&Fatal) + Send + Sync>;

/// The default: say why and abort, as a node that half works breaks promises.
pub(crate) fn abort_hook() -> FatalHook {
    Arc::new(|fatal| {
        tracing::error!(%fatal, "ringraft cannot go on");
        eprintln!("ringraft: fatal: {fatal}");
        std::process::abort();
    })
}
