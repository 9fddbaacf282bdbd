//! What a replica reports besides messages and writes, and the answers to calls it cannot serve.

use crate::config::{Config, ConfigError};
use crate::id::{EntryId, Index, NodeId, Term, Time};
use crate::settings::Standing;

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
    /// This replica, which leads, has appended `config` as the entry `id`: by [`crate::Raft::change`], or to leave a
    /// joint configuration that was committed. It is in force at once. The shard encodes it as
    /// [`crate::EntryKind::Membership`] into this turn's log batch, before anything else enters the group's log.
    ConfigAppended {
        /// Its entry.
        id: EntryId,
        /// The configuration.
        config: Config,
    },
    /// The configuration in force is known to be committed: it will not be taken back.
    ConfigCommitted {
        /// Its entry's index.
        index: Index,
        /// The configuration.
        config: Config,
    },
    /// This replica was [`Standing::Recovering`] or [`Standing::Joining`] and has caught up.
    Recovered,
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
    /// A term or an index so late that no log reaches it ([`Term::MAX`], [`Index::MAX`]).
    BeyondMax,
    /// A configuration that cannot be, or that is not among the entries it came with.
    MalformedConfig,
}

/// A proof that a replica's history cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The restored state contradicts itself, e.g. more was applied than the log ever held.
    Restored,
    /// An earlier start of this replica found a contradiction and recorded that.
    Recorded,
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
    /// Too many bytes wait for commit: try again later. (Or the log would pass [`Index::MAX`].)
    #[error("too many bytes wait for commit")]
    Full,
    /// Leadership is being handed over: try again in a moment.
    #[error("leadership is being handed over")]
    Transferring,
}

/// Why the configuration is not changed. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads, or none: ask it.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// The newest configuration is joint, or not committed yet: try again when it is.
    #[error("the change before this one is not through")]
    InProgress,
    /// The leader has not committed an entry of its term yet: try again in a moment. (Without this rule two leaders
    /// could each commit with a majority of its own: Ongaro's note of 2015 on single-server changes.)
    #[error("the leader is new and has committed nothing yet")]
    NotReady,
    /// Leadership is being handed over: ask the next leader.
    #[error("leadership is being handed over")]
    Transferring,
    /// Everything is as wished.
    #[error("the configuration is as wished already")]
    Unchanged,
    /// The wish cannot be fulfilled.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
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
    /// Whether it has no vote.
    pub learner: bool,
    /// Whether its standing is normal, as its newest ack to this leader says. Only such a node should get a vote: one
    /// that is joining can be needed to lead before it may.
    pub stands: bool,
    /// When it was last heard.
    pub heard: Time,
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
    /// The configuration in force.
    pub config: Config,
    /// The index of its entry, 0 for that of a new group.
    pub config_index: Index,
    /// Whether it is known to be committed.
    pub config_committed: bool,
    /// Whether the replica rests.
    pub quiesced: bool,
    /// Whether it may take part.
    pub standing: Standing,
    /// Whom leadership is being handed to.
    pub transfer: Option<NodeId>,
    /// On a leader: its followers.
    pub followers: Vec<FollowerStatus>,
}
