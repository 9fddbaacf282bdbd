//! The follower's side of replication (thesis 3.5): taking appends, and answering them.
//!
//! Nothing is queued. What is owed is a handful of fields, and each answer is computed when it is
//! sent, so a newer one replaces an older one that was not sent yet.

use crate::config::Config;
use crate::event::{Fault, Problem};
use crate::id::{EntryId, Index, NodeId, Term};
use crate::membership::Membership;
use crate::message::{Accepted, Body, TermRun};
use crate::replica::{Raft, State};
use crate::settings::Standing;
use crate::terms::{runs_describe, term_in};

/// Answers to more askers than this replace the oldest: candidates are few, and ask again.
const ANSWERS_MAX: usize = 16;

/// An answer to whoever asked, member or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    PreVote {
        term: Term,
        granted: bool,
    },
    /// Sent once the vote is durable.
    VoteGranted,
    VoteRefused,
    /// There is a newer term than the one you lead.
    NewerTerm,
}

/// What the leader is told next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Recover,
    Snapshot,
    Reject,
    /// Up to here.
    Ack(Index),
    Busy,
    Beat,
}

/// What this replica has to say to others as a follower. Cleared when the term changes: an answer of
/// an older term promises nothing in a newer one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owed {
    /// An append was taken, and not all of it is acked.
    ack_due: bool,
    /// The leader knows that everything up to here matches, or learns it from a later ack.
    ack_floor: Index,
    /// The newest round of the leader.
    round_seen: u64,
    round_due: bool,
    pub(crate) busy: bool,
    seldom: Option<Box<Seldom>>,
}

/// What is owed in elections and after losses only: there while there is any of it.
#[derive(Clone, Debug, Default)]
struct Seldom {
    answers: Vec<(NodeId, Answer)>,
    /// The probe that failed, and where the logs may agree.
    reject: Option<(Index, EntryId)>,
    /// What became of a snapshot that was offered: whether it is installed.
    snapshot: Option<(EntryId, bool)>,
}

impl Owed {
    /// The newest answer to `to` is the one that counts.
    pub(crate) fn answer(&mut self, to: NodeId, answer: Answer) {
        let answers = &mut self.seldom.get_or_insert_default().answers;
        answers.retain(|(asker, _)| *asker != to);
        if answers.len() == ANSWERS_MAX {
            answers.remove(0);
        }
        answers.push((to, answer));
    }

    /// Answers to whoever asked, oldest first.
    pub(crate) fn answers(&self) -> &[(NodeId, Answer)] {
        self.seldom.as_ref().map_or(&[], |seldom| &seldom.answers)
    }

    pub(crate) fn take_answer(&mut self, at: usize) -> Option<Answer> {
        let answer = self.seldom.as_mut().map(|seldom| seldom.answers.remove(at).1);
        self.tidy();
        answer
    }

    fn reject(&self) -> Option<(Index, EntryId)> {
        self.seldom.as_ref()?.reject
    }

    fn set_reject(&mut self, reject: Option<(Index, EntryId)>) {
        if reject.is_some() || self.seldom.is_some() {
            self.seldom.get_or_insert_default().reject = reject;
            self.tidy();
        }
    }

    fn snapshot(&self) -> Option<(EntryId, bool)> {
        self.seldom.as_ref()?.snapshot
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: Option<(EntryId, bool)>) {
        if snapshot.is_some() || self.seldom.is_some() {
            self.seldom.get_or_insert_default().snapshot = snapshot;
            self.tidy();
        }
    }

    /// Whether an append was answered only in part, or something else is left to say to the leader.
    pub(crate) fn is_pending(&self) -> bool {
        self.ack_due || self.busy || self.reject().is_some() || self.snapshot().is_some()
    }

    /// The leader comes to rest with `round`: nothing is owed to it any more.
    pub(crate) fn rest(&mut self, round: u64) {
        let seldom = self.seldom.take();
        *self = Owed { seldom, round_seen: round.max(self.round_seen), ..Owed::default() };
        self.set_reject(None);
        self.set_snapshot(None);
    }

    fn tidy(&mut self) {
        self.seldom.take_if(|seldom| {
            seldom.answers.is_empty() && seldom.reject.is_none() && seldom.snapshot.is_none()
        });
    }

    pub(crate) fn saw_round(&mut self, round: u64, answer_anyway: bool) {
        self.round_due |= answer_anyway || round > self.round_seen;
        self.round_seen = self.round_seen.max(round);
    }
}

/// The content of `Body::Append`.
pub(crate) struct Append<'a> {
    pub(crate) prev: EntryId,
    pub(crate) last: Index,
    pub(crate) runs: &'a [TermRun],
    pub(crate) entries_bytes: u32,
    pub(crate) commit: Index,
    pub(crate) round: u64,
}

