//! Followers that are too far behind for the log, and logs that are cut at the front. The bytes of
//! snapshots are the shard's business; here is only who needs one and what it means to have it.

use smallvec::SmallVec;

use crate::config::Config;
use crate::event::{Event, Fault, Problem};
use crate::id::{EntryId, Index, NodeId, Time};
use crate::membership::{Configurations, Membership};
use crate::progress::{Flow, Offer};
use crate::replica::{Raft, State};

impl Raft {
    /// A snapshot that holds everything up to `to` is durable and published: the log forgets the
    /// entries up to there. Followers that lack them need a snapshot from now on.
    ///
    /// # Panics
    /// If `to` is more than is applied, or than is durable: nothing else would hold the rest.
    pub fn compact(&mut self, to: Index) {
        let covered = self.applied.min(self.durability.persisted());
        assert!(to <= covered.max(self.log.compacted().index), "compacting {to} of {covered}");
        let Some(id) = self.log.id_at(to) else { return };
        self.log.compact(id);
        self.check_all_reach();
    }

    fn check_all_reach(&mut self) {
        for slot in 0..self.configs.membership.nodes().len() {
            self.check_reach(slot);
        }
    }

    /// If the entries the follower needs next are gone, it needs a snapshot.
    pub(crate) fn check_reach(&mut self, slot: usize) {
        let compacted = self.log.compacted().index;
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peers.get_mut(slot) else { return };
        if !matches!(peer.flow, Flow::Snapshot(_)) && peer.next.previous() < compacted {
            peer.enter_snapshot();
            self.ask_for_snapshots();
        }
    }

    /// Asks the shard for the snapshots followers wait for, again and again while it names none, and
    /// offers again what was named and not heard of. Only followers that were heard lately count.
    pub(crate) fn ask_for_snapshots(&mut self) {
        let (now, patience) = (self.now, self.settings.election_timeout_min);
        let State::Leader(leading) = &mut self.state else { return };
        let mut needed = SmallVec::<[NodeId; 7]>::new();
        for (slot, peer) in leading.peers.iter_mut() {
            let Flow::Snapshot(offer) = &mut peer.flow else { continue };
            let silent = now.saturating_sub(peer.heard) >= patience;
            let recent = offer.asked.is_some_and(|asked| now.saturating_sub(asked) < patience);
            if silent || recent {
                continue;
            }
            offer.asked = Some(now);
            match offer.offered {
                Some(_) => peer.offer_due = true,
                None => needed.push(self.configs.membership.nodes()[slot]),
            }
        }
        for to in needed {
            self.report(Event::NeedsSnapshot { to });
        }
    }

    /// Answers [`Event::NeedsSnapshot`]: the snapshot at `id` is on its way to `to`, or waits to be
    /// fetched. Its end is to be told by [`Raft::snapshot_sent`]. Without effect if `to` needs none
    /// any more.
    pub fn offer_snapshot(&mut self, now: Time, to: NodeId, id: EntryId) {
        self.hear(now);
        let now = self.now;
        let Some(slot) = self.configs.membership.slot(to) else { return };
        if let State::Leader(leading) = &mut self.state
            && let Some(peer) = leading.peers.get_mut(slot)
            && let Flow::Snapshot(offer) = &mut peer.flow
        {
            **offer = Offer { asked: Some(now), offered: Some(id) };
            peer.offer_due = true;
        }
    }

    /// The sending of the snapshot at `id` to `to` has ended: `ok` if the follower has installed it.
    /// A failed one is offered anew after an election timeout.
    pub fn snapshot_sent(&mut self, now: Time, to: NodeId, id: EntryId, ok: bool) {
        self.hear(now);
        let now = self.now;
        let Some(slot) = self.configs.membership.slot(to) else { return };
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peers.get_mut(slot) else { return };
        let Flow::Snapshot(offer) = &mut peer.flow else { return };
        if offer.offered != Some(id) {
            return;
        }
        if ok {
            // Its log begins after the snapshot; its ack may be lost, so ask.
            peer.probe_at(id.index.next(), false);
            self.check_reach(slot);
        } else {
            **offer = Offer { asked: Some(now), offered: None };
            peer.offer_due = false;
        }
    }

