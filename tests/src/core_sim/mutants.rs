//! The 25 nastiest bugs of Raft cores (research, section 5), and what becomes of each here: injected
//! again as mutants of the real core (`raft::mutant`), or impossible by construction, and why.

/// What becomes of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Injected as these mutants, by name.
    Injected(&'static [&'static str]),
    /// Cannot be written in this design.
    Impossible(&'static str),
}

/// One bug.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its number in the research; 0 for the classics of every textbook.
    pub number: u8,
    /// What goes wrong.
    pub what: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

const fn injected(number: u8, what: &'static str, mutants: &'static [&'static str]) -> Bug {
    Bug { number, what, fate: Fate::Injected(mutants) }
}

const fn impossible(number: u8, what: &'static str, why: &'static str) -> Bug {
    Bug { number, what, fate: Fate::Impossible(why) }
}

/// All of them.
pub const BUGS: [Bug; 26] = [
    injected(
        0,
        "textbook: double votes, unsynced promises, shorter logs elected, old terms counted",
        &[
            "VotesTwice",
            "VotesUnsynced",
            "AcksUnsynced",
            "UpToDateByIndex",
            "OldTermsCommit",
            "CommitsUnproven",
        ],
    ),
    injected(1, "committed without a quorum", &["CommitsByOne"]),
    injected(2, "a delayed answer to an older round confirms a read", &["StaleRoundConfirms"]),
    injected(3, "a lease outlives the hand-over", &["LeaseOutlivesTransfer"]),
    injected(4, "committed before the own sync", &["LeaderCountsUnsynced"]),
    injected(5, "the end of a superseded write counts (ABA)", &["CutsForgotten"]),
    injected(6, "entries durable before the term they were accepted in", &["LogBeforeTerm"]),
    injected(
        7,
        "two majorities by overlapping changes of members",
        &["ChangesOverlap", "ChangesBeforeNoop", "LeavesEarly"],
    ),
    injected(8, "a late short append drops what was acked", &["ShortAppendTruncates"]),
    injected(9, "acks of an earlier session count", &["OldAcksCount", "RemapsBySlot"]),
    impossible(
        10,
        "a late configuration overrides that of a newer snapshot",
        "the configuration is a function of the log, in force when appended; applying has no part in it",
    ),
    injected(
        11,
        "state from before a snapshot stays after it",
        &["SnapshotKeepsConfig", "SnapshotKeepsLog", "TruncationKeepsConfig"],
    ),
    injected(12, "quorum of one half, or with learners", &["OutgoingIgnored", "LearnersCount"]),
    injected(13, "amnesia: votes after the disk was lost", &["RecoveringVotes", "RecoversTooEarly"]),
    injected(14, "the promise to a lease is broken", &["LeaseForgottenAtRestart", "LeaseForgottenByTerm"]),
    injected(15, "a new leader reads before its no-op is committed", &["ReadsBeforeNoop"]),
    injected(16, "PreVote deadlock: older terms get no answer", &["OldTermsUnanswered"]),
    injected(17, "a leader without a quorum leads on", &["LeadsWithoutQuorum"]),
    injected(
        18,
        "who is no voter by its own log keeps silent",
        &["LearnersRefuseVotes", "RemovedStaySilent"],
    ),
    injected(19, "a joint configuration is never left", &["LeavesOwnOnly"]),
    impossible(
        20,
        "term 0 stands for an unknown term",
        "unknown terms are `None`; an append with term 0 after entry 0 is refused as malformed (core's tests)",
    ),
    injected(21, "counters leak", &["InflightLeaks", "QuotaLeaks"]),
    injected(22, "replication gets stuck", &["ProbesOnce", "SnapshotAcksMustMatch"]),
    injected(23, "the commit index falls", &["CommitRegresses"]),
    // A leader at rest that is deaf to a voter's question is caught by the story 23_rest: in lives a broken link wakes both.
    injected(24, "a group rests when it must not, or does not wake", &["RestsTooEarly", "LostLeaderIgnored"]),
    injected(25, "a leader with a hung disk leads on", &["HungDiskLeads"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_of_the_research_has_a_fate() {
        let numbers: Vec<u8> = BUGS.iter().map(|bug| bug.number).collect();
        assert_eq!(numbers, (0..=25).collect::<Vec<u8>>());
        for bug in BUGS {
            match bug.fate {
                Fate::Injected(mutants) => assert!(!mutants.is_empty(), "{} has no mutant", bug.number),
                Fate::Impossible(why) => assert!(why.len() > 20, "{} says why", bug.number),
            }
        }
    }
}
