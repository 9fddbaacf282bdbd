//! What may be said: each message of the core is judged when it is sent, against what this replica
//! really knows, holds and has promised.

use raft::{Body, EntryId, Index, Role, Standing, Term};

use super::super::disk::{index_of, position_of};
use super::super::input::Envelope;
use super::super::violation::require;
use super::Replica;

const CHECK: &str = "spec::outputs";

impl Replica {
    fn newest_id(&self) -> EntryId {
        let (term, index) = self.newest();
        EntryId::new(term, Index(index))
    }

    /// Judges one message.
    pub(super) fn may_send(&self, envelope: &Envelope) {
        let allowed = match &envelope.message.body {
            Body::PreVote { .. } | Body::Vote { .. } => self.may_ask(envelope),
            Body::PreVoteReply { .. } | Body::VoteReply { .. } => self.may_answer_candidate(envelope),
            Body::Append { .. } => self.may_append(envelope),
            Body::AppendAck { .. } | Body::SnapshotAck { .. } => self.may_ack(envelope),
            Body::AppendReject { .. } | Body::AppendBusy { .. } | Body::Recover { .. } => {
                envelope.message.term == self.term && self.leader == Some(envelope.to.0)
            }
            // Round 0 tells the leader of an older term that there is a newer one. A promise to elect nobody else is worth
            // something if whoever gave it knows, after a crash, that there was somebody.
            Body::BeatAck { round, lease, .. } => {
                envelope.message.term == self.term
                    && (*round == 0 || self.leader == Some(envelope.to.0))
                    && (!lease || self.term_is_durable())
            }
            Body::RecoverFloor { last, .. } => self.leads(envelope.message.term) && last.0 == self.last(),
            Body::Quiesce { last, .. } => {
                let all = self.commit == self.last() && *last == self.newest_id();
                self.leads(envelope.message.term) && all && self.matched(envelope.to.0) == self.last()
            }
            Body::Beat { commit, .. } => self.leads(envelope.message.term) && commit.0 <= self.commit,
            Body::SnapshotOffer { id } => self.leads(envelope.message.term) && id.index.0 <= self.commit,
            Body::TimeoutNow { last } => {
                let ready = self.matched(envelope.to.0) == self.last() && *last == self.newest_id();
                let voter = self.config().is_voter(envelope.to.0);
                self.leads(envelope.message.term) && ready && voter
            }
        };
        require!(allowed, CHECK, "{} may not say: {envelope}", self.id);
    }

    fn leads(&self, term: Term) -> bool {
        self.role == Role::Leader && term == self.term
    }

    /// A candidate asks once its vote for itself is durable: asked earlier, it could ask again in the
    /// same term after a crash, with a shorter log.
    fn may_ask(&self, envelope: &Envelope) -> bool {
        let term = envelope.message.term;
        match envelope.message.body {
            Body::PreVote { last } => {
                self.role == Role::PreCandidate && term.0 == self.term.0 + 1 && last == self.newest_id()
            }
            Body::Vote { last, transfer } => {
                let stands = self.role == Role::Candidate && term == self.term;
                stands && self.vote_is_durable() && last == self.newest_id() && transfer == self.by_transfer
            }
            _ => false,
        }
    }

    fn may_answer_candidate(&self, envelope: &Envelope) -> bool {
        let (to, term) = (envelope.to.0, envelope.message.term);
        match envelope.message.body {
            Body::PreVoteReply { granted: true } => self.promised.contains(&(to, term)),
            Body::VoteReply { granted: true } => {
                let voted = self.vote == Some(to) && term == self.term;
                voted
                    && self.vote_is_durable()
                    && matches!(self.standing, Standing::Normal | Standing::Joining)
            }
            _ => term == self.term,
        }
    }

    /// An append says what is in the log, and no more than is committed is called so.
    fn may_append(&self, envelope: &Envelope) -> bool {
        let Body::Append { prev, last, commit, .. } = &envelope.message.body else { return false };
        let (first, end) = (prev.index.0 + 1, last.0);
        if !self.leads(envelope.message.term) || end > self.last() || commit.0 > self.commit {
            return false;
        }
        let said = &self.log[position_of(first - 1)..position_of(end.max(first - 1))];
        self.term_at(prev.index.0) == Some(prev.term)
            && said == envelope.entries
            && index_of(said.len()) == end - prev.index.0
    }

    /// An ack names what would be here after a crash at any moment, and is the leader's, in a term that
    /// would be remembered.
    fn may_ack(&self, envelope: &Envelope) -> bool {
        let promised = match envelope.message.body {
            Body::AppendAck { matched, .. } => matched.0,
            Body::SnapshotAck { id, installed } => {
                if installed {
                    id.index.0
                } else {
                    0
                }
            }
            _ => return false,
        };
        // A snapshot holds what is committed: every leader has that, whoever leads by now.
        let snapshot = matches!(envelope.message.body, Body::SnapshotAck { .. }) && promised <= self.commit;
        let from_leader = snapshot || self.accepted().is_some_and(|accepted| promised <= accepted);
        let known = envelope.message.term == self.term && self.leader == Some(envelope.to.0);
        let safe = from_leader && (snapshot || self.term_is_durable()) && promised <= self.durable();
        known && (promised == 0 || safe)
    }
}
