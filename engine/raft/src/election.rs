//! Elections: who may lead next (thesis 3.4, 3.6, 9.6).
//!
//! A replica that hears no leader first asks whether it would win (PreVote), which changes nothing
//! anywhere; only if a quorum would vote for it does it raise the term and ask in earnest. Whoever
//! has heard a live leader lately answers neither, so a replica that cannot hear the leader does not
//! unseat it. A leader that hears no quorum unseats itself (CheckQuorum).

use core::time::Duration;

use crate::event::{Event, Problem};
use crate::following::{Answer, Owed};
use crate::id::{EntryId, NodeId, Term};
use crate::leading::Leading;
use crate::message::Body;
use crate::quorum::{Slots, Tally};
use crate::replica::{Poll, Raft, State};
use crate::settings::Standing;

/// The first election of a preferred replica comes after a delay between these.
const PREFERRED_DELAY_MIN: Duration = Duration::from_millis(50);
const PREFERRED_DELAY_MAX: Duration = Duration::from_millis(150);

impl Raft {
    pub(crate) fn set_first_deadline(&mut self, preferred: bool) {
        if self.configs.membership.is_alone(self.settings.node) {
            // Nobody else could lead: there is nobody to wait for.
            self.election_deadline = self.now.max(self.vote_not_before);
        } else if preferred {
            let from = self.now.max(self.vote_not_before);
            self.election_deadline = self.random.deadline(from, PREFERRED_DELAY_MIN, PREFERRED_DELAY_MAX);
        } else {
            self.reset_election_deadline();
        }
    }

    /// Puts the first election off until others, who heard of a leader before this start, have had theirs: this replica would lead, but could not answer for a while.
    /// To be called right after [`Raft::new`]; nothing happens if nobody else could lead.
    pub fn let_others_lead(&mut self) {
        if !self.configs.membership.is_alone(self.settings.node) && self.standing == Standing::Normal {
            let (min, max) = (self.settings.election_timeout_min, self.settings.election_timeout_max);
            let from = self.now.max(self.vote_not_before);
            self.election_deadline = self.random.deadline(from, max, max * 2 - min);
        }
    }

    pub(crate) fn reset_election_deadline(&mut self) {
        let (min, max) = (self.settings.election_timeout_min, self.settings.election_timeout_max);
        self.election_deadline = self.random.deadline(self.now, min, max);
    }

    /// Whether a leader was heard so lately that no vote may go to anyone else. A leader hears
    /// itself; the leader of a group at rest lives until [`Raft::peer_lost`] says otherwise, or until it asks for votes
    /// itself: it stepped down or started anew, and of those at rest with it nobody else would ever ask.
    pub(crate) fn leader_lives(&self, asker: NodeId) -> bool {
        match self.leader {
            Some(leader) if leader == self.settings.node => true,
            Some(leader) if leader == asker => false,
            Some(_) if self.quiesced => true,
            Some(_) => self.now < self.leader_heard + self.settings.election_timeout_min,
            None => false,
        }
    }

    /// Whether this replica may campaign of its own accord.
    fn promotable(&self) -> bool {
        self.may_lead() && !self.is_bound_by_lease()
    }

    /// Whether this replica may campaign if the leader asks it to. The last term is never followed by another. A voter
    /// whose removal is not committed may have to: it may hold the newest log (thesis 4.2.2).
    pub(crate) fn may_lead(&self) -> bool {
        let node = self.settings.node;
        let voter = self.configs.membership.is_voter(node)
            || !mutant!(RemovedStaySilent)
                && self.configs.fallback().is_some_and(|fallback| fallback.is_voter(node));
        self.standing == Standing::Normal && self.term.next() > self.term && voter
    }

    /// Campaigns now instead of at its election timeout. Nothing happens if it leads, campaigns
    /// already, or is no voter.
    pub fn campaign(&mut self, now: crate::Time) {
        self.hear(now);
        if matches!(self.state, State::Follower) && self.promotable() {
            self.start_pre_vote();
        }
    }

