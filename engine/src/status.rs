//! What a node says of itself and its cluster, and the JSON behind `RINGRAFT STATUS`.
//!
//! The JSON is written by hand, as an embedder without the `cli` feature has no JSON library; `ringraft status` reads
//! it with serde (`cli/status`), and a test there holds the two together.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::{Config, FollowerState, FollowerStatus, GroupId, Index, NodeId, Role, Standing, Term};

use crate::directory::{Directory, ShardFacts};
use crate::kv::SlotMap;
use crate::members::{Member, Members};
use crate::transfer_facts::{Direction, TransferStatus};

/// What one node knows of itself, its groups and its cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineStatus {
    /// The node.
    pub node: NodeId,
    /// The cluster's id; `None` while it has not formed or this node does not belong to it yet.
    pub cluster: Option<[u8; 16]>,
    /// Every group, by id; group 0 is the node directory.
    pub groups: Vec<GroupStatus>,
    /// The nodes of the cluster, as this node's replica of group 0 has them.
    pub members: Vec<Member>,
    /// How many of the groups have, as far as this node knows, the configuration that the node directory wants. All of
    /// them, unless a change of membership is under way.
    pub groups_settled: u32,
    /// Snapshots on their way to and from this node, as of at most a tenth of a second ago.
    pub transfers: Vec<TransferStatus>,
    /// Messages of groups that this node has sent to others since it started: none while all groups rest.
    pub raft_messages_sent: u64,
    /// Signs of life of its shards that it has sent.
    pub beats_sent: u64,
    /// Connections with peers that it closed because something came that no sound node sends: a network or a machine
    /// damages what passes, or a stranger has found the port.
    pub links_damaged: u64,
}

/// One group, as one node's replica knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// What this node is in it.
    pub role: Role,
    /// Who leads it, if known.
    pub leader: Option<NodeId>,
    /// The newest term heard of.
    pub term: Term,
    /// The last entry of this node's log.
    pub last: Index,
    /// Up to here entries never change.
    pub committed: Index,
    /// Up to here they are in this node's state.
    pub applied: Index,
    /// The entry of this node's newest snapshot, which its log begins behind; 0 without one.
    pub snapshot: Index,
    /// Whether this replica takes part as it should.
    pub standing: Standing,
    /// Nothing is to be done, and nothing is sent.
    pub quiesced: bool,
    /// The newest configuration that this node knows.
    pub config: Config,
    /// Whether that is known to be committed.
    pub config_committed: bool,
    /// On the leader: how far each follower is, as of at most a second ago.
    pub followers: Vec<FollowerStatus>,
}

impl EngineStatus {
    pub(crate) fn of(directory: &Directory) -> EngineStatus {
        let cluster = directory.cluster();
        let groups = (0..=directory.placement.groups).filter_map(|id| group_status(directory, GroupId(id)));
        EngineStatus {
            node: directory.node,
            cluster: (cluster != [0; 16]).then_some(cluster),
            groups: groups.collect(),
            members: directory.members().list(),
            groups_settled: directory.groups_settled().0,
            transfers: directory.shards().iter().flat_map(|shard| shard.transfers.get()).collect(),
            raft_messages_sent: sum(directory, |shard| &shard.raft_messages),
            beats_sent: sum(directory, |shard| &shard.beats),
            links_damaged: sum(directory, |shard| &shard.links_damaged),
        }
    }
}

fn sum(directory: &Directory, count: impl Fn(&ShardFacts) -> &AtomicU64) -> u64 {
    directory.shards().iter().map(|shard| count(shard).load(Ordering::Relaxed)).sum()
}

fn group_status(directory: &Directory, group: GroupId) -> Option<GroupStatus> {
    let facts = directory.group(group)?;
    let members = directory.group_members(group);
    Some(GroupStatus {
        group,
        role: facts.role,
        leader: facts.leader,
        term: facts.term,
        last: facts.last,
        committed: facts.committed,
        applied: facts.applied,
        snapshot: facts.snapshot,
        standing: facts.standing,
        quiesced: facts.quiesced,
        config: members.config.clone(),
        config_committed: members.committed,
        followers: members.followers.clone(),
    })
}

/// The status of this node as JSON.
pub(crate) fn node_status(directory: &Directory) -> String {
    let status = EngineStatus::of(directory);
    let mut out = String::new();
    write_status(&mut out, directory, &status).expect("writing into a string cannot fail");
    out
}

