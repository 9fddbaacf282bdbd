//! A change of membership, driven (see [`crate::members`]): each shard brings the groups it leads where the directory
//! points, shard 0 publishes the directory and, while it leads group 0, says what is done.

use std::sync::Arc;
use std::time::Duration;

use raft::{ChangeError, GroupId, NodeId, Time};
use runtime::Disk;

use super::Shard;
use super::message::ShardMessage;
use super::neighbours::Neighbours;
use super::request::{Encode, Kind, ReplyTo, RequestHead};
use crate::members::{
    Command, Follower, MemberState, Members, Node, Situation, is_as_wanted, is_done_with, reconcile,
};
use crate::state_machine::StateMachine;

/// While something is to be done, it is looked at this often: far below what catching up takes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The same thing is not said to group 0 again before this: it takes a round trip and a sync.
const SAY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a command of our own may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a shard knows of the members, and when it looks after them.
#[derive(Default)]
pub(super) struct Membership {
    pub(super) members: Option<Arc<Members>>,
    /// On shard 0: the version that all shards have.
    published: Option<u64>,
    look_at: Option<Time>,
    said: Option<Time>,
}

impl Membership {
    /// The other shards are known only now: what was published before reached nobody.
    pub(super) fn publish_again(&mut self) {
        self.published = None;
    }

