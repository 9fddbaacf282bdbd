//! What the shards of one node know together: who leads which group, and where the other nodes are.
//!
//! Each group's line is written by the shard that owns the group and read by all, without a lock; the node
//! table changes when a peer introduces itself and is read by cold commands only.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use raft::{Config, FollowerStatus, GroupId, Index, NodeId, Role, Standing, Term};

use crate::block_facts::BlockFacts;
use crate::log_facts::LogFacts;
use crate::members::Members;
use crate::placement::Placement;
use crate::snapshot_life::SnapshotFacts;
use crate::transfer_facts::TransferFacts;

/// What one group's replica on this node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupFacts {
    pub(crate) role: Role,
    /// Who leads now, if known.
    pub(crate) leader: Option<NodeId>,
    /// Who led last: a slot range keeps its last master while it has none.
    pub(crate) last_leader: Option<NodeId>,
    pub(crate) term: Term,
    pub(crate) last: Index,
    pub(crate) committed: Index,
    pub(crate) applied: Index,
    /// The entry of the newest snapshot; 0 without one.
    pub(crate) snapshot: Index,
    pub(crate) standing: Standing,
    pub(crate) quiesced: bool,
}

/// What is told of a group less often than its cursors move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupMembers {
    /// The newest configuration this node's replica knows, and whether it is known to be committed.
    pub(crate) config: Config,
    pub(crate) committed: bool,
    /// On the leader: its followers, as of at most a second ago.
    pub(crate) followers: Vec<FollowerStatus>,
}

#[derive(Default)]
struct GroupLine {
    /// `last_leader << 16 | leader`; 0 is nobody.
    leaders: AtomicU32,
    role: AtomicU8,
    term: AtomicU64,
    last: AtomicU64,
    committed: AtomicU64,
    applied: AtomicU64,
    snapshot: AtomicU64,
    /// 1: recovering, 2: faulted, 4: quiesced.
    flags: AtomicU8,
    /// Tells the configuration in `members` from others: twice its index, and one more when it is committed.
    config_mark: AtomicU64,
    members: RwLock<Arc<GroupMembers>>,
}

/// A node of the cluster, as its forming record and its handshakes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) peer_host: String,
    pub(crate) client_host: String,
    /// Client port of shard 0; 0 while unknown or without clients.
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) shards: u16,
}

impl NodeFacts {
    /// What the node says of itself in greetings: where its clients reach it, or its peers if it serves none.
    pub(crate) fn client_or_peer(&self) -> net::handshake::Address {
        let client = net::handshake::Address::new(&self.client_host, self.client_port);
        let address = client.or_else(|_| net::handshake::Address::new(&self.peer_host, self.peer_port));
        address.expect("the peer address was bound, so it is one")
    }
}

/// Counters of one shard that any shard reports.
#[derive(Default)]
pub(crate) struct ShardFacts {
    pub(crate) clients: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) keys: AtomicU64,
    /// Messages of groups sent to other nodes.
    pub(crate) raft_messages: AtomicU64,
    /// Beats of the shard sent to other nodes' shards.
    pub(crate) beats: AtomicU64,
    /// Connections of the peer port that were closed because of what came.
    pub(crate) links_damaged: AtomicU64,
    pub(crate) log: LogFacts,
    pub(crate) snapshots: SnapshotFacts,
    pub(crate) blocks: BlockFacts,
    pub(crate) transfers: TransferFacts,
}

/// The node's shared knowledge.
pub(crate) struct Directory {
    pub(crate) node: NodeId,
    pub(crate) placement: Placement,
    groups: Box<[GroupLine]>,
    shards: Box<[ShardFacts]>,
    nodes: RwLock<Arc<Vec<NodeFacts>>>,
    members: RwLock<Arc<Members>>,
    /// The [`GroupMembers`] that was published last without followers.
    common: RwLock<Arc<GroupMembers>>,
    cluster: RwLock<[u8; 16]>,
    /// Grows with every change of a leader or of the node table: cached views compare it.
    epoch: AtomicU64,
    /// True once a shard cannot go on: every shard falls silent.
    dead: AtomicBool,
    /// Bit n: node n is connected to some shard of this one. (Clusters have few nodes; ids above 63 share none.)
    reachable: AtomicU64,
    /// Clients that each shard takes.
    clients_max: AtomicU64,
}

/// Open client connections that a shard takes at most: what Redis allows by default.
const CLIENTS_MAX: u64 = 10_000;

impl Directory {
    pub(crate) fn new(node: NodeId, placement: Placement) -> Directory {
        Directory {
            node,
            placement,
            groups: (0..=placement.groups).map(|_| GroupLine::default()).collect(),
            shards: (0..placement.shards).map(|_| ShardFacts::default()).collect(),
            nodes: RwLock::default(),
            members: RwLock::default(),
            common: RwLock::default(),
            cluster: RwLock::default(),
            epoch: AtomicU64::new(1),
            dead: AtomicBool::new(false),
            reachable: AtomicU64::new(0),
            clients_max: AtomicU64::new(CLIENTS_MAX),
        }
    }

