//! The replica: its state, its life, and the dispatch of messages. The parts of Raft are in the
//! modules beside it, each an `impl Raft`: `election`, `following`, `leading`, `snapshots`, `sending`.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::Config;
use crate::event::{Event, Fault, Problem, ReadId};
use crate::following::{Append, Owed};
use crate::id::{EntryId, GroupId, Index, NodeId, Term, Time, micros};
use crate::leading::Leading;
use crate::membership::Configurations;
use crate::message::{Accepted, Body, Message};
use crate::quorum::Slots;
use crate::random::Random;
use crate::recovery::Recovery;
use crate::settings::{HardState, Settings, Standing};
use crate::terms::Terms;
use crate::write::{Durability, Write};

/// Unread reports of peers' nonsense beyond this many are dropped: a peer must not fill memory.
const EVENTS_MAX: usize = 64;

/// One replica of one group: a pure state machine. Inputs are method calls, in any order; outputs
/// are pulled. The same calls give the same results, byte for byte.
///
/// A shard's turn calls [`step`](Raft::step), [`propose`](Raft::propose) and [`read`](Raft::read)
/// as input comes, writes the accepted entries to its log, and at the end of the turn pulls:
/// events, [`take_write`](Raft::take_write), the messages each link has room for, reads, and what
/// is committed. When the write is durable it goes back through [`persisted`](Raft::persisted).
/// For each link, pull appends before messages: an append carries the commit index and the round,
/// and no beat is owed after it.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) settings: Rc<Settings>,
    pub(crate) group: GroupId,
    /// The newest moment handed in.
    pub(crate) now: Time,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) state: State,
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard.
    pub(crate) leader_heard: Time,
    pub(crate) log: Terms,
    /// The log up to `index` is the same as that of `term`'s leader. Acks and commits speak of this,
    /// never of the end of the log, which may hold entries of leaders before it.
    pub(crate) accepted: EntryId,
    pub(crate) commit: Index,
    pub(crate) applied: Index,
    /// When the commit index is to be recorded, if it is not.
    pub(crate) commit_due: Time,
    pub(crate) durability: Durability,
    pub(crate) configs: Configurations,
    pub(crate) election_deadline: Time,
    pub(crate) owed: Owed,
    pub(crate) last_read: ReadId,
    pub(crate) standing: Standing,
    pub(crate) recovery: Option<Box<Recovery>>,
    /// At rest: no timer, no message, until somebody wakes it.
    pub(crate) quiesced: bool,
    /// Follower: beats of this and earlier rounds were sent before the leader came to rest.
    pub(crate) quiesced_round: u64,
    /// A promise to a leader's lease from before the last restart may hold until then.
    pub(crate) vote_not_before: Time,
    pub(crate) random: Random,
    pub(crate) events: VecDeque<Event>,
}

/// What a replica is, with what only that needs.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Follower,
    PreCandidate(Poll),
    Candidate(Poll),
    Leader(Box<Leading>),
}

/// An election in progress: who was not asked yet, and who answered what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Poll {
    pub(crate) to_ask: Slots,
    pub(crate) granted: Slots,
    pub(crate) rejected: Slots,
    pub(crate) transfer: bool,
}

impl Raft {
    /// Takes a message from `from`. What the message makes the log hold is returned: the shard must
    /// add those entries to its log before it calls [`Raft::take_write`]. `configs` are the configurations among an
    /// append's entries, each with its index, ascending: the one kind of entry whose content the core must know.
    ///
    /// No message can make this panic. One that no correct peer sends is dropped and reported as
    /// [`Event::Protocol`]; one that proves a contradiction in committed history ends in
    /// [`Event::Faulted`].
    pub fn step(
        &mut self,
        now: Time,
        from: NodeId,
        message: Message,
        configs: &[(Index, Config)],
    ) -> Option<Accepted> {
        self.hear(now);
        if self.is_faulted() {
            return None;
        }
        if message.group != self.group || from == self.settings.node {
            self.protocol(from, Problem::WrongGroup);
            return None;
        }
        if message.term > Term::MAX || message.body.last_named() > Index::MAX {
            self.protocol(from, Problem::BeyondMax);
            return None;
        }
        if !self.meet_term(from, &message) {
            return None;
        }
        match message.body {
            Body::PreVote { last } => self.step_pre_vote(from, message.term, last),
            Body::PreVoteReply { granted } => self.step_pre_vote_reply(from, message.term, granted),
            Body::Vote { last, transfer } => self.step_vote(from, last, transfer),
            Body::VoteReply { granted } => self.step_vote_reply(from, granted),
            Body::Append { prev, last, ref runs, entries_bytes, commit, round } => {
                let append = Append { prev, last, runs, entries_bytes, commit, round };
                return self.step_append(from, &append, configs);
            }
            Body::AppendAck { matched, round, lease, stands } => {
                self.learn_standing(from, stands);
                self.learn_lease(from, round, lease);
                self.step_append_ack(from, matched, round);
            }
            Body::AppendReject { probe, hint, round } => self.step_append_reject(from, probe, hint, round),
            Body::AppendBusy { round } => self.step_append_busy(from, round),
            Body::Beat { commit, round } => self.step_beat(from, commit, round),
            Body::BeatAck { round, proven, lease } => {
                self.learn_lease(from, round, lease);
                self.step_beat_ack(from, round, proven);
            }
            Body::Quiesce { last, round } => self.step_quiesce(from, last, round),
            Body::Recover { nonce } => self.step_recover(from, nonce),
            Body::RecoverFloor { nonce, last } => self.step_recover_floor(from, nonce, last),
            Body::SnapshotOffer { id } => self.step_snapshot_offer(from, id),
            Body::SnapshotAck { id, installed } => self.step_snapshot_ack(from, id, installed),
            Body::TimeoutNow { last } => self.step_timeout_now(from, last),
        }
        None
    }