    pub(crate) fn election_timeout(&mut self) {
        self.reset_election_deadline();
        if self.promotable() {
            self.start_pre_vote();
        } else {
            self.set_leader(None);
        }
    }

    /// The own slot, if the configuration in force has one, and the voters to ask.
    fn poll(&self, transfer: bool) -> (Option<usize>, Poll) {
        let own = self.configs.membership.slot(self.settings.node);
        let voting = self.configs.membership.voting();
        let to_ask = own.map_or(voting, |own| voting.without(own));
        (own, Poll { to_ask, transfer, ..Poll::default() })
    }

    fn start_pre_vote(&mut self) {
        self.reset_election_deadline();
        self.quiesced = false;
        self.set_leader(None);
        let (own, mut poll) = self.poll(false);
        poll.granted = own.map_or(poll.granted, |own| poll.granted.with(own));
        self.state = State::PreCandidate(poll);
        self.count_votes();
    }

    /// Raises the term and votes for itself; the vote counts, and others are asked, once that is
    /// durable. Asking earlier would be unsafe: after a crash the same term could be asked for again
    /// with a shorter log, and a late grant of the first asking would count.
    pub(crate) fn start_election(&mut self, transfer: bool) {
        self.become_follower(self.term.next());
        self.reset_election_deadline();
        self.set_leader(None);
        self.vote = Some(self.settings.node);
        let (_, poll) = self.poll(transfer);
        self.state = State::Candidate(poll);
    }

    /// Whether the own term and vote are durable.
    pub(crate) fn promise_holds(&self) -> bool {
        self.durability.holds(self.term, self.vote) || mutant!(VotesUnsynced)
    }

    pub(crate) fn count_own_vote(&mut self) {
        let holds = self.promise_holds();
        if let State::Candidate(poll) = &mut self.state
            && let Some(own) = self.configs.membership.slot(self.settings.node)
            && holds
            && !poll.granted.has(own)
        {
            poll.granted = poll.granted.with(own);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let (poll, real) = match &self.state {
            State::PreCandidate(poll) => (*poll, false),
            State::Candidate(poll) => (*poll, true),
            State::Follower | State::Leader(_) => return,
        };
        match self.configs.membership.tally(poll.granted, poll.rejected) {
            Tally::Pending => {}
            Tally::Lost => self.state = State::Follower,
            Tally::Won if real => self.become_leader(),
            Tally::Won => self.start_election(false),
        }
    }

    /// Follows in `term`, which may be the present one. Whatever was owed in an older term is not any
    /// more.
    pub(crate) fn become_follower(&mut self, term: Term) {
        if self.is_leader() {
            self.report(Event::SteppedDown { term: self.term });
            self.set_leader(None);
            self.reset_election_deadline();
        }
        self.state = State::Follower;
        self.wake_follower();
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.owed = Owed::default();
            self.set_leader(None);
            self.forget_floor();
            if mutant!(LeaseForgottenByTerm) {
                self.leader_heard = crate::Time(0);
            }
        }
    }

    fn become_leader(&mut self) {
        let noop = EntryId::new(self.term, self.log.last().index.next());
        let beat = self.next_beat(self.now);
        let membership = &self.configs.membership;
        let slots = (membership.nodes().len(), membership.slot(self.settings.node));
        self.state = State::Leader(Box::new(Leading::new(slots, noop, self.now, beat)));
        self.log.append(noop.term, noop.index);
        self.durability.appended();
        self.report(Event::BecameLeader { term: self.term, noop });
        self.set_leader(Some(self.settings.node));
    }

    fn up_to_date(&self, last: EntryId) -> bool {
        if mutant!(UpToDateByIndex) { last.index >= self.log.last().index } else { last >= self.log.last() }
    }

