//! Reads by lease (thesis 6.4.1): who has heard this leader lately elects nobody else for a while, so for a while nobody
//! else leads and the leader may answer reads alone.
//!
//! The lease counts from when a round was opened, which is before it was sent, to followers that promised. It is void
//! for the rest of the term once the leader has told another to campaign, for that one's voters do not wait. A voter
//! keeps its promise across restarts by waiting as long before it votes or campaigns, and across changes of term because
//! it remembers when it last heard a leader, not which. The promise lasts an election timeout, longer than the lease by
//! what clocks may drift apart: the leader's may be the slowest and the voter's the fastest.

use core::time::Duration;
use std::collections::VecDeque;

use crate::id::{NodeId, Time};
use crate::replica::{Raft, State};

/// Rounds whose opening is remembered. At ten beats a second and as many rounds of reads as answers allow, these reach
/// back further than any lease; an answer to an older round renews nothing.
const ROUNDS_MAX: usize = 64;

/// What a leader knows of its lease besides what its followers acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Rounds and when they were opened, ascending.
    opened: VecDeque<(u64, Time)>,
    void: bool,
}

impl Lease {
    /// Without leases there is nothing to remember.
    pub(crate) fn opened(&mut self, round: u64, now: Time, lease: Option<Duration>) {
        if lease.is_none() {
            return;
        }
        if self.opened.len() == ROUNDS_MAX {
            self.opened.pop_front();
        }
        self.opened.push_back((round, now));
    }

    /// When the newest round up to `round` was opened, if that is remembered.
    fn opened_at(&self, round: u64) -> Option<Time> {
        let known = self.opened.partition_point(|&(opened, _)| opened <= round);
        Some(self.opened.get(known.checked_sub(1)?)?.1)
    }

    /// Another may campaign at once.
    pub(crate) fn void(&mut self) {
        self.void = true;
    }

    /// Gives back memory that a resting group does not need: its lease ends anyway.
    pub(crate) fn shrink(&mut self) {
        self.opened = VecDeque::new();
    }
}

impl Raft {
    /// Whether this replica leads and holds a lease now, so that reads which [`Raft::read`] takes are confirmed at
    /// once. Whoever serves such a read asks again, with a fresh clock reading, after the read ran: if the thread was
    /// stopped in between the answer may be old, and the read must be taken anew.
    pub fn lease_holds(&mut self, now: Time) -> bool {
        self.hear(now);
        self.is_lease_valid()
    }

    pub(crate) fn is_lease_valid(&self) -> bool {
        let (State::Leader(leading), Some(lease)) = (&self.state, self.settings.lease) else { return false };
        let handed_over = leading.lease.void || leading.transfer.is_some();
        if (handed_over && !mutant!(LeaseOutlivesTransfer)) || !self.commit_is_current(leading) {
            return false;
        }
        let from = |slot| leading.peers.get(slot).map_or(self.now, |peer| peer.lease_from).0;
        self.now < Time(self.configs.membership.quorum_value(from)) + lease
    }

    /// A follower answered `round`, and keeps the promise or not.
    pub(crate) fn learn_lease(&mut self, from: NodeId, round: u64, promises: bool) {
        if promises
            && self.settings.lease.is_some()
            && let Some(slot) = self.configs.membership.slot(from)
            && let State::Leader(leading) = &mut self.state
            && round <= leading.reads.round()
            && let Some(opened) = leading.lease.opened_at(round)
            && let Some(peer) = leading.peers.get_mut(slot)
        {
            peer.lease_from = peer.lease_from.max(opened);
        }
    }

    /// A start: whom this replica heard before it stopped may hold a lease.
    pub(crate) fn wait_out_leases(&mut self) {
        if let Some(promise) = self.settings.promise()
            && self.term.0 > 0
            && !mutant!(LeaseForgottenAtRestart)
        {
            self.vote_not_before = self.now + promise;
        }
    }

    /// Whether a leader may hold a lease by this replica's word, be it known by name or not.
    pub(crate) fn is_bound_by_lease(&self) -> bool {
        let Some(promise) = self.settings.promise() else { return false };
        let heard = self.leader_heard > Time(0) && self.now < self.leader_heard + promise;
        heard || self.now < self.vote_not_before
    }
}
