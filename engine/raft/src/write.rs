//! What must become durable, and the promises that wait for it.

use crate::id::{EntryId, Index, NodeId, Term};
use crate::settings::HardState;

/// What a replica wants on disk since the last time it was asked: its hard state, its newest
/// entries, or both. Votes and acks that depend on it stay inside until it is handed back to
/// [`crate::Raft::persisted`]; dropping it promises nothing.
#[derive(Debug)]
#[must_use = "votes and acks wait until the write is handed back to Raft::persisted"]
pub struct Write {
    pub(crate) node: NodeId,
    pub(crate) sequence: u64,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) log_last: Index,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) last: Option<EntryId>,
    pub(crate) must_sync: bool,
}

impl Write {
    /// The hard state to record, if it is part of this write.
    #[must_use]
    pub fn hard_state(&self) -> Option<HardState> {
        self.hard_state
    }

    /// The newest entry this write covers, if it covers entries: those proposed or accepted since
    /// the write before it.
    #[must_use]
    pub fn last(&self) -> Option<EntryId> {
        self.last
    }

    /// Whether anything waits for it. False for a commit index alone, which may be lost.
    #[must_use]
    pub fn must_sync(&self) -> bool {
        self.must_sync
    }
}
