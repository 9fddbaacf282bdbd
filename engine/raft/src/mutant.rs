//! Known bugs of Raft cores, to be injected on purpose: a test suite is worth what it catches. Only built with the
//! feature `mutants`, which nothing but the mutant runner of `ringraft-tests` turns on. Which bug is which, and what
//! catches it, stands in `tests/src/core_sim/mutants.rs`.

use core::cell::Cell;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant { $($(#[doc = $doc])+ $name,)+ }

        /// All of them.
        pub const ALL: &[Mutant] = &[$(Mutant::$name,)+];
    };
}

mutants! {
    /// Commits what one member holds.
    CommitsByOne,
    /// Counts its own unsynced entries for commit.
    LeaderCountsUnsynced,
    /// Commits entries of earlier terms by counting (thesis Figure 3.7).
    OldTermsCommit,
    /// Takes the leader's commit index for its whole log, proven or not.
    CommitsUnproven,
    /// Takes every answer for one to the newest round.
    StaleRoundConfirms,
    /// Opens read rounds before the term's first entry is committed.
    ReadsBeforeNoop,
    /// Keeps its lease while it hands over.
    LeaseOutlivesTransfer,
    /// Forgets at a restart that a leader may hold a lease by its word.
    LeaseForgottenAtRestart,
    /// Forgets with a new term that a leader may hold a lease by its word.
    LeaseForgottenByTerm,
    /// Takes the end of a superseded write for that of the newest.
    CutsForgotten,
    /// Acks what is not durable.
    AcksUnsynced,
    /// Writes entries before the term they were accepted in.
    LogBeforeTerm,
    /// Votes before that is durable.
    VotesUnsynced,
    /// Votes twice in a term.
    VotesTwice,
    /// Compares logs by length only.
    UpToDateByIndex,
    /// Changes members while a change is in flight.
    ChangesOverlap,
    /// Changes members before the term's first entry is committed.
    ChangesBeforeNoop,
    /// Leaves a joint configuration before it is committed.
    LeavesEarly,
    /// Leaves a joint configuration only if it has appended that itself.
    LeavesOwnOnly,
    /// Forgets the outgoing half of a joint configuration.
    OutgoingIgnored,
    /// Counts learners.
    LearnersCount,
    /// Keeps a truncated configuration.
    TruncationKeepsConfig,
    /// Refuses votes to others when it is no voter by its own log.
    LearnersRefuseVotes,
    /// Never campaigns once its removal is in its log, committed or not.
    RemovedStaySilent,
    /// After a change of members takes followers for those that had their place before.
    RemapsBySlot,
    /// Drops the entries after a late, short append.
    ShortAppendTruncates,
    /// Believes acks of earlier terms.
    OldAcksCount,
    /// Keeps the configuration it had when a snapshot replaces its log.
    SnapshotKeepsConfig,
    /// Keeps a log that disagrees with a snapshot.
    SnapshotKeepsLog,
    /// Ends the snapshot state only by an ack of the very snapshot that was offered.
    SnapshotAcksMustMatch,
    /// Votes although it may have forgotten what it acknowledged.
    RecoveringVotes,
    /// Takes any leader's word for recovery before it has caught up.
    RecoversTooEarly,
    /// Leaves questions of older terms unanswered.
    OldTermsUnanswered,
    /// Leads on without a quorum.
    LeadsWithoutQuorum,
    /// Leads on although its disk hangs.
    HungDiskLeads,
    /// Forgets to count what is in flight anew when a follower is probed again.
    InflightLeaks,
    /// Never gives quota back.
    QuotaLeaks,
    /// Sends a probe once and waits for ever.
    ProbesOnce,
    /// Takes an older commit index for the present one.
    CommitRegresses,
    /// Rests although a follower lacks entries.
    RestsTooEarly,
    /// Rests on although its leader's shard is gone.
    LostLeaderIgnored,
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Injects this bug, or none, into all replicas of this thread.
pub fn set(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}
