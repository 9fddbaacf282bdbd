//! Which node should lead: preferred leaders, and handing everything over before a stop.

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

/// Since when the preferred leader of each replica led elsewhere has been caught up.
#[derive(Default)]
pub(super) struct Preferences {
    next_look: Time,
    caught_up_since: Vec<Option<Time>>,
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Hands groups led here to their preferred leaders, once those have been caught up for a while.
    pub(super) fn lead_as_preferred(&mut self) {
        if self.now < self.preferences.next_look || self.stopping.is_some() {
            return;
        }
        self.preferences.next_look = self.now + LOOK_INTERVAL;
        self.preferences.caught_up_since.resize(self.replicas.len(), None);
        let (nodes, shards_min) = self.who_may_lead();
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            let preferred = preferred_leader(replica.group, shards_min, &nodes);
            let since = &mut self.preferences.caught_up_since[number];
            let target = preferred.filter(|node| replica.raft.is_leader() && *node != self.directory.node);
            let looks = replica.raft.is_leader() && (target.is_some() || !replica.raft.is_quiesced());
            let status = looks.then(|| replica.raft.status());
            if !replica.raft.is_leader() || status.is_some() {
                let followers = status.as_ref().map_or_else(Vec::new, |status| status.followers.clone());
                self.directory.publish_followers(replica.group, followers);
            }
            let caught_up = target.zip(status).is_some_and(|(node, status)| {
                let of = status.followers.iter().find(|follower| follower.node == node);
                let has_all = |of: &FollowerStatus| !of.learner && of.matched >= status.committed;
                of.is_some_and(|of| of.state == FollowerState::Replicate && has_all(of))
            });
            *since = if caught_up { since.or(Some(self.now)) } else { None };
            if since.is_some_and(|since| self.now.saturating_sub(since) >= CAUGHT_UP_FOR) {
                *since = None;
                if let Some(node) = target {
                    tracing::info!(group = %replica.group, to = %node, "handing over to the preferred leader");
                    let _refused = replica.raft.transfer(self.now, node);
                    self.mark_dirty(number);
                }
            }
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
            if let Some(best) = reachable.max_by_key(|follower| follower.matched) {
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