impl Append<'_> {
    /// Whether `configs` can be those among the entries.
    fn has(&self, configs: &[(Index, Config)]) -> bool {
        let possible = |config: &Config| config.is_sound() && config.check().is_ok();
        configs.is_empty()
            || configs.is_sorted_by(|a, b| a.0 < b.0)
                && configs.iter().all(|(index, config)| {
                    self.prev.index < *index && *index <= self.last && possible(config)
                })
    }

    /// Whether the parts fit together and `term`'s leader could have sent them.
    fn well_formed(&self, term: Term) -> bool {
        let newest = self.runs.last().map_or(self.prev.term, |run| run.term);
        let count = self.last.0.saturating_sub(self.prev.index.0);
        let header_bytes = crate::entry::ENTRY_HEADER_BYTES as u64;
        runs_describe(self.prev, self.last, self.runs)
            && newest <= term
            && (self.prev.index == Index::ZERO) == (self.prev.term == Term(0))
            && count.saturating_mul(header_bytes) <= u64::from(self.entries_bytes)
    }
}

/// What a follower's log says about the entry before an append.
enum Meeting {
    /// The logs agree up to here, which may be later than the append's `prev`.
    At(EntryId),
    /// All of the append is in the snapshot.
    Covered,
    Conflict,
}

impl Raft {
    /// `from` speaks as the leader of the present term. False if it cannot be.
    pub(crate) fn follow(&mut self, from: NodeId) -> bool {
        let other = self.leader.is_some_and(|leader| leader != from);
        if self.is_leader() || other || self.term == Term(0) {
            self.protocol(from, Problem::SecondLeader);
            return false;
        }
        self.state = State::Follower;
        self.quiesced = false;
        self.set_leader(Some(from));
        self.leader_heard = self.now;
        self.reset_election_deadline();
        self.ask_for_floor();
        true
    }

    pub(crate) fn step_beat(&mut self, from: NodeId, commit: Index, round: u64) {
        if self.quiesced && self.leader == Some(from) && round <= self.quiesced_round {
            return; // sent before the leader came to rest
        }
        if self.follow(from) {
            self.owed.saw_round(round, true);
            self.commit_accepted(commit);
        }
    }

    /// The leader has committed up to `commit`: so has this replica, as far as its log is proven to
    /// be the leader's.
    pub(crate) fn commit_accepted(&mut self, commit: Index) {
        if self.accepted.term == self.term {
            let proven = if mutant!(CommitsUnproven) { self.log.last().index } else { self.accepted.index };
            self.advance_commit(commit.min(proven));
        }
    }

    pub(crate) fn step_append(
        &mut self,
        from: NodeId,
        append: &Append,
        configs: &[(Index, Config)],
    ) -> Option<Accepted> {
        if !append.has(configs) {
            self.protocol(from, Problem::MalformedConfig);
            return None;
        }
        if !append.well_formed(self.term) {
            self.protocol(from, Problem::MalformedAppend);
            return None;
        }
        if !self.follow(from) {
            return None;
        }
        self.owed.saw_round(append.round, append.last == append.prev.index);
        self.owed.busy = false;
        let prev = match self.meet(append) {
            Meeting::At(prev) => prev,
            Meeting::Covered => {
                self.accept(Index::ZERO, Index::ZERO);
                return None;
            }
            Meeting::Conflict if append.prev.index <= self.commit => {
                self.fault(Fault::CommittedConflict { index: append.prev.index });
                return None;
            }
            Meeting::Conflict => {
                let hint = self.log.newest_until(append.prev.index, append.prev.term);
                self.owed.set_reject(Some((append.prev.index, hint)));
                return None;
            }
        };
        let added = self.log.first_difference(prev.index.next(), append.last, append.runs);
        if let Some(first) = added
            && !self.replace_from(first, append, configs)
        {
            return None;
        }
        if mutant!(ShortAppendTruncates) && append.last < self.log.last().index && append.last > self.commit {
            self.log.truncate_from(append.last.next());
            self.durability.truncated(append.last);
        }
        self.accept(append.last, append.prev.index);
        self.commit_accepted(append.commit);
        added.map(|first| Accepted { first, last: append.last })
    }

    /// Where this log and the append meet.
    fn meet(&self, append: &Append) -> Meeting {
        let compacted = self.log.compacted();
        if append.prev.index >= compacted.index {
            let same = self.log.term_at(append.prev.index) == Some(append.prev.term);
            return if same { Meeting::At(append.prev) } else { Meeting::Conflict };
        }
        // What is compacted is committed, so a true leader has it too; an old append may start before.
        if append.last < compacted.index {
            return Meeting::Covered;
        }
        if term_in(append.runs, compacted.index) == Some(compacted.term) {
            Meeting::At(compacted)
        } else {
            Meeting::Conflict
        }
    }

