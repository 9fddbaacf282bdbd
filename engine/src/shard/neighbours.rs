//! Whom this node belongs together with, as the cluster's directory (group 0) says, on every shard: who is greeted as
//! what, which links there are, and whether this node is a member itself.

use std::net::SocketAddr;

use net::forming::{Member, Roster, Tombstone};
use net::handshake::Directory as Known;
use net::link::PeerShard;
use raft::{GroupId, NodeId};
use runtime::Disk;

use super::Shard;
use crate::directory::NodeFacts;
use crate::fatal::Fatal;
use crate::placement::Placement;
use crate::state_machine::StateMachine;

/// The cluster's nodes as of one version of the directory.
pub(crate) struct Neighbours {
    /// The members.
    pub(crate) roster: Roster,
    /// Added, and not members yet, as nobody has met them: where shard 0 calls them.
    pub(crate) awaited: Vec<(NodeId, SocketAddr)>,
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Makes the links that are due and closes those that are not.
    pub(super) fn take_neighbours(&mut self, neighbours: &Neighbours) {
        let roster = &neighbours.roster;
        let local = &mut self.links.local;
        if roster.version < local.directory.version {
            return; // a node that was added replays the time before it
        }
        local.directory = Known::from(roster);
        local.identity.directory_version = roster.version;
        let me = (local.identity.node, local.identity.incarnation);
        if roster.member(me.0).is_none_or(|own| own.incarnation != me.1) {
            let refusal = net::handshake::Refusal::Removed(me.0);
            return self.end_membership(refusal.to_string());
        }
        if let Some(former) = &mut self.former {
            former.update(roster.clone());
        }
        for member in roster.members.iter().filter(|member| member.node != me.0) {
            self.directory.learn_member(facts(member));
            self.connect_to(member);
        }
        if self.shard == 0 {
            for (node, address) in &neighbours.awaited {
                self.links.await_node(self.now, *node, *address);
            }
        }
        let is_awaited = |node| neighbours.awaited.iter().any(|(awaited, _)| *awaited == node);
        self.links.retire(self.now, is_awaited);
        self.directory.keep_only(|node| node == me.0 || roster.member(node).is_some());
        self.preferences.look_again();
    }

    /// Links to all shards of a member that share groups with this one.
    fn connect_to(&mut self, member: &Member) {
        let Some(base) = self.address_of(member) else { return };
        let placement = self.directory.placement;
        let theirs = Placement { shards: member.shard_count, ..placement };
        for shard in 0..member.shard_count {
            let Some(port) = base.port().checked_add(shard) else { continue };
            let shares = |group: GroupId| theirs.shard_of(group) == shard;
            if placement.hosted_by(self.shard).any(shares) {
                let peer = PeerShard { node: member.node, shard };
                let address = SocketAddr::new(base.ip(), port);
                self.links.connect(self.now, peer, member.shard_count, address);
            }
        }
    }

    /// Where a member's shard 0 listens. What this start was told wins over what the cluster formed with; who was added
    /// later is where the directory says.
    fn address_of(&self, member: &Member) -> Option<SocketAddr> {
        let founder = Tombstone { node: member.node, incarnation: member.incarnation };
        let told = self.settings.cluster.iter().find(|(node, _)| *node == member.node);
        let told = told.filter(|_| self.founders.contains(&founder)).map(|(_, address)| *address);
        told.or_else(|| member.peer.to_string().parse().ok())
    }

    /// This node is no member of its cluster any more. That is final, so it is written down first; the turn ends with
    /// it, and the node.
    pub(super) fn end_membership(&mut self, reason: String) {
        if let Err(error) = self.settings.data_dir.mark_removed(&reason) {
            tracing::error!(%error, "cannot write down that this node was removed");
        }
        self.more = true;
        self.ended.get_or_insert(Fatal::NoMember(reason));
    }
}

fn facts(member: &Member) -> NodeFacts {
    NodeFacts {
        node: member.node,
        incarnation: member.incarnation,
        peer_host: member.peer.host().to_owned(),
        peer_port: member.peer.port(),
        client_host: member.client.host().to_owned(),
        client_port: member.client.port(),
        shards: member.shard_count,
    }
}
