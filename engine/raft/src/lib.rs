//! The Raft core: no I/O, no clock, no payload bytes.
//!
//! A [`Raft`] is one replica of one group, a pure state machine after Ongaro's thesis ("Consensus:
//! Bridging Theory and Practice", 2014), whose sections the comments cite. Messages, moments and
//! finished writes go in as method calls; messages, writes, events and confirmed reads are pulled
//! out. Entries are known by id and term only: their bytes, whose format is in [`entry`], pass by.
//!
//! What a replica promises (a vote, an ack) can only be had by handing back the [`Write`] that makes
//! it durable, so a shard cannot promise too early by mistake.

mod election;
pub mod entry;
mod event;
mod following;
pub mod id;
mod leading;
mod membership;
pub mod message;
mod progress;
mod quorum;
mod random;
mod reads;
mod replica;
mod sending;
mod settings;
mod snapshots;
mod status;
mod terms;
mod write;

pub use entry::{
    COMMAND_BYTES_MAX, Check, ENTRY_ALIGN, ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind,
    EntrySpec, decode_entry, encode_entry, entries, entry_bytes,
};
pub use event::{
    Event, Fault, FollowerState, FollowerStatus, Problem, ProposeError, ReadError, ReadId, Role, Status,
    TransferError,
};
pub use id::{EntryId, GroupId, Index, NodeId, Term, Time};
pub use message::{Accepted, AppendPlan, Body, Message, TermRun, TermRuns};
pub use replica::Raft;
pub use settings::{HardState, Restored, Settings};
pub use write::Write;
