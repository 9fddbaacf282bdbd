//! What a replica reports besides messages and writes, and the answers to calls it cannot serve.

use crate::id::{EntryId, Index, NodeId, Term};

/// What a replica is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows the leader, or waits for one.
    Follower,
    /// Asks whether an election would be won.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Appends and replicates.
    Leader,
}

/// Something that happened inside and that the shard acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This replica leads `term`. It has appended the entry `noop`, which the shard encodes as
    /// [`crate::EntryKind::Noop`] into this turn's log batch.
    BecameLeader {
        /// The term.
        term: Term,
        /// The id of the first entry of the term.
        noop: EntryId,
    },
    /// This replica led `term` and does not any more: its unconfirmed reads fail, its uncommitted
    /// proposals are in doubt.
    SteppedDown {
        /// The term it led.
        term: Term,
    },
    /// The leader this replica knows is another one now, possibly itself.
    LeaderChanged {
        /// The new one, `None` while nobody is known.
        leader: Option<NodeId>,
    },
    /// `to` lacks entries that are compacted here: the shard picks a snapshot and calls
    /// [`crate::Raft::offer_snapshot`]. Repeated while nothing was offered.
    NeedsSnapshot {
        /// The follower.
        to: NodeId,
    },
    /// The leader `from` holds a snapshot that this replica needs. When its files are durable the shard
    /// calls [`crate::Raft::snapshot_installed`]; if it cannot take it now, nothing.
    SnapshotOffered {
        /// The leader.
        from: NodeId,
        /// The last entry in the snapshot.
        id: EntryId,
    },
    /// A peer sent what no correct peer sends. Its message was dropped.
    Protocol {
        /// The peer.
        from: NodeId,
        /// What was wrong.
        problem: Problem,
    },
    /// What is known here contradicts itself or the leader: this replica answers nothing and
    /// promises nothing any more.
    Faulted {
        /// The contradiction.
        fault: Fault,
    },
}

/// What was wrong with a peer's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// The message is of another group.
    WrongGroup,
    /// The terms of an append do not describe its entries.
    MalformedAppend,
    /// A message that only a leader sends, in a term that another node leads.
    SecondLeader,
    /// An ack of entries that were never sent.
    AckBeyondLog,
    /// A round that was never opened.
    RoundBeyondLast,
}

/// A proof that a replica's history cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The restored state contradicts itself, e.g. more was applied than the log ever held.
    Restored,
    /// A leader's log has another entry at an index that is committed here.
    CommittedConflict {
        /// The index.
        index: Index,
    },
    /// A leader sent two entries for one place in its own term.
    LeaderRewrote {
        /// The index.
        index: Index,
    },
}

/// Why a proposal was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none: send it there.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// Too many bytes wait for commit: try again later.
    #[error("too many bytes wait for commit")]
    Full,
    /// Leadership is being handed over: try again in a moment.
    #[error("leadership is being handed over")]
    Transferring,
}

/// Why a read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another node leads, or none: send it there.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
}

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Another node leads, or none: ask it.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// The node is this one, or not a voter.
    #[error("{to} is no voter that leadership could go to")]
    NotAVoter {
        /// The node named.
        to: NodeId,
    },
}

/// Names one read. Later reads have larger ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// How a leader feeds a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FollowerState {
    /// Looks for the place where the logs agree: one append per answer.
    Probe,
    /// Sends ahead of the acks, within the window.
    Replicate,
    /// Waits for a snapshot to arrive.
    Snapshot,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The follower.
    pub node: NodeId,
    /// How it is fed.
    pub state: FollowerState,
    /// The newest index known to be durable there.
    pub matched: Index,
    /// The next index to send.
    pub next: Index,
    /// Bytes of entries sent and not acked.
    pub inflight_bytes: u64,
}

/// A replica at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// The newest entry.
    pub last: EntryId,
    /// The newest durable index.
    pub persisted: Index,
    /// The newest committed index.
    pub committed: Index,
    /// The newest applied index.
    pub applied: Index,
    /// The last entry that is in the snapshot only.
    pub compacted: EntryId,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Whom leadership is being handed to.
    pub transfer: Option<NodeId>,
    /// Whether the replica stopped for a contradiction.
    pub faulted: bool,
    /// On a leader: its followers.
    pub followers: Vec<FollowerStatus>,
}