    /// The host has descriptors for no more clients than `count` on each shard.
    pub(crate) fn limit_clients(&self, count: u64) {
        self.clients_max.store(count.min(CLIENTS_MAX), Ordering::Relaxed);
    }

    /// Clients that each shard takes.
    pub(crate) fn clients_max(&self) -> u64 {
        self.clients_max.load(Ordering::Relaxed)
    }

    fn line(&self, group: GroupId) -> Option<&GroupLine> {
        self.groups.get(usize::try_from(group.0).ok()?)
    }

    /// Publishes what this node's replica of `group` knows. Called by its owner only.
    pub(crate) fn publish(&self, group: GroupId, raft: &raft::Raft) {
        let Some(line) = self.line(group) else { return };
        line.role.store(raft.role() as u8, Ordering::Relaxed);
        line.term.store(raft.term().0, Ordering::Relaxed);
        line.last.store(raft.last().0, Ordering::Relaxed);
        line.committed.store(raft.committed().0, Ordering::Relaxed);
        line.applied.store(raft.applied_index().0, Ordering::Relaxed);
        line.snapshot.store(raft.compacted().index.0, Ordering::Relaxed);
        let standing = match raft.standing() {
            Standing::Normal => 0,
            Standing::Recovering => RECOVERING,
            Standing::Faulted => FAULTED,
            Standing::Joining => RECOVERING | FAULTED,
        };
        let quiesced = if raft.is_quiesced() { QUIESCED } else { 0 };
        line.flags.store(standing | quiesced, Ordering::Relaxed);
        let mark = 2 * raft.config_index().0 + u64::from(raft.is_config_committed()) + 1;
        if line.config_mark.load(Ordering::Relaxed) != mark {
            line.config_mark.store(mark, Ordering::Relaxed);
            let (config, committed) = (raft.config(), raft.is_config_committed());
            self.change_members(line, |members| (members.config, members.committed) = (config, committed));
        }
        let before = line.leaders.load(Ordering::Relaxed);
        let leader = raft.leader().map_or(0, |node| u32::from(node.0));
        let last = if leader == 0 { before >> 16 } else { leader };
        let leaders = last << 16 | leader;
        if leaders != before {
            line.leaders.store(leaders, Ordering::Relaxed);
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    /// What this node knows of `group`.
    pub(crate) fn group(&self, group: GroupId) -> Option<GroupFacts> {
        let line = self.line(group)?;
        let leaders = line.leaders.load(Ordering::Relaxed);
        Some(GroupFacts {
            role: role_from(line.role.load(Ordering::Relaxed)),
            leader: node_from(leaders & 0xffff),
            last_leader: node_from(leaders >> 16),
            term: Term(line.term.load(Ordering::Relaxed)),
            last: Index(line.last.load(Ordering::Relaxed)),
            committed: Index(line.committed.load(Ordering::Relaxed)),
            applied: Index(line.applied.load(Ordering::Relaxed)),
            snapshot: Index(line.snapshot.load(Ordering::Relaxed)),
            standing: match line.flags.load(Ordering::Relaxed) & (RECOVERING | FAULTED) {
                0 => Standing::Normal,
                RECOVERING => Standing::Recovering,
                FAULTED => Standing::Faulted,
                _ => Standing::Joining,
            },
            quiesced: line.flags.load(Ordering::Relaxed) & QUIESCED != 0,
        })
    }

    /// Who belongs to `group`, as this node knows it.
    pub(crate) fn group_members(&self, group: GroupId) -> Arc<GroupMembers> {
        self.line(group).map(GroupLine::members).unwrap_or_default()
    }

    /// Nearly all groups have the same members, and those that are not led here nothing else: they share one value.
    fn change_members(&self, line: &GroupLine, change: impl FnOnce(&mut GroupMembers)) {
        let mut members = GroupMembers::clone(&line.members());
        change(&mut members);
        let mut common = self.common.write().unwrap_or_else(PoisonError::into_inner);
        if **common != members && members.followers.is_empty() {
            *common = Arc::new(members.clone());
        }
        let shared = if **common == members { Arc::clone(&common) } else { Arc::new(members) };
        *line.members.write().unwrap_or_else(PoisonError::into_inner) = shared;
    }

    /// Publishes the followers of a group that this node leads; none if it does not.
    pub(crate) fn publish_followers(&self, group: GroupId, followers: Vec<FollowerStatus>) {
        let Some(line) = self.line(group) else { return };
        self.change_members(line, |members| members.followers = followers);
    }

    /// Whether the group's newest configuration, as this node knows it, is committed and `is_right`. While no leader of
    /// the group is known here, what is known may be old.
    pub(crate) fn has_settled(&self, group: GroupId, is_right: impl Fn(&Config) -> bool) -> bool {
        let led = self.group(group).is_some_and(|facts| facts.leader.is_some());
        let members = self.group_members(group);
        led && members.committed && is_right(&members.config)
    }

    /// How many groups are where the node directory wants them, and how many there are, group 0 included.
    pub(crate) fn groups_settled(&self) -> (u32, u32) {
        let members = self.members();
        let is_right = |config: &Config| crate::members::is_as_wanted(config, &members.nodes);
        let settled =
            (0..=self.placement.groups).filter(|id| self.has_settled(GroupId(*id), is_right)).count();
        (u32::try_from(settled).unwrap_or(u32::MAX), self.placement.groups + 1)
    }

    /// The newest node directory that this node's replica of group 0 has; empty before there is one.
    pub(crate) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_members(&self, members: &Arc<Members>) {
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(members);
    }

    /// Whether [`Directory::members`] is no older than what the leader of group 0 last said: nobody should act on an
    /// older one.
    pub(crate) fn knows_members(&self) -> bool {
        self.group(GroupId(0)).is_some_and(|facts| facts.leader.is_some() && facts.applied >= facts.committed)
    }

    pub(crate) fn shard(&self, shard: u16) -> &ShardFacts {
        &self.shards[usize::from(shard)]
    }

    pub(crate) fn shards(&self) -> &[ShardFacts] {
        &self.shards
    }

    /// Counts connections and commands from zero again.
    pub(crate) fn reset_statistics(&self) {
        for shard in &self.shards {
            shard.connections.store(0, Ordering::Relaxed);
            shard.commands.store(0, Ordering::Relaxed);
        }
    }

    /// The node table, by node id.
    pub(crate) fn nodes(&self) -> Arc<Vec<NodeFacts>> {
        Arc::clone(&self.nodes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces or adds a node's facts.
    pub(crate) fn learn(&self, facts: NodeFacts) {
        let mut table = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if table.contains(&facts) {
            return;
        }
        let mut nodes = table.as_ref().clone();
        nodes.retain(|known| known.node != facts.node);
        nodes.push(facts);
        nodes.sort_by_key(|known| known.node);
        *table = Arc::new(nodes);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// A member, as the node directory has it. Where its clients reach it, it has said itself if it was met.
    pub(crate) fn learn_member(&self, facts: NodeFacts) {
        let known = self.nodes().iter().find(|known| known.node == facts.node).cloned();
        match known.filter(|known| known.incarnation == facts.incarnation) {
            Some(known) => {
                let (client_host, client_port) = (known.client_host, known.client_port);
                self.learn(NodeFacts { client_host, client_port, ..facts });
            }
            None => self.learn(facts),
        }
    }

    /// Forgets the nodes that are none any more.
    pub(crate) fn keep_only(&self, is_member: impl Fn(NodeId) -> bool) {
        let mut table = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if table.iter().all(|known| is_member(known.node)) {
            return;
        }
        let kept = table.iter().filter(|known| is_member(known.node)).cloned().collect();
        *table = Arc::new(kept);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// A peer introduced itself with the address where its clients reach it.
    pub(crate) fn learn_client(&self, node: NodeId, client: &net::handshake::Address) {
        let known = self.nodes().iter().find(|facts| facts.node == node).cloned();
        if let Some(known) = known {
            self.learn(NodeFacts {
                client_host: client.host().to_owned(),
                client_port: client.port(),
                ..known
            });
        }
    }

    /// A link to `node` went up or down.
    pub(crate) fn set_reachable(&self, node: NodeId, reachable: bool) {
        let bit = 1_u64.checked_shl(u32::from(node.0)).unwrap_or(0);
        match reachable {
            true => self.reachable.fetch_or(bit, Ordering::Relaxed),
            false => self.reachable.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    /// Whether a link to `node` is up.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.reachable.load(Ordering::Relaxed) & 1_u64.checked_shl(u32::from(node.0)).unwrap_or(0) != 0
    }

    pub(crate) fn set_cluster(&self, id: [u8; 16]) {
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// The cluster's id; zero while unformed.
    pub(crate) fn cluster(&self) -> [u8; 16] {
        *self.cluster.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}

const RECOVERING: u8 = 1;
const FAULTED: u8 = 2;
const QUIESCED: u8 = 4;

impl GroupLine {
    fn members(&self) -> Arc<GroupMembers> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn node_from(bits: u32) -> Option<NodeId> {
    u16::try_from(bits).ok().filter(|id| *id != 0).map(NodeId)
}

fn role_from(byte: u8) -> Role {
    [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader]
        .into_iter()
        .find(|role| *role as u8 == byte)
        .unwrap_or(Role::Follower)
}
