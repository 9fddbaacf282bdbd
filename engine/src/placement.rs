//! Which shard has which group, and which node should lead it.

use raft::{GroupId, NodeId};

/// The counts that place groups. Fixed when the data directory is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) shards: u16,
    pub(crate) groups: u32,
}

impl Placement {
    /// The shard of a node with `self.shards` shards that has `group`. Group 0, the directory, is on shard 0.
    pub(crate) fn shard_of(self, group: GroupId) -> u16 {
        let place = group.0.saturating_sub(1) % u32::from(self.shards);
        u16::try_from(place).expect("less than the number of shards")
    }

    /// The groups of shard `shard`, ascending.
    pub(crate) fn groups_of(self, shard: u16) -> impl Iterator<Item = GroupId> {
        (1..=self.groups).map(GroupId).filter(move |group| self.shard_of(*group) == shard)
    }

    /// The groups that shard `shard` has a replica of, group 0 last: so all others stand where they would without it.
    pub(crate) fn hosted_by(self, shard: u16) -> impl Iterator<Item = GroupId> {
        self.groups_of(shard).chain((shard == 0).then_some(GroupId(0)))
    }

    /// True for a group that exists and holds keys.
    pub(crate) fn contains(self, group: GroupId) -> bool {
        (1..=self.groups).contains(&group.0)
    }

    /// True for any group, the directory's too.
    pub(crate) fn has(self, group: GroupId) -> bool {
        group.0 <= self.groups
    }
}

/// The node that should lead `group`, so that every shard of every node leads something: groups go to shards
/// first and to nodes next, where `group mod nodes` alone would leave shards without a leader whenever the
/// two counts share a divisor. `shards` is the least number of shards of any node.
pub(crate) fn preferred_leader(group: GroupId, shards: u16, nodes: &[NodeId]) -> Option<NodeId> {
    let turn = group.0.saturating_sub(1) / u32::from(shards.max(1));
    let place = usize::try_from(turn).ok()?.checked_rem(nodes.len())?;
    nodes.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_last_replica_of_shard_0() {
        let placement = Placement { shards: 2, groups: 5 };
        let hosted = |shard| placement.hosted_by(shard).map(|group| group.0).collect::<Vec<_>>();
        assert_eq!((hosted(0), hosted(1)), (vec![1, 3, 5, 0], vec![2, 4]));
        assert!(placement.has(GroupId(0)) && !placement.contains(GroupId(0)) && !placement.has(GroupId(6)));
    }

    #[test]
    fn every_shard_of_every_node_leads_something() {
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        for shards in 1..=6 {
            let placement = Placement { shards, groups: u32::from(shards) * 3 };
            for shard in 0..shards {
                for node in nodes {
                    let leads = placement
                        .groups_of(shard)
                        .any(|group| preferred_leader(group, shards, &nodes) == Some(node));
                    assert!(leads, "shard {shard} of {shards} on node {node} leads nothing");
                }
            }
        }
    }
}
