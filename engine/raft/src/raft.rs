//! The replica: skeleton.
#![allow(unused_variables, clippy::unimplemented)]
use crate::*;

/// One replica of one group.
#[derive(Debug)]
pub struct Raft {}

impl Raft {
    /// New.
    pub fn new(settings: Settings, restored: Restored, now: Time) -> Raft { unimplemented!() }
    /// Step.
    pub fn step(&mut self, now: Time, from: NodeId, message: Message) -> Option<Accepted> { unimplemented!() }
    /// Refuses an append for lack of room: counts as a beat, is answered `AppendBusy`.
    pub fn refuse(&mut self, now: Time, from: NodeId, message: Message) { unimplemented!() }
    /// Tick.
    pub fn tick(&mut self, now: Time) { unimplemented!() }
    /// Deadline.
    pub fn deadline(&self) -> Time { unimplemented!() }
    /// Propose.
    pub fn propose(&mut self, count: u64, bytes: u64) -> Result<EntryId, ProposeError> { unimplemented!() }
    /// Read.
    pub fn read(&mut self, now: Time) -> Result<ReadId, ReadError> { unimplemented!() }
    /// Persisted.
    pub fn persisted(&mut self, write: Write) { unimplemented!() }
    /// Applied.
    pub fn applied(&mut self, to: Index) { unimplemented!() }
    /// Compact.
    pub fn compact(&mut self, to: Index) { unimplemented!() }
    /// Installed.
    pub fn snapshot_installed(&mut self, now: Time, id: EntryId) -> bool { unimplemented!() }
    /// Answers `Event::NeedsSnapshot`.
    pub fn offer_snapshot(&mut self, now: Time, to: NodeId, id: EntryId) { unimplemented!() }
    /// Sent.
    pub fn snapshot_sent(&mut self, now: Time, to: NodeId, id: EntryId, ok: bool) { unimplemented!() }
    /// Unreachable.
    pub fn unreachable(&mut self, peer: NodeId) { unimplemented!() }
    /// Campaign.
    pub fn campaign(&mut self, now: Time) { unimplemented!() }
    /// Transfer.
    pub fn transfer(&mut self, now: Time, to: NodeId) -> Result<(), TransferError> { unimplemented!() }
    /// Write.
    pub fn take_write(&mut self) -> Option<Write> { unimplemented!() }
    /// Dirty.
    pub fn has_messages(&self, to: NodeId) -> bool { unimplemented!() }
    /// Message.
    pub fn take_message(&mut self, now: Time, to: NodeId) -> Option<Message> { unimplemented!() }
    /// Plan.
    pub fn next_append(&mut self, to: NodeId) -> Option<AppendPlan> { unimplemented!() }
    /// Append.
    pub fn append(&mut self, now: Time, to: NodeId, last: Index, bytes: u32) -> Message { unimplemented!() }
    /// Committed.
    pub fn committed(&self) -> Index { unimplemented!() }
    /// Reads.
    pub fn take_reads(&mut self) -> Option<(ReadId, Index)> { unimplemented!() }
    /// Event.
    pub fn take_event(&mut self) -> Option<Event> { unimplemented!() }
    /// Role.
    pub fn role(&self) -> Role { unimplemented!() }
    /// Term.
    pub fn term(&self) -> Term { unimplemented!() }
    /// Leader.
    pub fn leader(&self) -> Option<NodeId> { unimplemented!() }
    /// Last.
    pub fn last(&self) -> Index { unimplemented!() }
    /// Last term.
    pub fn last_term(&self) -> Term { unimplemented!() }
    /// Persisted index.
    pub fn persisted_index(&self) -> Index { unimplemented!() }
    /// Applied index.
    pub fn applied_index(&self) -> Index { unimplemented!() }
    /// Compacted.
    pub fn compacted(&self) -> EntryId { unimplemented!() }
    /// Leads.
    pub fn is_leader(&self) -> bool { unimplemented!() }
    /// Voters.
    pub fn voters(&self) -> &[NodeId] { unimplemented!() }
    /// Status.
    pub fn status(&self) -> Status { unimplemented!() }
    /// Term at.
    pub fn term_at(&self, index: Index) -> Option<Term> { unimplemented!() }
}