    /// Makes the log hold the append's entries from `first` on, the first that it does not. False if
    /// that would rewrite what cannot change.
    fn replace_from(&mut self, first: Index, append: &Append, configs: &[(Index, Config)]) -> bool {
        if first <= self.commit {
            self.fault(Fault::CommittedConflict { index: first });
            return false;
        }
        if first <= self.log.last().index {
            if self.accepted.term == self.term && first <= self.accepted.index {
                self.fault(Fault::LeaderRewrote { index: first });
                return false;
            }
            self.log.truncate_from(first);
            if !mutant!(TruncationKeepsConfig) {
                self.configs.truncate_from(first);
            }
            self.durability.truncated(first.previous());
        }
        self.log.extend(append.runs, append.last);
        for (index, config) in configs.iter().filter(|(index, _)| *index >= first) {
            self.configs.push(*index, Membership::new(config));
        }
        self.durability.appended();
        true
    }

    /// The log is the leader's up to `index`, and so it is up to the commit index: what is committed
    /// is in every later leader's log (Leader Completeness, thesis 3.6.3). An ack is owed, and says
    /// more than `floor`.
    pub(crate) fn accept(&mut self, index: Index, floor: Index) {
        let before = if self.accepted.term == self.term { self.accepted.index } else { self.commit };
        self.accepted = EntryId::new(self.term, before.max(index));
        self.owed.ack_due = true;
        self.owed.ack_floor = self.owed.ack_floor.max(floor);
        self.owed.set_reject(None);
        self.check_recovered();
    }

    /// The index an ack would name now. Only what is durable, under the leader that sent it, in a
    /// term that is durable; and before all that was taken is durable, only if it says something new.
    fn ackable(&self) -> Option<Index> {
        let safe =
            self.owed.ack_due && self.accepted.term == self.term && self.durability.holds_term(self.term);
        let durable = if mutant!(AcksUnsynced) { self.log.last().index } else { self.durability.persisted() };
        let matched = self.accepted.index.min(durable);
        (safe && (matched == self.accepted.index || matched > self.owed.ack_floor)).then_some(matched)
    }

    /// What the leader is to be told, if anything.
    pub(crate) fn reply_due(&self) -> Option<Reply> {
        let owed = &self.owed;
        if self.floor_question().is_some() {
            return Some(Reply::Recover);
        }
        if owed.snapshot().is_some() {
            return Some(Reply::Snapshot);
        }
        if owed.reject().is_some() {
            return Some(Reply::Reject);
        }
        if let Some(matched) = self.ackable() {
            return Some(Reply::Ack(matched));
        }
        if owed.busy {
            return Some(Reply::Busy);
        }
        owed.round_due.then_some(Reply::Beat)
    }

    /// The message of a reply that is due; what it says is owed no more.
    pub(crate) fn reply(&mut self, reply: Reply) -> Body {
        let round = self.owed.round_seen;
        // Whoever forgot in a crash that there was a leader would elect another.
        let lease = self.settings.lease.is_some() && self.durability.holds_term(self.term);
        let body = match reply {
            Reply::Recover => {
                let nonce = self.floor_question().unwrap_or_default();
                self.floor_asked();
                return Body::Recover { nonce };
            }
            Reply::Snapshot => {
                let (id, installed) = self.owed.snapshot().unwrap_or_default();
                self.owed.set_snapshot(None);
                return Body::SnapshotAck { id, installed };
            }
            Reply::Reject => {
                let (probe, hint) = self.owed.reject().unwrap_or_default();
                self.owed.set_reject(None);
                Body::AppendReject { probe, hint, round }
            }
            Reply::Ack(matched) => {
                self.owed.ack_floor = self.owed.ack_floor.max(matched);
                self.owed.ack_due = matched < self.accepted.index;
                let stands = self.standing == Standing::Normal;
                Body::AppendAck { matched, round, lease, stands }
            }
            Reply::Busy => {
                self.owed.busy = false;
                Body::AppendBusy { round }
            }
            Reply::Beat => {
                let proven = self.accepted.term == self.term && self.accepted.index >= self.log.last().index;
                Body::BeatAck { round, proven, lease }
            }
        };
        self.owed.round_due = false;
        body
    }

    /// The link to the leader broke: an ack may be lost, so it is owed again.
    pub(crate) fn repeat_ack(&mut self) {
        self.owed.ack_due |= self.accepted.term == self.term;
    }
}
