//! The Raft core: no I/O, no clock, no payload bytes.
//!
//! A [`Raft`] is one replica of one group, a pure state machine after Ongaro's thesis ("Consensus:
//! Bridging Theory and Practice", 2014), whose sections the comments cite. Messages, moments and
//! finished writes go in as method calls; messages, writes, events and confirmed reads are pulled
//! out. Entries are known by id and term only: their bytes, whose format is in [`entry`], pass by.
//!
//! What a replica promises (a vote, an ack) can only be had by handing back the [`Write`] that makes
//! it durable, so a shard cannot promise too early by mistake.
//!
//! A group of one, from its election to its first commit:
//!
//! ```
//! use std::{rc::Rc, time::Duration};
//! use raft::{Config, Event, GroupId, Index, NodeId, Raft, Restored, Settings, Time};
//!
//! let settings = Rc::new(Settings {
//!     node: NodeId(1),
//!     election_timeout_min: Duration::from_millis(1000),
//!     election_timeout_max: Duration::from_millis(1500),
//!     beat_interval: Duration::from_millis(100),
//!     inflight_appends_max: 64,
//!     inflight_bytes_max: 8 << 20,
//!     uncommitted_bytes_max: 8 << 20,
//!     seed: 7,
//!     quiesce_after: None,
//!     lease: None,
//! });
//! let new = Restored { config: Config::of_voters(&[NodeId(1)]), ..Restored::default() };
//! let mut raft = Raft::new(&settings, GroupId(1), false, new, Time(0));
//!
//! raft.tick(raft.deadline());
//! let vote = raft.take_write().expect("its term and its vote for itself");
//! assert!(!raft.is_leader(), "the vote counts when it is durable");
//! raft.persisted(vote);
//! assert!(matches!(raft.take_event(), Some(Event::BecameLeader { .. })));
//!
//! let first = raft.propose(1, 64).expect("it leads");
//! let entries = raft.take_write().expect("the no-op and the entry");
//! assert_eq!(entries.last(), Some(first));
//! assert_eq!(raft.committed(), Index(0));
//! raft.persisted(entries);
//! assert_eq!(raft.committed(), first.index);
//! ```

/// Whether a known bug is injected here: never, but in the mutant runner.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::is($crate::mutant::Mutant::$name)
    };
}

mod changes;
mod config;
mod election;
pub mod entry;
mod event;
mod following;
pub mod id;
mod leading;
mod lease;
mod membership;
pub mod message;
#[cfg(feature = "mutants")]
pub mod mutant;
mod peers;
mod progress;
mod quiescence;
mod quorum;
#[cfg(test)]
mod quorum_corpus;
mod quota;
mod random;
mod reads;
mod recovery;
mod refusing;
mod replica;
mod restore;
mod sending;
mod settings;
mod snapshots;
mod status;
mod terms;
mod write;

pub use config::{Change, Config, ConfigError, MEMBERS_MAX};
pub use entry::{
    COMMAND_BYTES_MAX, Check, ENTRY_ALIGN, ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind,
    EntrySpec, decode_entry, encode_entry, entries, entry_bytes,
};
pub use event::{
    ChangeError, Event, Fault, FollowerState, FollowerStatus, Problem, ProposeError, ReadError, ReadId, Role,
    Status, TransferError,
};
pub use id::{EntryId, GroupId, Index, NodeId, Term, Time};
pub use message::{Accepted, AppendPlan, Body, Message, TermRun, TermRuns};
pub use replica::Raft;
pub use settings::{HardState, Restored, Settings, Standing};
pub use write::Write;
