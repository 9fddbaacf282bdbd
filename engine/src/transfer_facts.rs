//! Snapshots on their direction, as `status` shows them.

use std::sync::{PoisonError, RwLock};

use raft::{EntryId, GroupId, NodeId};

/// Who has the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It is sent to this node.
    To(NodeId),
    /// It comes from this node; from none while its sender is away.
    From(Option<NodeId>),
}

/// A snapshot on its direction, as of at most a tenth of a second ago.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferStatus {
    /// Whose state it is.
    pub group: GroupId,
    /// The last entry in it.
    pub id: EntryId,
    /// To whom or from whom.
    pub direction: Direction,
    /// How much of it has arrived.
    pub bytes_done: u64,
    /// How much it is.
    pub bytes: u64,
}

/// The transfers of one shard.
#[derive(Default)]
pub(crate) struct TransferFacts(RwLock<Vec<TransferStatus>>);

impl TransferFacts {
    pub(crate) fn set(&self, transfers: Vec<TransferStatus>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = transfers;
    }

    pub(crate) fn get(&self) -> Vec<TransferStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
