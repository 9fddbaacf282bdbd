//! What replicas of a group say to each other. The bytes of entries are not in it: they follow in
//! the frame, exactly as they stand on disk (see [`crate::entry`]).
#![expect(
    missing_docs,
    reason = "rkyv writes none for the fields of an enum's resolver; ours are all documented"
)]

use smallvec::SmallVec;

use crate::id::{EntryId, GroupId, Index, Term};

/// From `first` on, entries are of `term`, until the next run begins.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
#[rkyv(derive(Debug))]
pub struct TermRun {
    /// The first index of the run.
    pub first: Index,
    /// The term of its entries.
    pub term: Term,
}

/// The terms of consecutive entries. Nearly always one run, which needs no allocation.
pub type TermRuns = SmallVec<[TermRun; 1]>;

/// One message of one group, from one node to another. Who sent it is known from its connection.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(derive(Debug))]
pub struct Message {
    /// The group.
    pub group: GroupId,
    /// The sender's term; in a `PreVote` the term it would campaign in, which a granting
    /// `PreVoteReply` repeats.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a [`Message`] says.
///
/// `round` is a counter made by the leader that only grows in its term: who answers with a round
/// proves that it followed this leader after the round was opened (ReadIndex, thesis 6.4).
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(derive(Debug))]
pub enum Body {
    /// Would you vote for me? Changes nothing at the receiver (thesis 9.6).
    PreVote {
        /// The newest entry of the asker.
        last: EntryId,
    },
    /// The answer to `PreVote`.
    PreVoteReply {
        /// Whether the vote would be given.
        granted: bool,
    },
    /// Vote for me (thesis 3.4).
    Vote {
        /// The newest entry of the candidate.
        last: EntryId,
        /// The leader itself asked for this election, so its liveness is no reason to refuse.
        transfer: bool,
    },
    /// The answer to `Vote`; a granted one is durable.
    VoteReply {
        /// Whether the vote is given.
        granted: bool,
    },
    /// Append entries after `prev`, whose bytes follow in the frame.
    Append {
        /// The entry before the first one sent.
        prev: EntryId,
        /// The last entry sent; `prev.index` when none is.
        last: Index,
        /// The terms of `prev.index + 1 ..= last`.
        runs: TermRuns,
        /// The bytes of the entries that follow in the frame.
        entries_bytes: u32,
        /// The leader's commit index.
        commit: Index,
        /// The newest round.
        round: u64,
    },
    /// All entries up to `matched` are durable here and the same as the leader's.
    AppendAck {
        /// The newest such index.
        matched: Index,
        /// The newest round seen.
        round: u64,
        /// Whether the sender keeps the promise that leases rest on, also across its restarts.
        lease: bool,
        /// Whether the sender's standing is normal, durably: whose is not should not be made a voter.
        stands: bool,
    },
    /// `prev` of an append is not in this log.
    AppendReject {
        /// The index of the `prev` that was not found: which append this answers.
        probe: Index,
        /// The newest entry here that is at most `probe` and not of a later term: where the two logs
        /// may agree at the earliest look.
        hint: EntryId,
        /// The newest round seen.
        round: u64,
    },
    /// The append was not looked at for lack of room: send again later.
    AppendBusy {
        /// The newest round seen.
        round: u64,
    },
    /// The leader lives.
    Beat {
        /// The leader's commit index.
        commit: Index,
        /// The newest round.
        round: u64,
    },
    /// The answer to `Beat`. With a higher term than the receiver's it is the answer to any message
    /// of a leader that is none any more.
    BeatAck {
        /// The newest round seen.
        round: u64,
        /// Whether all entries here are known to be this leader's. If not, as after a restart within a term, the
        /// follower commits no further than it knows, and is to be probed.
        proven: bool,
        /// Whether the sender keeps the promise that leases rest on, also across its restarts.
        lease: bool,
    },
    /// There is nothing to do: if this is all you have, and all of it committed, keep no timer until somebody speaks
    /// again. Who has something else answers as to a beat.
    Quiesce {
        /// The newest entry, which is committed.
        last: EntryId,
        /// The newest round, opened for this.
        round: u64,
    },
    /// The sender may have lost entries that it acknowledged: forget what it acknowledged, and say how far it has to
    /// come.
    Recover {
        /// Names the question.
        nonce: u64,
    },
    /// The answer to `Recover`.
    RecoverFloor {
        /// The question's.
        nonce: u64,
        /// The leader's newest entry when it answered.
        last: Index,
    },
    /// The leader has compacted what the follower lacks, and holds a snapshot up to `id` for it.
    SnapshotOffer {
        /// The last entry in the snapshot.
        id: EntryId,
    },
    /// The answer to `SnapshotOffer`.
    SnapshotAck {
        /// The snapshot's last entry.
        id: EntryId,
        /// True: installed and durable. False: not wanted now, offer again later.
        installed: bool,
    },
    /// Campaign now (leadership transfer, thesis 3.10).
    TimeoutNow {
        /// The leader's newest entry: void if it is not the receiver's newest one.
        last: EntryId,
    },
}

impl Body {
    /// The latest index that the receiver would believe to exist.
    pub(crate) fn last_named(&self) -> Index {
        match *self {
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::AppendBusy { .. }
            | Body::BeatAck { .. }
            | Body::Recover { .. } => Index::ZERO,
            Body::Append { prev, last, commit, .. } => prev.index.max(last).max(commit),
            Body::AppendAck { matched, .. } => matched,
            Body::AppendReject { probe, hint, .. } => probe.max(hint.index),
            Body::Beat { commit, .. } => commit,
            Body::RecoverFloor { last, .. } => last,
            Body::PreVote { last }
            | Body::Vote { last, .. }
            | Body::Quiesce { last, .. }
            | Body::TimeoutNow { last } => last.index,
            Body::SnapshotOffer { id } | Body::SnapshotAck { id, .. } => id.index,
        }
    }
}

/// The entries a leader could send to a follower now: `prev` comes before them, and
/// `first ..= last` is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendPlan {
    /// The entry before `first`.
    pub prev: EntryId,
    /// The first entry the follower lacks.
    pub first: Index,
    /// The newest entry there is.
    pub last: Index,
}

/// The entries of one append message that the shard must write to its log now. They replace
/// whatever the log holds from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The first entry to write; the message may hold earlier ones, which the log has already.
    pub first: Index,
    /// The last one.
    pub last: Index,
}
