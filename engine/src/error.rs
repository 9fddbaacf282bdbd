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
    /// The disk of the group's leader is full, or its log is at its cap. Surely not applied; queries are still answered,
    /// and commands again as soon as there is room.
    #[error("not applied: the disk of the group's leader is full, or its log is at its cap")]
    NoSpace,
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
        matches!(self, ProposeError::Unavailable | ProposeError::NoSpace)
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
    /// The group's leader was not found within the deadline, or it was lost meanwhile: ask again.
    #[error("the group has no leader now; ask again")]
    Unavailable,
    /// The node is no voter of the group: [`crate::Engine::members`] has those that are, or will be.
    #[error("node {0} is no voter of the group")]
    NotAVoter(NodeId),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoSuchGroup(raft::GroupId),
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl TransferError {
    /// True when asking again can succeed. Leadership may be handed over twice without harm.
    pub fn is_retryable(&self) -> bool {
        matches!(self, TransferError::Unavailable)
    }

    /// Always false: what matters is who leads, and that can be seen.
    pub fn outcome_unknown(&self) -> bool {
        false
    }
}

/// Why a node was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddMemberError {
    /// The node directory has no leader now, or it was lost meanwhile. A node may be added twice: ask again.
    #[error("the node directory (group 0) has no leader now; ask again")]
    Unavailable,
    /// A node with this id is a member, or joins under another address.
    #[error("node {0} is a member already: remove it first if its disk was replaced")]
    AlreadyMember(NodeId),
    /// A node with this id is on its way out: wait until it is gone.
    #[error("node {0} is still being removed: wait until it is gone")]
    StillLeaving(NodeId),
    /// The cluster has as many nodes as it can have: remove one first.
    #[error("a cluster has at most {} nodes", net::forming::MEMBERS_MAX)]
    TooMany,
    /// Another node has this address.
    #[error("another node has this address")]
    AddressTaken,
    /// The id or the address cannot be one: ids begin at 1, others must be able to connect to the address.
    #[error("no node can have this id or address")]
    Impossible,
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl AddMemberError {
    /// True when asking again can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, AddMemberError::Unavailable | AddMemberError::StillLeaving(_))
    }

    /// True when the node may have been added: the list of members tells.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, AddMemberError::Unavailable | AddMemberError::Dead)
    }
}

/// Why a node was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveMemberError {
    /// The node directory has no leader now, or it was lost meanwhile. A node may be removed twice: ask again.
    #[error("the node directory (group 0) has no leader now; ask again")]
    Unavailable,
    /// There is no such node, or it is gone already.
    #[error("node {0} is no member")]
    NotMember(NodeId),
    /// No node would be left that has all data: add another first.
    #[error("node {0} is the last active node")]
    LastNode(NodeId),
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl RemoveMemberError {
    /// True when asking again can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, RemoveMemberError::Unavailable)
    }

    /// True when the node may have been removed: the list of members tells.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, RemoveMemberError::Unavailable | RemoveMemberError::Dead)
    }
}

/// Why the members were not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// The node directory has no leader now: ask again.
    #[error("the node directory (group 0) has no leader now; ask again")]
    Unavailable,
    /// The leader's node directory is of a newer version than this program.
    #[error("the node directory is of a newer version")]
    Newer,
    /// The engine has stopped, or its shard is dead.
    #[error("the engine has stopped")]
    Dead,
}

impl MembersError {
    /// True when asking again can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, MembersError::Unavailable)
    }

    /// Always false: a question changes nothing.
    pub fn outcome_unknown(&self) -> bool {
        false
    }
}