fn write_status(out: &mut String, directory: &Directory, status: &EngineStatus) -> std::fmt::Result {
    write!(out, "{{\"node\":{},\"cluster\":", status.node)?;
    match status.cluster {
        None => out.push_str("null"),
        Some(id) => {
            out.push('"');
            id.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            out.push('"');
        }
    }
    let placement = directory.placement;
    let version = env!("CARGO_PKG_VERSION");
    write!(out, ",\"version\":\"{version}\",\"shards\":{},\"groups\":[", placement.shards)?;
    let slots = u16::try_from(placement.groups).ok().map(SlotMap::new);
    for (place, group) in status.groups.iter().enumerate() {
        let range = slots.filter(|_| group.group.0 > 0).map_or(0..0, |slots| slots.slots(group.group));
        out.push_str(if place > 0 { "," } else { "" });
        write_group(out, status.node, group, range)?;
    }
    out.push_str("],\"nodes\":[");
    for (place, node) in directory.nodes().iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let reachable = node.node == directory.node || directory.is_reachable(node.node);
        let (id, host, port) = (node.node, &node.peer_host, node.peer_port);
        write!(out, "{comma}{{\"id\":{id},\"peer\":\"{host}:{port}\",\"client\":")?;
        match node.client_port {
            0 => out.push_str("null"),
            port => write!(out, "\"{}:{port}\"", node.client_host)?,
        }
        write!(out, ",\"reachable\":{reachable}}}")?;
    }
    out.push_str("],\"members\":");
    write_members(out, &directory.members())?;
    write!(out, ",\"groups_settled\":{},\"transfers\":[", status.groups_settled)?;
    for (place, transfer) in status.transfers.iter().enumerate() {
        out.push_str(if place > 0 { "," } else { "" });
        write_transfer(out, transfer)?;
    }
    out.push(']');
    let EngineStatus { raft_messages_sent, beats_sent, links_damaged, .. } = status;
    write!(out, ",\"raft_messages_sent\":{raft_messages_sent},\"beats_sent\":{beats_sent}")?;
    write!(out, ",\"links_damaged\":{links_damaged}}}")
}

fn write_group(
    out: &mut String,
    node: NodeId,
    group: &GroupStatus,
    slots: std::ops::Range<u16>,
) -> std::fmt::Result {
    write!(out, "{{\"id\":{},\"slots\":[", group.group)?;
    if !slots.is_empty() {
        write!(out, "[{},{}]", slots.start, slots.end - 1)?;
    }
    let leader = group.leader.map_or("null".to_owned(), |node| node.to_string());
    write!(out, "],\"leader\":{leader},\"role\":\"{}\",\"term\":{}", role(node, group), group.term)?;
    write!(out, ",\"last\":{},\"committed\":{},\"applied\":{}", group.last, group.committed, group.applied)?;
    write!(out, ",\"snapshot\":{},\"quiesced\":{},\"config\":{{", group.snapshot, group.quiesced)?;
    let Config { voters, outgoing, learners, learners_next } = &group.config;
    write_ids(out, "voters", voters)?;
    for (name, ids) in [("outgoing", outgoing), ("learners", learners), ("learners_next", learners_next)] {
        out.push(',');
        write_ids(out, name, ids)?;
    }
    write!(out, ",\"committed\":{}}},\"followers\":[", group.config_committed)?;
    for (place, follower) in group.followers.iter().enumerate() {
        let state = match follower.state {
            FollowerState::Probe => "probe",
            FollowerState::Replicate => "replicate",
            FollowerState::Snapshot => "snapshot",
        };
        let FollowerStatus { node, matched, next, inflight_bytes, learner, .. } = follower;
        let comma = if place > 0 { "," } else { "" };
        write!(
            out,
            "{comma}{{\"node\":{node},\"state\":\"{state}\",\"learner\":{learner},\"matched\":{matched}"
        )?;
        write!(out, ",\"next\":{next},\"inflight_bytes\":{inflight_bytes}}}")?;
    }
    out.push_str("]}");
    Ok(())
}

fn write_transfer(out: &mut String, transfer: &TransferStatus) -> std::fmt::Result {
    let TransferStatus { group, id, direction, bytes_done, bytes } = transfer;
    let (to, from) = match *direction {
        Direction::To(to) => (Some(to), None),
        Direction::From(from) => (None, from),
    };
    let node = |node: Option<NodeId>| node.map_or("null".to_owned(), |node| node.to_string());
    write!(out, "{{\"group\":{group},\"to\":{},\"from\":{},\"snapshot\":{}", node(to), node(from), id.index)?;
    write!(out, ",\"bytes_done\":{bytes_done},\"bytes\":{bytes}}}")
}

fn role(node: NodeId, group: &GroupStatus) -> &'static str {
    match (group.standing, group.role) {
        (Standing::Joining, _) => "joining",
        (Standing::Recovering, _) => "recovering",
        (Standing::Faulted, _) => "faulted",
        (_, Role::Leader) => "leader",
        (_, Role::Follower) if !group.config.is_voter(node) => "learner",
        (_, Role::Follower) => "follower",
        (_, Role::Candidate | Role::PreCandidate) => "candidate",
    }
}

fn write_ids(out: &mut String, name: &str, ids: &[NodeId]) -> std::fmt::Result {
    write!(out, "\"{name}\":[")?;
    for (place, id) in ids.iter().enumerate() {
        write!(out, "{}{id}", if place > 0 { "," } else { "" })?;
    }
    out.push(']');
    Ok(())
}

/// The node directory as JSON: the answer of `RINGRAFT MEMBER LIST`.
pub(crate) fn members_json(members: &Members) -> String {
    let mut out = String::new();
    write_members(&mut out, members).expect("writing into a string cannot fail");
    out
}

fn write_members(out: &mut String, members: &Members) -> std::fmt::Result {
    out.push('[');
    for (place, member) in members.list().iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let Member { node, incarnation, peer, client, shards, state } = member;
        write!(out, "{comma}{{\"id\":{node},\"incarnation\":\"{incarnation:016x}\",\"peer\":\"{peer}\"")?;
        match client {
            None => out.push_str(",\"client\":null"),
            Some(client) => write!(out, ",\"client\":\"{client}\"")?,
        }
        write!(out, ",\"shards\":{shards},\"state\":\"{}\"}}", state.word())?;
    }
    out.push(']');
    Ok(())
}
