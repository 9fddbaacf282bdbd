//! What is committed is durable on a quorum: by what the replicas themselves have said, also those that are down now or whose
//! disk was lost since. That what they say is true, `restarts` sees to.

use std::collections::BTreeMap;

use raft::{EntryId, GroupId, NodeId};

use super::{Known, Look};
use crate::core_sim::violation::require;

/// The entry is committed, by the word of this replica.
pub fn check(look: &Look, id: EntryId, replicas: &BTreeMap<(GroupId, NodeId, u64), Known>) {
    let holds = |node: &NodeId| {
        let lives = replicas.range((look.group, *node, 0)..=(look.group, *node, u64::MAX));
        lives.into_iter().any(|(_, known)| known.held(id))
    };
    let is_quorum = |voters: &[NodeId]| {
        voters.is_empty() || 2 * voters.iter().filter(|node| holds(node)).count() > voters.len()
    };
    // The configuration in force when it was committed is this one or an older one: for a replica that learns of it late, and
    // for a leader that went on to a joint one in the same turn; then what comes before that needed the outgoing voters alone.
    let joined_after = !look.config.outgoing.is_empty() && id.index < look.config_index;
    let is_by_voters = joined_after || is_quorum(&look.config.voters);
    require!(
        look.role != raft::Role::Leader || is_by_voters && is_quorum(&look.config.outgoing),
        "durable_quorum",
        "group {}: {} commits {id}, which is durable on no quorum of {:?}",
        look.group,
        look.node,
        look.config
    );
}