    pub(crate) fn step_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let free = !self.leader_lives(from) && !self.is_bound_by_lease();
        let free = free && (self.standing.votes() || mutant!(RecoveringVotes));
        let granted = term > self.term && free && self.up_to_date(last);
        let term = if granted { term } else { self.term };
        self.owed.answer(from, Answer::PreVote { term, granted });
        // Who asks keeps a timer: if it is a voter, this group is not at rest.
        if !granted && self.configs.membership.is_voter(from) {
            self.wake_leader();
        }
    }

    pub(crate) fn step_pre_vote_reply(&mut self, from: NodeId, term: Term, granted: bool) {
        let asked = self.term.next();
        if let State::PreCandidate(poll) = &mut self.state
            && (!granted || term == asked)
        {
            record(poll, self.configs.membership.slot(from), granted);
            self.count_votes();
        }
    }

    /// One vote per term (thesis 3.4), for a log that lacks nothing this one has (3.6.1). Whether a
    /// live leader forbids it was decided when the term was met.
    pub(crate) fn step_vote(&mut self, from: NodeId, last: EntryId, transfer: bool) {
        let bound = self.is_bound_by_lease() && !transfer;
        let able = self.standing.votes() || mutant!(RecoveringVotes);
        let deaf = mutant!(LearnersRefuseVotes) && !self.configs.membership.is_voter(self.settings.node);
        if bound || !able || deaf {
            self.owed.answer(from, Answer::VoteRefused);
            return;
        }
        let again = self.vote == Some(from);
        let free = (self.vote.is_none() || mutant!(VotesTwice)) && self.leader.is_none();
        if (again || free) && self.up_to_date(last) {
            self.vote = Some(from);
            self.reset_election_deadline();
            self.owed.answer(from, Answer::VoteGranted);
        } else {
            self.owed.answer(from, Answer::VoteRefused);
        }
    }

    pub(crate) fn step_vote_reply(&mut self, from: NodeId, granted: bool) {
        if let State::Candidate(poll) = &mut self.state {
            record(poll, self.configs.membership.slot(from), granted);
            self.count_votes();
        }
    }

    /// The leader hands over: campaign at once, without asking first. Void if this log is not the one
    /// the leader meant, as after a late delivery. No promise to a lease forbids it: this leader gave up its own
    /// before it asked, and those of leaders before it were over when it was elected.
    pub(crate) fn step_timeout_now(&mut self, from: NodeId, last: EntryId) {
        if self.is_leader() || self.leader.is_some_and(|leader| leader != from) {
            self.protocol(from, Problem::SecondLeader);
            return;
        }
        let meant = self.leader == Some(from) && last == self.log.last();
        if meant && self.standing == Standing::Joining {
            self.catch_up_ends(); // it has all that the leader has, and the leader takes it for a voter
        }
        if meant && self.may_lead() {
            self.start_election(true);
        }
    }

    /// Someone speaks in a term that is over: tell whoever would go on in it for lack of an answer.
    pub(crate) fn answer_old_term(&mut self, from: NodeId, body: &Body) {
        let answer = match body {
            Body::PreVote { .. } if mutant!(OldTermsUnanswered) => return,
            Body::PreVote { .. } => Answer::PreVote { term: self.term, granted: false },
            Body::Vote { .. } => Answer::VoteRefused,
            Body::Append { .. }
            | Body::Beat { .. }
            | Body::Quiesce { .. }
            | Body::SnapshotOffer { .. }
            | Body::TimeoutNow { .. } => Answer::NewerTerm,
            _ => return,
        };
        self.owed.answer(from, answer);
    }
}

/// Answers of non-members do not count, repeated ones count once, and the first one stands.
fn record(poll: &mut Poll, slot: Option<usize>, granted: bool) {
    let Some(slot) = slot else { return };
    let answered = Slots(poll.granted.0 | poll.rejected.0);
    if answered.has(slot) {
        return;
    }
    if granted {
        poll.granted = poll.granted.with(slot);
    } else {
        poll.rejected = poll.rejected.with(slot);
    }
}
