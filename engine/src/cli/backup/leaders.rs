//! Who leads which group, found out so that a backup misses nothing that was acknowledged before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

use raft::GroupId;

use crate::cli::Failure;
use crate::cli::settings::Address;
use crate::cli::status::{self, GroupStatus, Role, Status};
use crate::placement::Placement;

/// What all nodes that answer say.
pub(super) struct Look {
    nodes: BTreeMap<u16, (SocketAddr, Status)>,
}

/// A group's leader.
pub(super) struct Leader {
    pub(super) node: u16,
    /// Where its shard 0 listens.
    pub(super) node_address: SocketAddr,
    /// Where the shard listens that has the group.
    pub(super) address: SocketAddr,
    /// What was acknowledged before this look is up to here in its log, and will stay.
    pub(super) last: u64,
    pub(super) slots: Vec<(u16, u16)>,
}

impl Look {
    /// Asks the targets, then the other nodes they name.
    ///
    /// # Errors
    /// `Unavailable`: nobody answers. `Failed`: the targets are not of one cluster.
    pub(super) fn of(targets: &[SocketAddr]) -> Result<Look, Failure> {
        let mut nodes = BTreeMap::new();
        let mut silent = Vec::new();
        ask_all(targets, &mut nodes, &mut silent);
        let named: Vec<SocketAddr> = nodes
            .values()
            .flat_map(|(_, status)| &status.nodes)
            .filter(|node| !nodes.contains_key(&node.id))
            .filter_map(|node| node.client.as_deref()?.parse::<Address>().ok()?.resolve().ok())
            .collect();
        let mut named: Vec<SocketAddr> = named.into_iter().filter(|named| !targets.contains(named)).collect();
        named.sort_unstable();
        named.dedup();
        ask_all(&named, &mut nodes, &mut Vec::new());
        let clusters = || nodes.values().map(|(_, status)| &status.cluster);
        let Some(first) = clusters().next() else {
            return Err(Failure::unavailable(format!("no status: {}", silent.join("; "))));
        };
        if clusters().any(|cluster| cluster != first) {
            return Err(Failure::failed("the targets are nodes of different clusters"));
        }
        Ok(Look { nodes })
    }

    /// What these nodes say, which were asked at these addresses.
    #[cfg(feature = "simulation")]
    pub(super) fn of_statuses(statuses: impl IntoIterator<Item = (SocketAddr, Status)>) -> Look {
        let nodes = statuses.into_iter().map(|(address, status)| (status.node, (address, status)));
        Look { nodes: nodes.collect() }
    }

    /// The cluster's id; none before it has formed.
    pub(super) fn cluster(&self) -> Option<String> {
        self.nodes.values().find_map(|(_, status)| status.cluster.clone())
    }

    /// The groups that hold keys.
    pub(super) fn groups(&self) -> Vec<u32> {
        let all = self.nodes.values().flat_map(|(_, status)| &status.groups).map(|group| group.id);
        let mut all: Vec<u32> = all.filter(|id| *id > 0).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The leader of `group`: the node that leads it in the newest term of which any of a majority of its voters knows. A
    /// leader that has been replaced and does not know it yet is none: it lacks what its successor has acknowledged.
    ///
    /// # Errors
    /// Why there is none now.
    pub(super) fn leader(&self, group: u32) -> Result<Leader, String> {
        let of_group = |status: &Status| status.groups.iter().find(|known| known.id == group).cloned();
        let all = self
            .nodes
            .iter()
            .filter_map(|(node, (at, status))| Some((*node, *at, of_group(status)?, status)));
        let all: Vec<(u16, SocketAddr, GroupStatus, &Status)> = all.collect();
        let newest = all.iter().map(|(_, _, known, _)| known.term).max();
        let leads = |known: &GroupStatus| known.role == Role::Leader && Some(known.term) == newest;
        let Some((node, at, known, status)) = all.iter().find(|(_, _, known, _)| leads(known)) else {
            return Err(format!("group {group} has no leader"));
        };
        let asked = |voter: &&u16| all.iter().any(|(node, ..)| node == *voter);
        let is_majority = |voters: &[u16]| voters.iter().filter(asked).count() * 2 > voters.len();
        if !is_majority(&known.config.voters)
            || !(known.config.outgoing.is_empty() || is_majority(&known.config.outgoing))
        {
            return Err(format!(
                "too few of the nodes {:?} answer to know who leads group {group}",
                known.config.voters
            ));
        }
        let shards = u16::try_from(status.shards).ok().filter(|shards| *shards > 0);
        let groups = u32::try_from(status.groups.len()).unwrap_or(u32::MAX);
        let placement = Placement { shards: shards.ok_or("a node without shards")?, groups };
        let port = at.port().checked_add(placement.shard_of(GroupId(group))).ok_or("a port above 65535")?;
        let address = SocketAddr::new(at.ip(), port);
        Ok(Leader { node: *node, node_address: *at, address, last: known.last, slots: known.slots.clone() })
    }
}

/// Asks all at once: one that does not answer costs its time once.
fn ask_all(
    addresses: &[SocketAddr],
    nodes: &mut BTreeMap<u16, (SocketAddr, Status)>,
    silent: &mut Vec<String>,
) {
    let ask = |address: &SocketAddr| (*address, status::fetch(&[*address]));
    let answers: Vec<(SocketAddr, Result<Status, Failure>)> = thread::scope(|scope| {
        let asked: Vec<_> = addresses.iter().map(|address| scope.spawn(move || ask(address))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    for (address, answer) in answers {
        match answer {
            Ok(status) => {
                nodes.entry(status.node).or_insert((address, status));
            }
            Err(failure) => silent.push(failure.error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::example;

    /// Nodes that say of group 0 (of the example): in which term they are, and whether they lead.
    fn look(said: &[(u16, u64, bool)]) -> Look {
        let nodes = said.iter().map(|(node, term, leads)| {
            let mut status = example(&[Some(1)]);
            (status.node, status.shards) = (*node, 2);
            status.groups[0].id = 4;
            status.groups[0].term = *term;
            status.groups[0].role = if *leads { Role::Leader } else { Role::Follower };
            (*node, (SocketAddr::from(([127, 0, 0, 1], 6001 + node * 100)), status))
        });
        Look { nodes: nodes.collect() }
    }

    #[test]
    fn the_leader_of_the_newest_term_that_a_majority_knows_is_asked() {
        let found = look(&[(1, 3, true), (2, 3, false)]).leader(4).unwrap();
        assert_eq!((found.node, found.address.port(), found.last), (1, 6102, 120));
        let replaced = look(&[(1, 3, true), (2, 4, true), (3, 4, false)]).leader(4).unwrap();
        assert_eq!(replaced.node, 2);
    }

    #[test]
    fn a_leader_that_may_have_been_replaced_is_none() {
        assert!(look(&[(1, 3, true)]).leader(4).is_err_and(|why| why.contains("too few")));
        assert!(look(&[(1, 3, true), (2, 4, false)]).leader(4).is_err_and(|why| why.contains("no leader")));
        assert!(look(&[(2, 3, false), (3, 3, false)]).leader(4).is_err_and(|why| why.contains("no leader")));
        assert!(look(&[(1, 3, true), (2, 3, false)]).leader(9).is_err());
    }
}
