//! Waits for what a cluster's nodes say about their groups.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::status::NodeStatus;
use crate::poll;

impl Cluster {
    /// Waits until all running nodes agree on a running leader of every group.
    ///
    /// # Errors
    ///
    /// What was still wrong at the end.
    pub fn wait_leaders(&self, time: Duration) -> Result<(), String> {
        self.wait_statuses(time, |statuses| {
            for group in statuses.iter().flat_map(|status| &status.groups) {
                let agreed = statuses
                    .iter()
                    .flat_map(|status| &status.groups)
                    .all(|other| other.group != group.group || other.leader == group.leader);
                let leader = group.leader.and_then(|leader| u16::try_from(leader).ok());
                let runs =
                    leader.is_some_and(|leader| self.ids().any(|id| id == leader) && self.is_up(leader));
                if !agreed || !runs {
                    return Err(format!("group {} has no agreed running leader: {group:?}", group.group));
                }
            }
            Ok(())
        })
    }

    /// Waits until every replica of the running nodes has applied what any of them has applied now: all that clients were
    /// told is stored. Clients may go on meanwhile.
    ///
    /// # Errors
    ///
    /// What was still wrong at the end.
    pub fn wait_caught_up(&self, time: Duration) -> Result<(), String> {
        let mut goal = BTreeMap::new();
        for group in self.statuses()?.iter().flat_map(|status| &status.groups) {
            let applied: &mut u64 = goal.entry(group.group).or_default();
            *applied = group.applied.max(*applied);
        }
        self.wait_statuses(time, |statuses| {
            let mut groups = statuses.iter().flat_map(|status| &status.groups);
            match groups.find(|group| goal.get(&group.group).is_some_and(|goal| group.applied < *goal)) {
                Some(behind) => Err(format!("a replica is behind {goal:?}: {behind:?}")),
                None => Ok(()),
            }
        })
    }

    /// Waits until every replica of the running nodes has applied the whole log, and all the same: while clients write,
    /// there need not be such a moment.
    ///
    /// # Errors
    ///
    /// What was still wrong at the end.
    pub fn wait_applied(&self, time: Duration) -> Result<(), String> {
        self.wait_statuses(time, |statuses| {
            let last =
                |status: &NodeStatus| status.groups.iter().map(|g| (g.group, g.last)).collect::<Vec<_>>();
            for status in statuses {
                if last(status) != last(&statuses[0]) {
                    return Err("the nodes' logs end differently".to_string());
                }
                if let Some(behind) = status.groups.iter().find(|group| group.applied != group.last) {
                    return Err(format!("a replica has not applied its log: {behind:?}"));
                }
            }
            Ok(())
        })
    }

    fn wait_statuses(
        &self,
        time: Duration,
        check: impl Fn(&[NodeStatus]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut last = Err("no node is running".to_string());
        poll::until(Instant::now() + time, || {
            last = self.statuses().and_then(|statuses| {
                if statuses.iter().all(|status| status.groups.is_empty()) {
                    return Err("no node has a group yet".to_string());
                }
                check(&statuses)
            });
            last.is_ok()
        });
        last.map_err(|error| format!("after {time:?}: {error}"))
    }
}
