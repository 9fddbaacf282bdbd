//! Groups at rest. A group that has nothing to do costs nothing: its leader says so once, and from then on nobody of it
//! keeps a timer or sends anything. That the leader's shard lives is vouched for by the shards themselves, for all
//! groups together; when they cannot, [`Raft::peer_lost`] sets the timers again.
//!
//! Rest is liveness only. A replica that rests by mistake, or fails to, is woken by the next message, by a follower
//! whose timer runs out, or by its shard.

use crate::id::{EntryId, NodeId, Time};
use crate::leading::Leading;
use crate::replica::{Raft, State};
use crate::settings::Standing;

impl Raft {
    /// The shard of `node` that has this group is silent, or was started anew: whatever it vouched for, it does not any
    /// more. A follower that rests because of it waits for less than a further election timeout, so that not all groups
    /// campaign at once; a leader at rest goes back to beats and finds out who is left. Without effect on a replica
    /// that does not rest, or could not campaign anyway: the next leader will find it.
    pub fn peer_lost(&mut self, now: Time, node: NodeId) {
        self.hear(now);
        if !self.quiesced {
            return;
        }
        if self.is_leader() {
            if self.configs.membership.slot(node).is_some() {
                self.wake_leader();
            }
        } else if self.leader == Some(node) && self.may_lead() && !mutant!(LostLeaderIgnored) {
            self.quiesced = false;
            let span = self.settings.election_timeout_min;
            self.election_deadline = self.random.deadline(self.now, core::time::Duration::ZERO, span);
        }
    }

    /// Somebody wants something of this leader: it is awake, and stays so for a while.
    pub(crate) fn wake_leader(&mut self) {
        let now = self.now;
        let State::Leader(leading) = &mut self.state else { return };
        leading.active_at = now;
        if core::mem::take(&mut self.quiesced) {
            leading.wake(now);
        }
    }

    /// A replica that does not lead keeps its own timer again.
    pub(crate) fn wake_follower(&mut self) {
        if !self.is_leader() && core::mem::take(&mut self.quiesced) {
            self.reset_election_deadline();
        }
    }

    /// Brings the group to rest if nobody wants anything of it and everybody has everything.
    pub(crate) fn quiesce_if_idle(&mut self) {
        let State::Leader(leading) = &self.state else { return };
        if !self.is_idle(leading) {
            return;
        }
        let now = self.now;
        let State::Leader(leading) = &mut self.state else { return };
        leading.reads.next_round();
        leading.lease.opened(leading.reads.round(), now, self.settings.lease);
        leading.quiesced_round = leading.reads.round();
        for (_, peer) in leading.peers.iter_mut() {
            (peer.beat_due, peer.quiesce_due) = (false, true);
        }
        self.quiesced = true;
        self.shrink();
    }

    fn is_idle(&self, leading: &Leading) -> bool {
        let Some(after) = self.settings.quiesce_after else { return false };
        let last = self.log.last().index;
        // Waking counts as hearing everybody; but who has not answered since then may be gone.
        let awake = |round: u64| round > leading.quiesced_round;
        let heard = |time: Time| self.now.saturating_sub(time) < self.settings.election_timeout_min;
        self.now.saturating_sub(leading.active_at) >= after
            && self.commit_is_current(leading)
            && (self.commit, self.applied, self.durability.persisted()) == (last, last, last)
            && self.commit_due == Time::NEVER
            && !self.configs.membership.is_joint()
            && leading.transfer.is_none()
            && leading.reads.is_idle()
            && (mutant!(RestsTooEarly)
                || leading
                    .peers
                    .iter()
                    .all(|(_, peer)| peer.is_settled(last) && heard(peer.heard) && awake(peer.round_acked)))
    }

    /// The leader has come to rest: so does this replica if it has just what the leader has. If not, it answers as to a
    /// beat, of a round that no beat had, and the leader wakes.
    pub(crate) fn step_quiesce(&mut self, from: NodeId, last: EntryId, round: u64) {
        if !self.follow(from) {
            return;
        }
        self.commit_accepted(last.index);
        let same = self.accepted == EntryId::new(self.term, last.index)
            && self.log.last() == last
            && (self.commit, self.durability.persisted()) == (last.index, last.index);
        if same && self.standing == Standing::Normal && !self.owed.is_pending() {
            self.quiesced = true;
            self.quiesced_round = round;
            self.election_deadline = Time::NEVER;
            self.owed.rest(round);
            self.shrink();
        } else {
            self.owed.saw_round(round, true);
        }
    }
}