    /// Something happened that may be a reason to act.
    pub(super) fn look_soon(&mut self, now: Time) {
        self.look_at = Some(self.look_at.map_or(now, |at| at.min(now)));
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// On shard 0, after applying: tells all shards if the directory has changed.
    pub(super) fn publish_members(&mut self) {
        let members = self.replicas.last().and_then(|replica| replica.machine.members());
        let Some(members) = members.filter(|members| self.membership.published != Some(members.version))
        else {
            return;
        };
        self.membership.published = Some(members.version);
        let members = Arc::new(members.clone());
        for shard in self.mesh.others(self.shard) {
            self.mesh.send(shard, ShardMessage::Members(Arc::clone(&members)));
        }
        self.adopt_members(members);
    }

    /// The directory as group 0 has it now. A node that has just come in knows more from who told it, until its log has
    /// caught up.
    pub(super) fn adopt_members(&mut self, members: Arc<Members>) {
        let roster = members.roster();
        if roster.version < self.links.local.directory.version || !roster.is_possible() {
            return;
        }
        tracing::debug!(version = roster.version, "the node directory has changed");
        self.directory.set_members(&members);
        let awaited = members.nodes.iter().filter(|node| !node.is_identified());
        // Hosts are addresses: names are looked up where an operator gives them, never on a shard's thread.
        let awaited = awaited.filter_map(|node| Some((node.node, node.peer.to_string().parse().ok()?)));
        let awaited = awaited.collect();
        self.take_neighbours(&Neighbours { roster, awaited });
        self.membership.members = Some(members);
        self.membership.look_soon(self.now);
    }

    /// Does what there is to do, if it is time to look.
    pub(super) fn follow_directory(&mut self) {
        let due = self.membership.look_at.is_some_and(|at| at <= self.now);
        let Some(members) = self.membership.members.clone().filter(|_| due && self.stopping.is_none()) else {
            return;
        };
        self.membership.look_at = None;
        let mut unsettled = members.is_changing();
        if self.directory.knows_members() {
            for number in 0..self.replicas.len() {
                unsettled |= self.bring_where_wanted(number, &members);
            }
            if self.shard == 0 {
                self.hand_directory_over(&members);
                self.say_what_is_so(&members);
            }
        } else {
            unsettled = true;
        }
        if unsettled {
            self.membership.look_at = Some(self.now + LOOK_INTERVAL);
        }
    }

    /// Changes the configuration of a group that is led here, if it should be another. True: it is not yet what it
    /// should be.
    fn bring_where_wanted(&mut self, number: usize, members: &Members) -> bool {
        if !self.replicas[number].raft.is_leader() {
            return false;
        }
        let replaced = self.replaced_disks(number, members);
        let replica = &self.replicas[number];
        let config = replica.raft.config();
        if replaced.is_empty() && is_as_wanted(&config, &members.nodes) && replica.raft.is_config_committed()
        {
            return false;
        }
        if !self.log.has_room() || !self.log.has_room_for_entries() {
            return true;
        }
        let status = replica.raft.status();
        let follower = |of: &raft::FollowerStatus| {
            let link = self.links.for_group(of.node, replica.group);
            let is_live = link.is_some_and(|link| self.links.is_up(link));
            Follower::new(of, status.committed, is_live, replaced.contains(&of.node))
        };
        let followers: Vec<Follower> = status.followers.iter().map(follower).collect();
        let held = if replica.group == GroupId(0) { self.held_in_directory(members) } else { Vec::new() };
        let changes = reconcile(&Situation {
            me: self.directory.node,
            config: &config,
            nodes: &members.nodes,
            removed: &members.removed,
            followers: &followers,
            held: &held,
        });
        if !changes.is_empty() {
            let replica = &mut self.replicas[number];
            match replica.raft.change(self.now, &changes) {
                Ok(id) => {
                    tracing::info!(group = %replica.group, %id, ?changes, "brings its members up to date")
                }
                Err(ChangeError::Unchanged | ChangeError::Invalid(_)) => {
                    tracing::error!(group = %replica.group, ?changes, "wants a change that is none");
                }
                Err(not_now) => {
                    tracing::debug!(group = %replica.group, %not_now, "changes its members later")
                }
            }
            self.take_events(number);
            self.mark_dirty(number);
        }
        true
    }

    /// Followers that are other disks than those this leader got to know under their ids: what the former ones have
    /// acknowledged, these do not have. They leave and come back as new.
    fn replaced_disks(&mut self, number: usize, members: &Members) -> Vec<NodeId> {
        let replica = &mut self.replicas[number];
        let config = replica.raft.config();
        replica.disks.retain(|(node, _)| config.contains(*node));
        let mut replaced = Vec::new();
        for node in members.nodes.iter().filter(|node| node.is_identified() && config.contains(node.node)) {
            match replica.disks.iter().find(|(known, _)| *known == node.node) {
                Some((_, disk)) if *disk != node.incarnation => replaced.push(node.node),
                Some(_) => {}
                None => replica.disks.push((node.node, node.incarnation)),
            }
        }
        replaced
    }

    /// Nodes on whose account other groups have still something to do: group 0 goes last, for it is where a change is
    /// driven from.
    fn held_in_directory(&self, members: &Members) -> Vec<NodeId> {
        let changing = members.nodes.iter().filter(|node| node.state != MemberState::Active);
        changing.filter(|node| !self.other_groups_done_with(node)).map(|node| node.node).collect()
    }

    fn other_groups_done_with(&self, node: &Node) -> bool {
        let mut groups = (1..=self.directory.placement.groups).map(GroupId);
        groups.all(|group| self.directory.has_settled(group, |config| is_done_with(config, node)))
    }

    /// A node that is leaving does not lead the directory: once it is out of a group it hears no more of it, so it cannot
    /// see that all are done.
    fn hand_directory_over(&mut self, members: &Members) {
        let stays = |node: NodeId| members.node(node).is_some_and(|node| node.state == MemberState::Active);
        let Some(number) = self.local(GroupId(0)).filter(|_| !stays(self.directory.node)) else { return };
        if !self.replicas[number].raft.is_leader() {
            return;
        }
        let status = self.replicas[number].raft.status();
        let is_up = |node| self.links.for_group(node, GroupId(0)).is_some_and(|link| self.links.is_up(link));
        let able = status.followers.iter().filter(|of| !of.learner && stays(of.node) && is_up(of.node));
        if let Some(best) = able.max_by_key(|follower| follower.matched) {
            tracing::info!(to = %best.node, "hands the node directory over, as this node is leaving");
            let _not_now = self.replicas[number].raft.transfer(self.now, best.node);
            self.mark_dirty(number);
        }
    }

    /// Tells group 0 which disks have turned up, and, as its leader, who is in everywhere and who is out.
    fn say_what_is_so(&mut self, members: &Members) {
        let quiet = self.membership.said.is_some_and(|at| self.now.saturating_sub(at) < SAY_INTERVAL);
        if quiet || !members.is_changing() {
            return;
        }
        let groups = self.directory.placement.groups;
        let births = self.former.iter().flat_map(|former| former.joiners());
        let turned_up = births.filter(|birth| birth.group_count == groups).filter_map(|birth| {
            let node = members.node(birth.node).filter(|node| !node.is_identified())?;
            Some(Command::Identify {
                node: node.node,
                incarnation: birth.incarnation,
                shards: birth.shard_count,
                client: birth.client.clone(),
            })
        });
        let mut commands: Vec<Command> = turned_up.collect();
        let leads = self.local(GroupId(0)).is_some_and(|number| self.replicas[number].raft.is_leader());
        let changing = members.nodes.iter().filter(|node| leads && node.is_identified());
        for &Node { node, incarnation, state, .. } in changing.filter(|node| self.is_done_everywhere(node)) {
            match state {
                MemberState::Joining => commands.push(Command::Joined { node, incarnation }),
                MemberState::Leaving => commands.push(Command::Left { node, incarnation }),
                MemberState::Active => {}
            }
        }
        for command in commands {
            self.membership.said = Some(self.now);
            self.tell_directory(&command);
        }
    }

    fn is_done_everywhere(&self, node: &Node) -> bool {
        let own = self.directory.has_settled(GroupId(0), |config| is_done_with(config, node));
        own && node.state != MemberState::Active && self.other_groups_done_with(node)
    }

    fn tell_directory(&mut self, command: &Command) {
        let Some(number) = self.local(GroupId(0)) else { return };
        tracing::info!(?command, "to the node directory");
        let head = RequestHead {
            group: GroupId(0),
            kind: Kind::Write,
            reply_to: ReplyTo::Nobody,
            deadline: self.now + DEADLINE,
            proxied: false,
        };
        let bytes = command.encode();
        self.offer(number, std::iter::once((head, &bytes as &dyn Encode)));
    }
}