    /// Compares the message's term with ours and does what the difference asks for. False: the
    /// message is dealt with.
    fn meet_term(&mut self, from: NodeId, message: &Message) -> bool {
        if mutant!(OldAcksCount) && matches!(message.body, Body::AppendAck { .. }) && message.term < self.term
        {
            return true;
        }
        if message.term < self.term {
            self.answer_old_term(from, &message.body);
            return false;
        }
        if message.term == self.term {
            return true;
        }
        match message.body {
            // Asking changes nothing, and the grant of a pre-vote repeats the term asked about.
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => true,
            Body::Vote { transfer: false, .. } if self.leader_lives(from) || self.is_bound_by_lease() => {
                false
            }
            _ => {
                self.become_follower(message.term);
                true
            }
        }
    }

    /// Does what is due. Before [`Raft::deadline`] nothing is.
    pub fn tick(&mut self, now: Time) {
        self.hear(now);
        if self.is_faulted() {
            return;
        }
        if self.now >= self.commit_due {
            self.commit_due = Time::NEVER;
            if self.recordable_commit() > self.durability.commit_issued() {
                self.durability.record_commit();
            }
        }
        if self.is_leader() {
            if !self.quiesced {
                self.tick_leader();
            }
        } else if self.now >= self.election_deadline {
            self.election_timeout();
        }
    }

    /// When [`Raft::tick`] next has something to do. It moves with every input.
    #[must_use]
    pub fn deadline(&self) -> Time {
        if self.is_faulted() {
            return Time::NEVER;
        }
        let own = match &self.state {
            State::Leader(_) if self.quiesced => Time::NEVER,
            State::Leader(leading) => leading.deadline(),
            _ => self.election_deadline,
        };
        own.min(self.commit_due)
    }

    /// Takes back a write whose log batch is durable, and so all writes before it: releases the
    /// votes and acks that waited for it, and on a leader may commit.
    ///
    /// # Panics
    /// If the write is another replica's.
    #[inline]
    pub fn persisted(&mut self, write: Write) {
        self.durability.complete(&write);
        if self.is_faulted() {
            return;
        }
        if let Some(id) = self.durability.take_installed() {
            self.owed.set_snapshot(Some((id, true)));
        }
        self.check_recovered();
        self.count_own_vote();
        if self.durability.persisted() > self.commit {
            self.commit_by_quorum();
        }
    }

    /// The state machine has applied everything up to `to`.
    ///
    /// # Panics
    /// If that is more than is committed.
    #[inline]
    pub fn applied(&mut self, to: Index) {
        assert!(to <= self.commit, "applied {to} of {} committed", self.commit);
        self.applied = self.applied.max(to);
    }

    /// What must become durable, as of now, if anything: take it at the end of a turn, after the
    /// entries it covers went to the log, and hand it back to [`Raft::persisted`] in order.
    #[inline]
    pub fn take_write(&mut self) -> Option<Write> {
        let hard_state = HardState {
            term: self.term,
            vote: self.vote,
            commit: self.recordable_commit(),
            standing: self.standing,
        };
        if self.is_faulted() && self.durability.standing_issued() == Standing::Faulted {
            return None;
        }
        self.durability.take(hard_state, self.log.last())
    }

    /// The recorded commit index stops at what a restart will find.
    fn recordable_commit(&self) -> Index {
        self.commit.min(self.durability.persisted().max(self.log.compacted().index))
    }

    /// Raises the commit index; it never falls.
    pub(crate) fn advance_commit(&mut self, to: Index) {
        if to <= self.commit && !mutant!(CommitRegresses) {
            return;
        }
        self.commit = to;
        if self.commit_due == Time::NEVER {
            self.commit_due = self.next_beat(self.now + self.settings.election_timeout_min);
        }
        if self.configs.commit(to) {
            let config = self.configs.membership.config();
            self.report(Event::ConfigCommitted { index: self.configs.index, config });
        }
        self.follow_configuration();
    }

    /// The first multiple of the beat interval after `time`: all groups of a shard wake together.
    pub(crate) fn next_beat(&self, time: Time) -> Time {
        let interval = micros(self.settings.beat_interval).max(1);
        Time((time.0 / interval).saturating_add(1).saturating_mul(interval))
    }

    /// Time never runs backwards here, whatever is handed in.
    #[inline]
    pub(crate) fn hear(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(crate) fn report(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Whether `event` waits to be taken.
    pub(crate) fn has_event(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    pub(crate) fn protocol(&mut self, from: NodeId, problem: Problem) {
        if self.events.len() < EVENTS_MAX {
            self.report(Event::Protocol { from, problem });
        }
    }

    /// Stops for good: what is known contradicts itself.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.become_follower(self.term);
        self.set_leader(None);
        self.owed = Owed::default();
        self.wake_follower();
        self.standing = Standing::Faulted;
        self.report(Event::Faulted { fault });
    }

    pub(crate) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            self.report(Event::LeaderChanged { leader });
        }
    }

    pub(crate) fn message(&self, body: Body) -> Message {
        Message { group: self.group, term: self.term, body }
    }

    /// The next thing that happened, in order.
    #[inline]
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the replica stopped for a contradiction.
    #[inline]
    pub(crate) fn is_faulted(&self) -> bool {
        self.standing == Standing::Faulted
    }

    /// Gives back memory that a resting replica does not need.
    pub(crate) fn shrink(&mut self) {
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        if let State::Leader(leading) = &mut self.state {
            leading.shrink();
        }
    }
}
