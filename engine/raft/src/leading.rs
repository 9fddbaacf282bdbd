//! The leader's side: proposing, replicating, committing, reading, handing over.

use crate::event::{Problem, ProposeError, ReadError, ReadId, TransferError};
use crate::id::{EntryId, Index, NodeId, Time};
use crate::lease::Lease;
use crate::peers::Peers;
use crate::progress::Progress;
use crate::quota::Quota;
use crate::reads::Reads;
use crate::replica::{Raft, State};

/// What only a leader needs; followers do not pay for it.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    pub(crate) peers: Peers,
    /// The term's first entry: nothing is served before it is committed.
    pub(crate) noop: EntryId,
    pub(crate) lease: Lease,
    /// When somebody last asked for something.
    pub(crate) active_at: Time,
    /// The round in which the group came to rest: an answer to it comes from a follower that did not.
    pub(crate) quiesced_round: u64,
    pub(crate) reads: Reads,
    pub(crate) transfer: Option<Transfer>,
    beat_deadline: Time,
    /// Whether a beat has passed. An election may end on a clock read long ago (a slow sync), so
    /// silence is counted from the first beat on.
    settled: bool,
    quota: Quota,
}

/// Leadership on its way to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    pub(crate) deadline: Time,
    pub(crate) sent: bool,
    /// The leader is no voter any more, and steps down in any case.
    pub(crate) resigning: bool,
}

impl Leading {
    /// Leads a group of `len` slots since `now`.
    pub(crate) fn new(
        (len, own): (usize, Option<usize>),
        noop: EntryId,
        now: Time,
        beat_deadline: Time,
    ) -> Leading {
        Leading {
            peers: Peers::new(len, own, |_| Progress::new(noop.index, now)),
            noop,
            lease: Lease::default(),
            active_at: now,
            quiesced_round: 0,
            reads: Reads::default(),
            transfer: None,
            beat_deadline,
            settled: false,
            quota: Quota::default(),
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        self.transfer.map_or(self.beat_deadline, |transfer| transfer.deadline.min(self.beat_deadline))
    }

    /// A group that rested wakes: silence counts from the next beat on, which is due at once.
    pub(crate) fn wake(&mut self, now: Time) {
        self.settled = false;
        self.beat_deadline = now;
        for (_, peer) in self.peers.iter_mut() {
            peer.quiesce_due = false;
            peer.heard = peer.heard.max(now);
        }
    }

    /// Gives back memory that a resting group does not need.
    pub(crate) fn shrink(&mut self) {
        self.reads.shrink();
        self.lease.shrink();
        self.quota.shrink();
        self.peers.iter_mut().for_each(|(_, peer)| peer.shrink());
    }

    pub(crate) fn transferring_to(&self) -> Option<NodeId> {
        self.transfer.map(|transfer| transfer.to)
    }
}

impl Raft {
    /// Appends `count` entries of `bytes` in all to the leader's log and returns the id of the first;
    /// the others follow it in the same term. The shard adds them to its log before
    /// [`Raft::take_write`]. They are to be sent from now on, even before they are durable here.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing was appended.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn propose(&mut self, count: u64, bytes: u64) -> Result<EntryId, ProposeError> {
        assert!(count > 0, "a proposal has entries");
        self.wake_leader();
        let bytes_max = self.settings.uncommitted_bytes_max;
        let State::Leader(leading) = &mut self.state else {
            return Err(ProposeError::NotLeader { leader: self.leader });
        };
        if leading.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        let first = EntryId::new(self.term, self.log.last().index.next());
        let last = Index(first.index.0.saturating_add(count - 1));
        if !leading.quota.fits(bytes, bytes_max) || last > Index::MAX {
            return Err(ProposeError::Full);
        }
        leading.quota.add(last, bytes, bytes_max);
        self.log.append(self.term, last);
        self.durability.appended();
        Ok(first)
    }

    /// Takes a linearizable read: it may be served when [`Raft::take_reads`] names its id or a later
    /// one, at the index named with it. If this replica steps down first ([`crate::Event::SteppedDown`]),
    /// never.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`]: ask the leader.
    pub fn read(&mut self, now: Time) -> Result<ReadId, ReadError> {
        self.hear(now);
        self.wake_leader();
        let holds = self.is_lease_valid();
        let commit = self.commit;
        let State::Leader(leading) = &mut self.state else {
            return Err(ReadError::NotLeader { leader: self.leader });
        };
        self.last_read = ReadId(self.last_read.0 + 1);
        leading.reads.park(self.last_read);
        if holds {
            leading.reads.confirm_all(self.last_read, commit);
        } else {
            self.confirm_alone();
        }
        Ok(self.last_read)
    }

