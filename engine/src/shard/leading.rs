//! Which node should lead: preferred leaders, others while a disk is full, and handing everything over before a stop.

use std::time::Duration;

use raft::{FollowerState, FollowerStatus, NodeId, Time};
use runtime::Disk;

use super::Shard;
use crate::placement::preferred_leader;
use crate::state_machine::StateMachine;

/// A preferred leader takes over once it has been caught up for this long (design 4).
const CAUGHT_UP_FOR: Duration = Duration::from_secs(5);

/// How long a stop waits for leaderships to be taken over.
const HANDOVER: Duration = Duration::from_millis(1500);

/// How often followers are compared.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The replicas that lead here though their groups prefer another node.
#[derive(Default)]
pub(super) struct Preferences {
    next_look: Time,
    /// Each with the time since when the preferred leader has been caught up.
    misplaced: Vec<(usize, Option<Time>)>,
    /// The members have changed: who is preferred where is to be found out anew.
    changed: bool,
}

impl Preferences {
    /// `replica` leads here; whether it should is seen at the next look.
    pub(super) fn leads(&mut self, replica: usize) {
        self.misplaced.push((replica, None));
    }

    /// Each once, those first that were looked at before.
    fn take(&mut self) -> Vec<(usize, Option<Time>)> {
        let mut misplaced = std::mem::take(&mut self.misplaced);
        misplaced.sort_by_key(|(replica, since)| (*replica, since.is_none()));
        misplaced.dedup_by_key(|(replica, _)| *replica);
        misplaced
    }

    /// The members have changed.
    pub(super) fn look_again(&mut self) {
        self.changed = true;
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Hands groups led here to their preferred leaders, once those have been caught up for a while. Visits those alone
    /// that are led here and should not be.
    pub(super) fn lead_as_preferred(&mut self) {
        if self.now < self.preferences.next_look || self.stopping.is_some() {
            return;
        }
        self.preferences.next_look = self.now + LOOK_INTERVAL;
        self.leave_full_disk();
        if std::mem::take(&mut self.preferences.changed) {
            let leading = (0..self.replicas.len()).filter(|number| self.replicas[*number].raft.is_leader());
            self.preferences.misplaced = leading.map(|number| (number, None)).collect();
        }
        let (nodes, shards_min) = self.who_may_lead();
        for (number, since) in self.preferences.take() {
            let replica = &self.replicas[number];
            let preferred = preferred_leader(replica.group, shards_min, &nodes);
            let elsewhere = preferred.filter(|node| replica.raft.is_leader() && *node != self.directory.node);
            let Some(node) = elsewhere else { continue };
            let status = replica.raft.status();
            let of = status.followers.iter().find(|follower| follower.node == node);
            let has_all = |of: &FollowerStatus| !of.learner && of.matched >= status.committed;
            let caught_up = of.is_some_and(|of| of.state == FollowerState::Replicate && has_all(of));
            let link = self.links.for_group(node, replica.group);
            let caught_up = caught_up && link.is_some_and(|link| !self.links.liveness.is_unfit(link));
            let mut since = if caught_up { since.or(Some(self.now)) } else { None };
            if since.is_some_and(|since| self.now.saturating_sub(since) >= CAUGHT_UP_FOR) {
                since = None;
                tracing::info!(group = %replica.group, to = %node, "handing over to the preferred leader");
                let _refused = self.replicas[number].raft.transfer(self.now, node);
                self.mark_dirty(number);
            }
            self.preferences.misplaced.push((number, since));
        }
    }

    /// While the disk is full and the log with it, hands groups led here to followers that can take writes.
    fn leave_full_disk(&mut self) {
        if !self.log.is_stuck() {
            return;
        }
        for number in 0..self.replicas.len() {
            let replica = &self.replicas[number];
            if !replica.raft.is_leader() {
                continue;
            }
            let followers = replica.raft.status().followers;
            let keeps_up = |of: &&FollowerStatus| !of.learner && of.state == FollowerState::Replicate;
            let is_fit = |node| {
                let link = self.links.for_group(node, replica.group);
                link.is_some_and(|link| self.links.is_up(link) && !self.links.liveness.is_unfit(link))
            };
            let fit = followers.iter().filter(keeps_up).filter(|of| is_fit(of.node));
            if let Some(best) = fit.max_by_key(|of| of.matched) {
                tracing::warn!(group = %replica.group, to = %best.node, "handing over, as the disk is full here");
                let _refused = self.replicas[number].raft.transfer(self.now, best.node);
                self.mark_dirty(number);
            }
        }
    }

    /// Publishes how far the followers of a group led here are, now and then: it is for people.
    pub(super) fn tell_followers(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        let before = replica.tell_followers_at;
        match replica.raft.is_leader() {
            true if self.now >= before => {
                replica.tell_followers_at = self.now + LOOK_INTERVAL;
                self.directory.publish_followers(replica.group, replica.raft.status().followers);
            }
            false if before != Time(0) => {
                replica.tell_followers_at = Time(0);
                self.directory.publish_followers(replica.group, Vec::new());
            }
            _ => {}
        }
    }

    /// The nodes that lead what they should, and the least number of shards of any: those that stay in the cluster.
    fn who_may_lead(&self) -> (Vec<NodeId>, u16) {
        let known = &self.links.local.directory.nodes;
        let nodes = match &self.membership.members {
            Some(members) => members.active(),
            None => known.iter().map(|known| known.node).collect(),
        };
        let of_them = known.iter().filter(|known| nodes.contains(&known.node));
        let shards_min = of_them.map(|known| known.shard_count).min().unwrap_or(1);
        (nodes, shards_min)
    }

    /// Begins to stop: every group led here goes to the follower that is furthest.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(self.now + HANDOVER);
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            if !replica.raft.is_leader() {
                continue;
            }
            let status = replica.raft.status();
            let reachable =
                status.followers.iter().filter(|of| !of.learner && self.directory.is_reachable(of.node));
            let links = &self.links;
            let is_unfit =
                |node| links.for_group(node, replica.group).is_some_and(|link| links.liveness.is_unfit(link));
            if let Some(best) = reachable.max_by_key(|of| (!is_unfit(of.node), of.matched)) {
                let _refused = replica.raft.transfer(self.now, best.node);
                self.mark_dirty(number);
            }
        }
    }

    /// Stops once nothing is led here any more and nothing is on its way to the disk, or time is up.
    pub(super) fn stop_if_due(&mut self) {
        let Some(deadline) = self.stopping else { return };
        let leads = self.replicas.iter().any(|replica| replica.raft.is_leader());
        let writes = self.replicas.iter().any(super::replica::Replica::has_writes);
        if (!leads && !writes) || self.now >= deadline {
            self.stopped = true;
        }
    }
}
