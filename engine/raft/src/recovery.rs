//! A replica that may have lost entries it acknowledged, and how it comes back.
//!
//! It asks its leader how far it has to come, which also makes the leader forget what it acknowledged, and takes
//! entries as any follower. Until it has come that far it neither votes nor campaigns: so nobody is elected by the
//! word of a replica that has forgotten what it promised to keep. Everything it ever acknowledged that may be
//! committed is in the log of any leader of its term or later, at most at that leader's end when it answers.

use crate::event::Event;
use crate::following::Owed;
use crate::id::{EntryId, Index, NodeId, Time};
use crate::progress::Progress;
use crate::replica::{Raft, State};
use crate::settings::Standing;

/// How far a recovering replica is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// Names the question: an answer to one of an earlier start is none.
    nonce: u64,
    ask_due: bool,
    /// Where the leader's log ended when it answered.
    floor: Option<Index>,
}

impl Raft {
    /// This replica may have lost entries that it acknowledged, but neither its term nor its vote: from now on, and
    /// after a restart, it is [`Standing::Recovering`] until it has caught up with a leader. It says nothing before
    /// that standing is durable. (A replica whose term and vote may be lost can never be trusted again: its node must
    /// be removed and added as a new one.)
    pub fn recover(&mut self, now: Time) {
        self.hear(now);
        if self.standing.votes() {
            self.become_follower(self.term);
            self.standing = Standing::Recovering;
            self.start_recovery();
        }
    }

    /// The entries from `from` on cannot be read any more, whoever acknowledged them: the log ends before them, and this replica
    /// recovers as after [`Raft::recover`]. What it knew to be committed beyond is forgotten with them. The shard's log must end
    /// there, too, before anything that comes after is written.
    ///
    /// # Panics
    /// If one of them is applied: then the state machine has it, and a snapshot of it is what the log needs.
    pub fn lose_from(&mut self, now: Time, from: Index) {
        assert!(from > self.applied, "losing {from}, applied to {}", self.applied);
        self.hear(now);
        if self.is_faulted() || from > self.log.last().index {
            return;
        }
        self.become_follower(self.term);
        self.set_leader(None);
        self.owed = Owed::default();
        self.accepted = EntryId::ZERO;
        self.log.truncate_from(from);
        self.configs.lose_from(from);
        self.durability.truncated(from.previous());
        self.commit = self.commit.min(from.previous());
        self.standing = Standing::Recovering;
        self.start_recovery();
    }

    /// Whether nobody else votes: what this replica loses nobody can give back.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.configs.membership.is_alone(self.settings.node)
    }

    pub(crate) fn start_recovery(&mut self) {
        let nonce = self.random.draw() ^ self.now.0;
        self.recovery = Some(Box::new(Recovery { nonce, ask_due: true, floor: None }));
    }

    /// The question to the leader, if one is due.
    pub(crate) fn floor_question(&self) -> Option<u64> {
        let recovery = self.recovery.as_ref()?;
        (recovery.ask_due && recovery.floor.is_none()).then_some(recovery.nonce)
    }

    pub(crate) fn floor_asked(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.ask_due = false;
        }
    }

    /// The leader is there: ask it, again at each of its messages while it has not answered. (A leader that believes what
    /// this replica acknowledged before its loss sends it appends only, and takes no rejection of them.)
    pub(crate) fn ask_for_floor(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.ask_due = true;
        }
    }

    /// A new term: what its leader holds may be less than what the one before it held and never committed.
    pub(crate) fn forget_floor(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            (recovery.floor, recovery.ask_due) = (None, true);
        }
    }

    /// A follower has lost entries: what it acknowledged is void.
    pub(crate) fn step_recover(&mut self, from: NodeId, nonce: u64) {
        self.wake_leader();
        let (now, next) = (self.now, self.log.last().index);
        let Some(slot) = self.configs.membership.slot(from) else { return };
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peers.get_mut(slot) else { return };
        *peer = Progress::new(next, now);
        peer.floor_due = Some(nonce);
        self.check_reach(slot);
    }

    /// A follower says whether it has caught up.
    pub(crate) fn learn_standing(&mut self, from: NodeId, stands: bool) {
        if let Some(slot) = self.configs.membership.slot(from)
            && let State::Leader(leading) = &mut self.state
            && let Some(peer) = leading.peers.get_mut(slot)
        {
            peer.stands = stands;
        }
    }

    pub(crate) fn step_recover_floor(&mut self, from: NodeId, nonce: u64, last: Index) {
        if self.leader != Some(from) {
            return;
        }
        if let Some(recovery) = self.recovery.as_mut().filter(|recovery| recovery.nonce == nonce) {
            recovery.floor = recovery.floor.max(Some(last));
            self.check_recovered();
        }
    }

    pub(crate) fn catch_up_ends(&mut self) {
        self.standing = Standing::Normal;
        self.recovery = None;
        self.report(Event::Recovered);
    }

    /// Whether the replica has come as far as it had to, durably and with the leader's entries.
    pub(crate) fn check_recovered(&mut self) {
        let Some(floor) = self.recovery.as_ref().and_then(|recovery| recovery.floor) else { return };
        let caught_up = self.accepted.term == self.term
            && (self.accepted.index >= floor || mutant!(RecoversTooEarly))
            && (self.durability.persisted() >= floor || mutant!(RecoversTooEarly))
            && self.standing.is_behind();
        if caught_up {
            self.catch_up_ends();
        }
    }
}