    pub(crate) fn step_snapshot_offer(&mut self, from: NodeId, id: EntryId) {
        if !self.follow(from) {
            return;
        }
        let committed = id.index <= self.commit;
        if committed && self.log.term_at(id.index).is_some_and(|term| term != id.term) {
            self.fault(Fault::CommittedConflict { index: id.index });
        } else if committed {
            // It has all that already. The ack says so, and ends the sending.
            self.accept(Index::ZERO, Index::ZERO);
        } else {
            self.report_offer(from, id);
        }
    }

    /// The shard hears of an offer once, however often it is repeated unread.
    fn report_offer(&mut self, from: NodeId, id: EntryId) {
        let offer = Event::SnapshotOffered { from, id };
        if !self.has_event(&offer) {
            self.report(offer);
        }
    }

    /// Follower: the snapshot offered at `id` cannot be taken now. The leader offers one again later.
    pub fn decline_snapshot(&mut self, id: EntryId) {
        if !self.is_faulted() && self.leader.is_some() {
            self.owed.set_snapshot(Some((id, false)));
        }
    }

    /// Follower: the snapshot at `id` is installed: its files are durable, the state machine is
    /// restored from it, and the record that names it goes into the log batch of this turn. The leader
    /// hears of it when that batch, and the write taken in this turn, is durable.
    ///
    /// The log now starts after `id`; but if it held that very entry, those after it stay. False: the
    /// snapshot is obsolete, as is then whatever was made of it; nothing has changed. `config` is the configuration in
    /// force at `id`, as the snapshot names it.
    ///
    /// # Panics
    /// If `config` is none that can be in force: the shard has checked the snapshot.
    pub fn snapshot_installed(&mut self, now: Time, id: EntryId, config: &Config) -> bool {
        assert!(config.is_sound() && config.check().is_ok(), "a snapshot's configuration is one: {config:?}");
        self.hear(now);
        if self.is_faulted() || id.index <= self.commit {
            return false;
        }
        if id.term > self.term {
            // It comes on a way of its own, and may outlive the messages that announced it, also in a replica that has
            // restarted since: what it holds proves its term.
            self.become_follower(id.term);
        }
        self.wake_follower();
        let holds = self.log.id_at(id.index) == Some(id);
        let is_another = self.configs.index <= id.index && self.configs.membership != Membership::new(config);
        if self.is_leader() && (!holds || is_another) {
            // A snapshot holds what is committed; a leader holds all that is, and knows who belongs to its group.
            self.fault(Fault::CommittedConflict { index: id.index });
            return false;
        }
        let kept = mutant!(SnapshotKeepsLog) && self.log.term_at(id.index).is_some() && !self.is_leader();
        if kept || holds {
            self.log.compact(id);
            self.durability.install(id);
            if self.configs.index <= id.index {
                self.configs = Configurations::new(id.index, Membership::new(config));
            }
        } else {
            self.log.reset(id);
            // Of what was accepted no more is here.
            self.accepted.index = self.accepted.index.min(id.index);
            self.durability.reset(id);
            if !mutant!(SnapshotKeepsConfig) {
                self.configs = Configurations::new(id.index, Membership::new(config));
            }
        }
        if !self.is_leader() {
            self.state = State::Follower; // whoever was asked for votes was asked in another configuration
        }
        self.check_all_reach();
        self.advance_commit(id.index);
        self.applied = self.applied.max(id.index);
        if self.leader.is_some_and(|leader| leader != self.settings.node) {
            self.accept(id.index, Index::ZERO);
        }
        true
    }

    pub(crate) fn step_snapshot_ack(&mut self, from: NodeId, id: EntryId, installed: bool) {
        let Some(slot) = self.configs.membership.slot(from) else { return };
        if self.is_leader() && id.index > self.log.last().index {
            self.protocol(from, Problem::AckBeyondLog);
            return;
        }
        let (now, compacted) = (self.now, self.log.compacted().index);
        let State::Leader(leading) = &mut self.state else { return };
        let Some(peer) = leading.peers.get_mut(slot) else { return };
        peer.heard = now;
        if installed {
            peer.acked(id.index, compacted);
            self.ask_for_snapshots();
            self.commit_by_quorum();
        } else if let Flow::Snapshot(offer) = &mut peer.flow
            && offer.offered == Some(id)
        {
            **offer = Offer { asked: Some(now), offered: None };
        }
    }
}