    /// All reads up to the id are confirmed and may be served once the index is applied. `None` when
    /// there is nothing new.
    #[inline]
    pub fn take_reads(&mut self) -> Option<(ReadId, Index)> {
        match &mut self.state {
            State::Leader(leading) => leading.reads.take_confirmed(),
            _ => None,
        }
    }

    /// Hands leadership to `to`: proposals are refused from now on, and `to` is told to campaign as
    /// soon as it has everything. After an election timeout the leader gives up and goes on. A second
    /// call for the same node changes nothing, one for another replaces it.
    ///
    /// # Errors
    /// [`TransferError`]; nothing has changed.
    pub fn transfer(&mut self, now: Time, to: NodeId) -> Result<(), TransferError> {
        self.hear(now);
        self.wake_leader();
        let deadline = self.now + self.settings.election_timeout_min;
        let State::Leader(leading) = &mut self.state else {
            return Err(TransferError::NotLeader { leader: self.leader });
        };
        if to == self.settings.node || !self.configs.membership.stays_voter(to) {
            return Err(TransferError::NotAVoter { to });
        }
        if leading.transferring_to() != Some(to) {
            let resigning = leading.transfer.is_some_and(|transfer| transfer.resigning);
            leading.transfer = Some(Transfer { to, deadline, sent: false, resigning });
        }
        Ok(())
    }

    /// Whether the term's first entry is committed, so that the commit index is the newest there is.
    pub(crate) fn commit_is_current(&self, leading: &Leading) -> bool {
        leading.noop.index <= self.commit || mutant!(ReadsBeforeNoop)
    }

    /// Opens a round if reads wait for one.
    pub(crate) fn open_round(&mut self) {
        let (commit, now) = (self.commit, self.now);
        if let State::Leader(leading) = &mut self.state
            && (leading.noop.index <= commit || mutant!(ReadsBeforeNoop))
            && leading.reads.wants_round()
        {
            leading.reads.open_round(commit);
            leading.lease.opened(leading.reads.round(), now, self.settings.lease);
        }
    }

    /// If this replica is a quorum by itself, a read needs nobody else's word.
    fn confirm_alone(&mut self) {
        let State::Leader(leading) = &self.state else { return };
        if leading.reads.are_waiting() && self.configs.membership.is_alone(self.settings.node) {
            self.open_round();
            self.confirm_reads();
        }
    }

    pub(crate) fn confirm_reads(&mut self) {
        let State::Leader(leading) = &mut self.state else { return };
        if leading.reads.awaited() == 0 {
            return;
        }
        let newest = leading.reads.round();
        let acked = |slot| leading.peers.get(slot).map_or(newest, |peer| peer.round_acked);
        leading.reads.confirm(self.configs.membership.quorum_value(acked));
    }

    /// Commits what a quorum holds durably, this replica among it only with what it persisted. Only
    /// entries of this term are counted; those before them come along (thesis 3.6.2).
    pub(crate) fn commit_by_quorum(&mut self) {
        if !self.is_leader() {
            return;
        }
        let persisted =
            if mutant!(LeaderCountsUnsynced) { self.log.last().index } else { self.durability.persisted() };
        let State::Leader(leading) = &mut self.state else { return };
        let held = |slot| leading.peers.get(slot).map_or(persisted, |peer| peer.matched).0;
        let index = Index(self.configs.membership.quorum_value(held));
        if index <= self.commit || (!mutant!(OldTermsCommit) && self.log.term_at(index) != Some(self.term)) {
            return;
        }
        leading.quota.release(if mutant!(QuotaLeaks) { Index::ZERO } else { index });
        self.advance_commit(index);
        self.confirm_alone();
    }

