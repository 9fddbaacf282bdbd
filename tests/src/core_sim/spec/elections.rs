//! Who may lead (thesis 3.4, 3.6, 9.6, 3.10).

use raft::{Body, EntryId, NodeId, Role, Standing, Term, Time};

use super::super::input::Envelope;
use super::super::violation::require;
use super::{Replica, Witness, is_quorum, micros};

const CHECK: &str = "spec::elections";

impl Replica {
    /// Whether no vote may go to anyone but the leader, because it was heard so lately, or because it
    /// rests and nobody has said that it is gone. A leader that asks for votes itself leads no more.
    pub(super) fn leader_lives(&self, now: Time, asker: NodeId) -> bool {
        let fresh = now < self.heard + self.settings.election_timeout_min;
        let other = self.leader.is_some_and(|leader| leader != asker);
        self.leader == Some(self.id) || other && (fresh || self.resting.is_some())
    }

    /// Whether some leader may serve reads by a lease that rests on this replica's word, given in this
    /// run or the one before (6.4.1).
    pub(super) fn is_bound_by_lease(&self, now: Time) -> bool {
        if self.settings.lease.is_none() {
            return false;
        }
        // Longer than the lease, by what clocks may differ.
        let promise = self.settings.election_timeout_min;
        let heard = self.heard > Time(0) && now < self.heard + promise;
        heard || self.remembers_a_term && now < self.started + promise
    }

