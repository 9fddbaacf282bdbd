//! What the leader of a group does to bring its configuration where the directory says: a function of what it sees,
//! without memory, so that whoever leads next goes on.

use net::forming::Tombstone;
use raft::{Change, Config, FollowerState, FollowerStatus, Index, NodeId};

use super::state::{MemberState, Node};

/// A learner that lacks no more entries than this has caught up: what a busy group commits in a few milliseconds, so
/// its vote is of use as soon as it has it.
const LAG_MAX: u64 = 256;

/// A follower as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) node: NodeId,
    /// It has nearly everything that is committed, and receives the rest.
    pub(crate) is_caught_up: bool,
    /// It was heard of lately.
    pub(crate) is_live: bool,
    /// It is another disk than the one that this leader got to know under that id.
    pub(crate) is_replaced: bool,
}

impl Follower {
    /// What its leader, which has committed up to `committed`, knows of it.
    pub(crate) fn new(
        status: &FollowerStatus,
        committed: Index,
        is_live: bool,
        is_replaced: bool,
    ) -> Follower {
        let lacks_little = status.matched.0 + LAG_MAX >= committed.0;
        let is_caught_up =
            status.state == FollowerState::Replicate && status.stands && lacks_little && is_live;
        Follower { node: status.node, is_caught_up, is_live, is_replaced }
    }
}

/// All that the next step depends on.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    /// The leader.
    pub(crate) me: NodeId,
    /// The group's configuration, committed.
    pub(crate) config: &'a Config,
    /// The directory's nodes.
    pub(crate) nodes: &'a [Node],
    pub(crate) removed: &'a [Tombstone],
    pub(crate) followers: &'a [Follower],
    /// Nodes on whose account other groups have something to do: those that join may not vote yet, those that leave may not go
    /// yet.
    pub(crate) held: &'a [NodeId],
}

/// The changes to make now, in one step; none if there is nothing to do, or nothing that can be done.
pub(crate) fn reconcile(situation: &Situation<'_>) -> Vec<Change> {
    if situation.config.is_joint() {
        return Vec::new(); // the core leaves it by itself
    }
    let mut all: Vec<Change> = situation.nodes.iter().filter_map(|node| situation.change_for(node)).collect();
    let gone = |member: &NodeId| {
        let listed = situation.nodes.iter().any(|node| node.node == *member);
        !listed && situation.removed.iter().any(|tombstone| tombstone.node == *member)
    };
    // A member that the directory never heard of is one that this node has yet to hear of.
    all.extend(situation.config.members().into_iter().filter(gone).map(Change::Remove));
    // A step that its own new majority could not commit would be the group's last: rather a smaller one.
    let without_living: Vec<Change> =
        all.iter().filter(|change| !situation.disarms_living(change)).cloned().collect();
    let without_votes: Vec<Change> =
        all.iter().filter(|change| !situation.concerns_voters(change)).cloned().collect();
    let steps = [all, without_living, without_votes];
    steps.into_iter().find(|step| situation.can_commit(step)).unwrap_or_default()
}

impl Situation<'_> {
    fn change_for(&self, node: &Node) -> Option<Change> {
        let id = node.node;
        let is_voter = self.config.is_voter(id);
        let is_member = self.config.contains(id);
        let is_free = !self.held.contains(&id);
        let follower = self.followers.iter().find(|follower| follower.node == id);
        let wanted = match node.state {
            MemberState::Joining | MemberState::Active => node.is_identified(),
            MemberState::Leaving => false,
        };
        match (wanted, is_member) {
            (true, true) if follower.is_some_and(|follower| follower.is_replaced) => Some(Change::Remove(id)),
            (true, true) if is_voter => None,
            (true, true) => {
                let caught_up = follower.is_some_and(|follower| follower.is_caught_up);
                (caught_up && is_free).then_some(Change::Voter(id))
            }
            (true, false) => Some(Change::Learner(id)),
            // Until the other groups are done it must hear that it is leaving: it may lead one, and who leads one lets
            // nobody else remove it. So it comes back if it went too early, on the word of a replica that lagged.
            (false, true) if node.state == MemberState::Leaving => is_free.then_some(Change::Remove(id)),
            (false, false) if node.state == MemberState::Leaving && !is_free => Some(Change::Learner(id)),
            (false, _) => None,
        }
    }

    fn is_live(&self, node: NodeId) -> bool {
        node == self.me || self.followers.iter().any(|follower| follower.node == node && follower.is_live)
    }

    fn disarms_living(&self, change: &Change) -> bool {
        matches!(change, Change::Remove(node) if self.config.is_voter(*node) && self.is_live(*node))
    }

    fn concerns_voters(&self, change: &Change) -> bool {
        match change {
            Change::Voter(_) => true,
            Change::Remove(node) => self.config.is_voter(*node),
            Change::Learner(_) => false,
        }
    }

    /// Whether a majority of the voters that `step` leads to is alive.
    fn can_commit(&self, step: &[Change]) -> bool {
        if !step.iter().any(|change| self.concerns_voters(change)) {
            return true;
        }
        let mut voters = self.config.voters.clone();
        for change in step {
            match change {
                Change::Voter(node) => voters.push(*node),
                Change::Remove(node) => voters.retain(|voter| voter != node),
                Change::Learner(_) => {}
            }
        }
        let live = voters.iter().filter(|voter| self.is_live(**voter)).count();
        2 * live > voters.len()
    }
}

/// Whether a configuration is what the directory wants in the end.
pub(crate) fn is_as_wanted(config: &Config, nodes: &[Node]) -> bool {
    let stay = nodes.iter().filter(|node| node.state != MemberState::Leaving).map(|node| node.node);
    !config.is_joint() && config.learners.is_empty() && stay.eq(config.voters.iter().copied())
}

/// Whether a configuration needs nothing more for the sake of `node`.
pub(crate) fn is_done_with(config: &Config, node: &Node) -> bool {
    let is_there = match node.state {
        MemberState::Joining | MemberState::Active => config.is_voter(node.node),
        MemberState::Leaving => !config.contains(node.node),
    };
    is_there && !config.is_joint()
}

#[cfg(test)]
mod tests;
