//! The Raft core: no I/O, no clock, no payload bytes.
pub mod entry;
pub mod id;
pub mod message;

pub use entry::{
    COMMAND_BYTES_MAX, Check, ENTRY_ALIGN, ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind,
    EntrySpec, decode_entry, encode_entry, entries, entry_bytes,
};
pub use id::{EntryId, GroupId, Index, NodeId, Term, Time};
pub use message::{Accepted, AppendPlan, Body, Message, TermRun, TermRuns};
pub mod event;
pub mod raft;
pub mod settings;
pub mod write;
pub use event::{
    Event, Fault, FollowerState, FollowerStatus, Problem, ProposeError, ReadError, ReadId, Role, Status,
    TransferError,
};
pub use raft::Raft;
pub use settings::{HardState, Restored, Settings};
pub use write::Write;