    /// Follows in `term`, which may be the present one.
    pub(super) fn become_follower(&mut self, term: Term) {
        if self.role == Role::Leader {
            self.leader = None;
        }
        self.role = Role::Follower;
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.leader = None;
            self.promised.clear();
        }
    }

    /// A timer fired. Whether it was due is the core's choice: elections are never wrong, only vain;
    /// but a core that does not wait for the leader it has heard unseats good leaders.
    pub(super) fn tick(&mut self, now: Time, seen: &Witness) {
        if self.role == Role::Leader {
            self.tick_leader(now, seen);
            return;
        }
        let campaigns = matches!(seen.raft.role(), Role::PreCandidate | Role::Candidate);
        let silent = now >= self.heard + self.settings.election_timeout_min || self.lost;
        if campaigns && (seen.raft.role() != self.role || seen.raft.term() != self.term) {
            let waited = self.leader.is_none() || silent;
            require!(waited, CHECK, "{} campaigns while {:?} lives", self.id, self.leader);
            self.ask_first(now);
        } else if self.leader.is_some() && seen.raft.leader().is_none() {
            require!(silent, CHECK, "{} forgets a leader that lives", self.id);
            self.leader = None;
        }
    }

    pub(super) fn campaign_if_told(&mut self, now: Time, seen: &Witness) {
        if self.role == Role::Follower && seen.raft.role() != Role::Follower {
            self.ask_first(now);
        }
    }

    /// PreVote: asks whether an election would be won, and changes nothing durable.
    fn ask_first(&mut self, now: Time) {
        require!(self.may_campaign(now), CHECK, "{} campaigns and may not", self.id);
        self.role = Role::PreCandidate;
        self.leader = None;
        self.grants = [self.id].into();
        self.refusals.clear();
    }

    /// The end of a PreVote is looked up, for the core may ask again and forget earlier answers; but it
    /// stands only if a quorum has said yes, and gives up only if that cannot be.
    pub(super) fn end_pre_vote(&mut self, seen: &Witness) {
        if self.role != Role::PreCandidate {
            return;
        }
        let config = self.config();
        match seen.raft.role() {
            Role::Candidate => {
                let won = is_quorum(&config, |node| self.grants.contains(&node));
                require!(won, CHECK, "{} stands with pre-votes of {:?} only", self.id, self.grants);
                self.stand(false);
            }
            Role::Follower => {
                let lost = !is_quorum(&config, |node| !self.refusals.contains(&node));
                require!(lost, CHECK, "{} gives up, refused by {:?} only", self.id, self.refusals);
                self.role = Role::Follower;
            }
            Role::PreCandidate | Role::Leader => {}
        }
    }

    /// The election itself: a new term, and a vote for itself that counts once it is durable.
    fn stand(&mut self, by_transfer: bool) {
        self.become_follower(Term(self.term.0 + 1));
        self.role = Role::Candidate;
        self.leader = None;
        self.vote = Some(self.id);
        self.grants.clear();
        self.refusals.clear();
        self.by_transfer = by_transfer;
    }

    pub(super) fn may_campaign(&self, now: Time) -> bool {
        self.standing == Standing::Normal && self.is_promotable() && !self.is_bound_by_lease(now)
    }

    pub(super) fn count_own_vote(&mut self, now: Time) {
        if self.role == Role::Candidate && self.vote == Some(self.id) && self.vote_is_durable() {
            self.grants.insert(self.id);
            self.count(now);
        }
    }

    fn count(&mut self, now: Time) {
        if self.role != Role::Candidate {
            return;
        }
        let config = self.config();
        if is_quorum(&config, |node| self.grants.contains(&node)) {
            self.lead(now);
        } else if !is_quorum(&config, |node| !self.refusals.contains(&node)) {
            self.role = Role::Follower;
        }
    }

    /// The first answer of each stands.
    fn answered(&mut self, now: Time, from: NodeId, granted: bool) {
        if !self.grants.contains(&from) && !self.refusals.contains(&from) {
            if granted {
                self.grants.insert(from)
            } else {
                self.refusals.insert(from)
            };
            self.count(now);
        }
    }

    /// A message arrives. `refused`: there was no room for entries that are not there yet.
    pub(super) fn receive(&mut self, now: Time, envelope: &Envelope, refused: bool) {
        let (from, message) = (envelope.from.0, &envelope.message);
        if self.standing == Standing::Faulted || message.term < self.term {
            return;
        }
        if message.term > self.term {
            match message.body {
                Body::PreVote { .. } | Body::PreVoteReply { granted: true } => {}
                Body::Vote { transfer: false, .. }
                    if self.leader_lives(now, from) || self.is_bound_by_lease(now) =>
                {
                    return;
                }
                _ => self.become_follower(message.term),
            }
        }
        match &message.body {
            Body::PreVote { last } => self.pre_vote(now, from, message.term, *last),
            Body::PreVoteReply { granted } => {
                let asked = Term(self.term.0 + 1);
                if self.role == Role::PreCandidate && (!granted || message.term == asked) {
                    if *granted {
                        self.grants.insert(from)
                    } else {
                        self.refusals.insert(from)
                    };
                }
            }
            Body::Vote { last, transfer } => self.vote(now, from, *last, *transfer),
            Body::VoteReply { granted } if self.role == Role::Candidate => {
                self.answered(now, from, *granted);
            }
            Body::VoteReply { .. } => {}
            Body::TimeoutNow { last } => self.timeout_now(from, *last),
            _ => self.replicate(now, envelope, refused),
        }
    }

    fn pre_vote(&mut self, now: Time, from: NodeId, term: Term, last: EntryId) {
        let up_to_date = (last.term, last.index.0) >= self.newest();
        let votes = matches!(self.standing, Standing::Normal | Standing::Joining);
        let free = votes && !self.is_bound_by_lease(now);
        if term > self.term && up_to_date && free && !self.leader_lives(now, from) {
            self.promised.insert((from, term));
        } else {
            self.promised.remove(&(from, term));
        }
    }

    /// One vote per term (3.4), for a log that lacks nothing this one has (3.6.1), and none from a
    /// replica that may have forgotten what it acknowledged.
    fn vote(&mut self, now: Time, from: NodeId, last: EntryId, by_transfer: bool) {
        let free = self.vote.is_none() && self.leader.is_none();
        let up_to_date = (last.term, last.index.0) >= self.newest();
        let votes = matches!(self.standing, Standing::Normal | Standing::Joining);
        let normal = votes && (by_transfer || !self.is_bound_by_lease(now));
        if (free || self.vote == Some(from)) && up_to_date && normal {
            self.vote = Some(from);
        }
    }

    /// The leader hands over, if this log is still the one it meant. No lease forbids it: the leader gave
    /// its own up before it asked.
    fn timeout_now(&mut self, from: NodeId, last: EntryId) {
        let meant = self.leader == Some(from) && (last.term, last.index.0) == self.newest();
        if meant && self.standing == Standing::Joining {
            self.standing = Standing::Normal; // it has all that the leader has
        }
        if meant && self.standing == Standing::Normal && self.is_promotable() {
            self.stand(true);
        }
    }

    fn lead(&mut self, now: Time) {
        self.role = Role::Leader;
        self.leader = Some(self.id);
        self.matched.clear();
        self.member_heard.clear();
        (self.led_since, self.settled, self.quiet_until) = (now, None, now);
        self.beat_due = now;
        self.append_noop();
    }

    /// Whether no quorum of the members was heard since `since`.
    fn is_silent(&self, since: Time) -> bool {
        let lately = |node: NodeId| {
            let heard = self.member_heard.get(&node).copied().unwrap_or(self.led_since);
            node == self.id || heard > since
        };
        !is_quorum(&self.config(), lately)
    }

    fn disk_hangs(&self, since: Time) -> bool {
        self.waiting_since.is_some_and(|waiting| waiting <= since)
    }

    /// A leader steps down if it hears no quorum for an election timeout (CheckQuorum), if its disk hangs
    /// for as long, or if it has no vote in a committed configuration. When exactly is the core's choice; that it does is not.
    pub(super) fn step_down_if_core_did(&mut self, now: Time, seen: &Witness) {
        if self.role != Role::Leader {
            return;
        }
        if seen.raft.is_quiesced() || self.resting.is_some() {
            (self.led_since, self.settled, self.beat_due) = (now, None, now);
        }
        let timeout = micros(self.settings.election_timeout_min);
        let before = |wait: u64| Time(now.0.saturating_sub(wait));
        if seen.raft.role() == Role::Follower && seen.raft.term() == self.term {
            let silent = self.is_silent(before(timeout)) || self.disk_hangs(before(timeout));
            require!(silent || self.is_outside(), CHECK, "{} steps down without a reason", self.id);
            self.become_follower(self.term);
        }
    }

    /// The timer of a leader fired and it goes on leading: then it heard a quorum, not too long ago.
    fn tick_leader(&mut self, now: Time, seen: &Witness) {
        let beat = micros(self.settings.beat_interval);
        if now < self.beat_due {
            return;
        }
        self.beat_due = Time((now.0 / beat + 1) * beat);
        if !self.writes.is_empty() {
            self.waiting_since = self.waiting_since.or(Some(now));
        }
        let patience = micros(self.settings.election_timeout_min) + 2 * beat;
        let Some(settled) = self.settled else {
            self.settled = (now.0 >= self.led_since.0 + 2 * beat).then_some(now);
            return;
        };
        let since = Time(now.0.saturating_sub(patience));
        let counted = since > settled && since > self.quiet_until;
        if counted && seen.raft.role() == Role::Leader {
            require!(!self.is_silent(since), CHECK, "{} leads and hears no quorum", self.id);
            require!(!self.disk_hangs(since), CHECK, "{} leads and its disk hangs", self.id);
        }
    }

    pub(super) fn leader_of_the_term(&mut self, now: Time, from: NodeId) {
        let other = self.leader.is_some_and(|leader| leader != from);
        require!(!other && self.role != Role::Leader, CHECK, "{} hears a second leader, {from}", self.id);
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = now;
        (self.lost, self.resting) = (false, None);
    }
}
