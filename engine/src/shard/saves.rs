//! Saving states and compacting the log behind them; snapshots for peers that are too far behind.

use raft::{EntryId, NodeId};
use runtime::Disk;

use super::Shard;
use crate::state_machine::StateMachine;

/// The saves of one shard.
#[derive(Default)]
pub(super) struct Saves {}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    pub(super) fn save_if_due(&mut self) {}
    pub(super) fn save_all(&mut self) {}
    pub(super) fn send_snapshot(&mut self, _replica: usize, _to: NodeId) {}
    pub(super) fn fetch_snapshot(&mut self, _replica: usize, _from: NodeId, _id: EntryId) {}
}
