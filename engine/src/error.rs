//! The errors of the library, one small enum per operation.

use raft::NodeId;

/// Why a command was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader was found within the deadline, or a bound was reached. Surely not applied: ask again.
    #[error("not applied: the group has no leader now, or too much is waiting; ask again")]
    Unavailable,
    /// The leader was lost, or the deadline passed, after the command was appended. It may or may not be
    /// applied; only a command that may be applied twice may be repeated blindly.
    #[error("outcome unknown: the command may or may not have been applied")]
    Unknown,
    /// The command is larger than [`crate::COMMAND_BYTES_MAX`]. Not applied.
    #[error("the command has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// The command's size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There is no such group.
    #[error("there is no group {0}")]
    NoSuchGroup(raft::GroupId),
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl ProposeError {
    /// True when asking again can succeed and cannot apply the command twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ProposeError::Unavailable)
    }

    /// True when the command may have been applied.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, ProposeError::Unknown | ProposeError::Dead)
    }
}

/// Why a query was not answered. A query changes nothing, so it may always be asked again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No leader was found within the deadline, or it was lost meanwhile: ask again.
    #[error("the group has no leader now; ask again")]
    Unavailable,
    /// There is no such group.
    #[error("there is no group {0}")]
    NoSuchGroup(raft::GroupId),
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl QueryError {
    /// True when asking again can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, QueryError::Unavailable)
    }

    /// Always false: a query changes nothing.
    pub fn outcome_unknown(&self) -> bool {
        false
    }
}

/// Why an engine did not start. Nothing was changed, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is missing, out of range or contradicts another; the text names it.
    #[error("{0}")]
    Settings(String),
    /// The data directory cannot be used; the text names path and field.
    #[error("{0}")]
    DataDir(String),
    /// The machine lacks something: io_uring, locked memory, O_DIRECT, file descriptors.
    #[error(transparent)]
    Host(#[from] runtime::StartError),
    /// An address could not be bound.
    #[error("cannot listen on {address} ({purpose} of shard {shard})")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// Clients or peers.
        purpose: &'static str,
        /// Which shard it was for.
        shard: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A log or snapshot of this directory cannot be read; the text names file and offset.
    #[error("shard {shard}: {reason}")]
    Recovery {
        /// Which shard.
        shard: u16,
        /// What is wrong, where.
        reason: String,
        /// True when acknowledged data is damaged (exit code 5).
        corrupt: bool,
    },
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead the group.
    #[error("this node does not lead the group (leader: {0:?})")]
    NotLeader(Option<NodeId>),
}