    /// A beat's moment, or the end of a transfer that failed.
    pub(crate) fn tick_leader(&mut self) {
        let (now, commit) = (self.now, self.commit);
        let next = self.next_beat(now);
        let State::Leader(leading) = &mut self.state else { return };
        if let Some(transfer) = leading.transfer.filter(|transfer| now >= transfer.deadline) {
            leading.transfer = None;
            if transfer.resigning {
                self.become_follower(self.term);
                return;
            }
        }
        let State::Leader(leading) = &mut self.state else { return };
        if now < leading.beat_deadline {
            return;
        }
        leading.beat_deadline = next;
        if !core::mem::replace(&mut leading.settled, true) {
            leading.peers.iter_mut().for_each(|(_, peer)| peer.heard = peer.heard.max(now));
            leading.active_at = now;
        }
        leading.reads.next_round();
        leading.lease.opened(leading.reads.round(), now, self.settings.lease);
        for (_, peer) in leading.peers.iter_mut() {
            let silent = now.saturating_sub(peer.sent) >= self.settings.beat_interval;
            peer.beat(silent, commit);
        }
        let heard = |slot| leading.peers.get(slot).map_or(now, |peer| peer.heard).0;
        let quorum_heard = Time(self.configs.membership.quorum_value(heard));
        let patience = self.settings.election_timeout_min;
        let hung = self.durability.waiting(now) >= patience && !mutant!(HungDiskLeads);
        let alone = now.saturating_sub(quorum_heard) >= patience && !mutant!(LeadsWithoutQuorum);
        if hung || alone {
            self.become_follower(self.term);
        } else {
            self.ask_for_snapshots();
            self.quiesce_if_idle();
        }
    }

    /// The follower that answered, heard now. `None`, and nothing else may be believed, if this is no
    /// leader, the sender no member, or the answer impossible.
    fn answering(&mut self, from: NodeId, round: u64) -> Option<(&mut Progress, usize)> {
        let now = self.now;
        let slot = self.configs.membership.slot(from)?;
        let State::Leader(leading) = &mut self.state else { return None };
        if round > leading.reads.round() {
            self.protocol(from, Problem::RoundBeyondLast);
            return None;
        }
        if self.quiesced && round >= leading.quiesced_round {
            self.wake_leader();
        }
        let State::Leader(leading) = &mut self.state else { return None };
        let acked = if mutant!(StaleRoundConfirms) { leading.reads.round() } else { round };
        let peer = leading.peers.get_mut(slot)?;
        peer.heard = now;
        peer.round_acked = peer.round_acked.max(acked);
        Some((peer, slot))
    }

    pub(crate) fn step_beat_ack(&mut self, from: NodeId, round: u64, proven: bool) {
        let Some((peer, slot)) = self.answering(from, round) else { return };
        if !proven {
            peer.unproven();
        }
        self.confirm_reads();
        self.check_reach(slot);
    }

    pub(crate) fn step_append_ack(&mut self, from: NodeId, matched: Index, round: u64) {
        let (last, compacted) = (self.log.last().index, self.log.compacted().index);
        if self.is_leader() && matched > last {
            self.protocol(from, Problem::AckBeyondLog);
            return;
        }
        let Some((peer, slot)) = self.answering(from, round) else { return };
        let news = peer.acked(matched, compacted);
        self.confirm_reads();
        self.check_reach(slot);
        if news && matched > self.commit {
            self.commit_by_quorum();
        }
    }

    pub(crate) fn step_append_reject(&mut self, from: NodeId, probe: Index, hint: EntryId, round: u64) {
        // One answer skips a whole term on each side: the follower named its newest entry that the
        // probe's term allows, and here is the newest that the named entry's term allows.
        let mut agree = self.log.newest_until(hint.index.min(probe), hint.term).index;
        if hint.index < self.log.compacted().index {
            // Nothing that is left here can match there.
            agree = hint.index;
        }
        let Some((peer, slot)) = self.answering(from, round) else { return };
        peer.rejected(probe, agree);
        self.confirm_reads();
        self.check_reach(slot);
    }

    pub(crate) fn step_append_busy(&mut self, from: NodeId, round: u64) {
        let Some((peer, slot)) = self.answering(from, round) else { return };
        peer.busy();
        self.confirm_reads();
        self.check_reach(slot);
    }

    /// The link to `peer` broke, or a frame was not wholly written: what was sent may be lost. A
    /// leader asks that follower again where it is; a candidate repeats its question, a follower its
    /// ack.
    pub fn unreachable(&mut self, peer: NodeId) {
        if self.configs.membership.slot(peer).is_some() {
            self.wake_leader();
        }
        if self.leader == Some(peer) {
            self.repeat_ack();
        }
        let Some(slot) = self.configs.membership.slot(peer) else { return };
        match &mut self.state {
            State::Leader(leading) => {
                let Some(progress) = leading.peers.get_mut(slot) else { return };
                progress.unreachable();
                if let Some(transfer) = leading.transfer.as_mut().filter(|transfer| transfer.to == peer) {
                    transfer.sent = false;
                }
                self.check_reach(slot);
            }
            State::PreCandidate(poll) | State::Candidate(poll) => {
                if !poll.granted.has(slot) && !poll.rejected.has(slot) {
                    poll.to_ask = poll.to_ask.with(slot);
                }
            }
            State::Follower => {}
        }
    }
}
