//! The directory itself: the nodes, who was removed, what holds for the whole cluster.

use std::collections::BTreeMap;

use net::forming::{MEMBERS_MAX, REMOVED_MAX, Record, Roster, Tombstone};
use net::handshake::Address;
use raft::NodeId;

use super::command::{Command, Verdict};
use super::encoding::{Fields, Malformed, put_address, put_text, put_u16, put_u64};

/// The version of the state's bytes.
const VERSION: u8 = 1;

/// Settings of the cluster there may be: each program version knows a handful.
const SETTINGS_MAX: usize = 64;

/// Where a node stands in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberState {
    /// Added, and not yet a voter of every group.
    Joining,
    /// A voter of every group.
    Active,
    /// Removed, and not yet out of every group.
    Leaving,
}

impl MemberState {
    /// The word for it, as `RINGRAFT MEMBER LIST` has it.
    pub fn word(self) -> &'static str {
        match self {
            MemberState::Joining => "joining",
            MemberState::Active => "active",
            MemberState::Leaving => "leaving",
        }
    }
}

/// A node of the cluster, as group 0 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Which disk it is; 0 while a joining node has not been heard of.
    pub incarnation: u64,
    /// Where its shard 0 listens for peers.
    pub peer: String,
    /// Where clients reach its shard 0, once it was heard of.
    pub client: Option<String>,
    /// Its shards; 0 while it has not been heard of.
    pub shards: u16,
    /// Where it stands.
    pub state: MemberState,
}

/// One node of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) node: NodeId,
    /// 0: joining, and not heard of yet.
    pub(crate) incarnation: u64,
    /// 0 as long as the incarnation is.
    pub(crate) shards: u16,
    pub(crate) peer: Address,
    pub(crate) client: Option<Address>,
    pub(crate) state: MemberState,
}

impl Node {
    /// Whether it is known which disk this is.
    pub(crate) fn is_identified(&self) -> bool {
        self.incarnation != 0
    }
}

/// The node directory: the state of group 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// The index of the newest entry that changed it; 0: as the cluster formed.
    pub(crate) version: u64,
    /// The newest format that nodes of this cluster write.
    pub(crate) format: u16,
    /// By ascending id. Empty only before it is known how the cluster formed.
    pub(crate) nodes: Vec<Node>,
    /// Disks that were removed, the newest last.
    pub(crate) removed: Vec<Tombstone>,
    pub(crate) settings: BTreeMap<String, String>,
}

impl Members {
    /// The directory of a cluster that has just formed: the same on all nodes, for the record is.
    pub(crate) fn founded(record: &Record) -> Members {
        let node = |member: &net::forming::Member| Node {
            node: member.node,
            incarnation: member.incarnation,
            shards: member.shard_count,
            peer: member.peer.clone(),
            client: Some(member.client.clone()),
            state: MemberState::Active,
        };
        Members { nodes: record.members.iter().map(node).collect(), ..Members::default() }
    }

    /// Whether it says nothing yet, not even how the cluster formed.
    pub(crate) fn is_unfounded(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|known| known.node == node)
    }

    /// Whether somebody joins or leaves.
    pub(crate) fn is_changing(&self) -> bool {
        self.nodes.iter().any(|node| node.state != MemberState::Active)
    }

    /// The nodes that stay, ascending.
    pub(crate) fn active(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.state == MemberState::Active).map(|node| node.node).collect()
    }

    /// What other nodes are told: everybody whose disk is known.
    pub(crate) fn roster(&self) -> Roster {
        let identified = self.nodes.iter().filter(|node| node.is_identified());
        let members = identified.map(|node| net::forming::Member {
            node: node.node,
            incarnation: node.incarnation,
            shard_count: node.shards,
            peer: node.peer.clone(),
            client: node.client.clone().unwrap_or_else(|| node.peer.clone()),
        });
        Roster { version: self.version, members: members.collect(), removed: self.removed.clone() }
    }

    /// The nodes for the library.
    pub(crate) fn list(&self) -> Vec<Member> {
        let member = |node: &Node| Member {
            node: node.node,
            incarnation: node.incarnation,
            peer: node.peer.to_string(),
            client: node.client.as_ref().map(ToString::to_string),
            shards: node.shards,
            state: node.state,
        };
        self.nodes.iter().map(member).collect()
    }

    /// Carries out a command of entry `index`.
    pub(super) fn carry_out(&mut self, index: u64, command: Command) -> Verdict {
        let before = self.clone();
        let verdict = match command {
            Command::Add { node, peer } => self.add(node, peer),
            Command::Remove { node } => self.remove(node),
            Command::Identify { node, incarnation, shards, client } => {
                self.identify(node, incarnation, shards, client)
            }
            Command::Joined { node, incarnation } => self.joined(node, incarnation),
            Command::Left { node, incarnation } => self.left(node, incarnation),
            Command::Set { name, value } => self.set(name, value),
        };
        if *self != before {
            self.version = index;
        }
        verdict
    }

    fn node_mut(&mut self, node: NodeId) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|known| known.node == node)
    }

    fn add(&mut self, node: NodeId, peer: Address) -> Verdict {
        if node.0 == 0 {
            return Verdict::NoNode;
        }
        match self.node(node) {
            Some(known) if known.state == MemberState::Leaving => return Verdict::StillLeaving,
            Some(known) if known.state == MemberState::Joining && known.peer == peer => return Verdict::Done,
            Some(_) => return Verdict::AlreadyMember,
            None => {}
        }
        if self.nodes.iter().any(|known| known.peer == peer) {
            return Verdict::AddressTaken;
        }
        if self.nodes.len() >= MEMBERS_MAX {
            return Verdict::TooMany;
        }
        let state = MemberState::Joining;
        self.nodes.push(Node { node, incarnation: 0, shards: 0, peer, client: None, state });
        self.nodes.sort_by_key(|known| known.node);
        Verdict::Done
    }

    fn remove(&mut self, node: NodeId) -> Verdict {
        let stays = |known: &Node| known.node != node && known.state == MemberState::Active;
        let others = self.nodes.iter().any(stays);
        match self.node_mut(node) {
            None => Verdict::NotMember,
            // Nobody ever heard of it, so no group has it.
            Some(known) if !known.is_identified() => {
                self.nodes.retain(|known| known.node != node);
                Verdict::Done
            }
            Some(known) if known.state == MemberState::Active && !others => Verdict::LastNode,
            Some(known) => {
                known.state = MemberState::Leaving;
                Verdict::Done
            }
        }
    }

    fn identify(&mut self, node: NodeId, incarnation: u64, shards: u16, client: Address) -> Verdict {
        let was_removed = self.removed.contains(&Tombstone { node, incarnation });
        match self.node_mut(node) {
            Some(known) if !known.is_identified() && !was_removed && incarnation != 0 && shards != 0 => {
                (known.incarnation, known.shards, known.client) = (incarnation, shards, Some(client));
                Verdict::Done
            }
            Some(known) if known.incarnation == incarnation && known.shards == shards => Verdict::Done,
            _ => Verdict::Outdated,
        }
    }

    fn joined(&mut self, node: NodeId, incarnation: u64) -> Verdict {
        match self.node_mut(node).filter(|known| known.is_identified() && known.incarnation == incarnation) {
            Some(known) if known.state != MemberState::Leaving => {
                known.state = MemberState::Active;
                Verdict::Done
            }
            _ => Verdict::Outdated,
        }
    }

    fn left(&mut self, node: NodeId, incarnation: u64) -> Verdict {
        let leaves = |known: &Node| {
            (known.node, known.incarnation, known.state) == (node, incarnation, MemberState::Leaving)
        };
        if !self.nodes.iter().any(leaves) {
            return Verdict::Outdated;
        }
        self.nodes.retain(|known| known.node != node);
        self.removed.push(Tombstone { node, incarnation });
        if self.removed.len() > REMOVED_MAX {
            self.removed.remove(0);
        }
        Verdict::Done
    }

    fn set(&mut self, name: String, value: String) -> Verdict {
        if self.settings.len() >= SETTINGS_MAX && !self.settings.contains_key(&name) {
            return Verdict::TooMany;
        }
        self.settings.insert(name, value);
        Verdict::Done
    }

    /// `[version 1][index 8][format 2][nodes 2 ..][removed 2 ..][settings 2 ..]`; a node is its id 2, incarnation 8,
    /// shards 2, peer address, client address (empty: none), state 1.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let count = |len: usize| u16::try_from(len).expect("every list of the directory is bounded");
        let mut out = vec![VERSION];
        put_u64(&mut out, self.version);
        put_u16(&mut out, self.format);
        put_u16(&mut out, count(self.nodes.len()));
        for node in &self.nodes {
            put_u16(&mut out, node.node.0);
            put_u64(&mut out, node.incarnation);
            put_u16(&mut out, node.shards);
            put_address(&mut out, Some(&node.peer));
            put_address(&mut out, node.client.as_ref());
            out.push(match node.state {
                MemberState::Joining => 1,
                MemberState::Active => 2,
                MemberState::Leaving => 3,
            });
        }
        put_u16(&mut out, count(self.removed.len()));
        for Tombstone { node, incarnation } in &self.removed {
            put_u16(&mut out, node.0);
            put_u64(&mut out, *incarnation);
        }
        put_u16(&mut out, count(self.settings.len()));
        for (name, value) in &self.settings {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
        out
    }

    /// Reads what [`Members::encode`] wrote. `None`: damaged, or of a newer version, or what no cluster comes to.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Members> {
        Members::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Members, Malformed> {
        let mut fields = Fields(bytes);
        if fields.byte()? != VERSION {
            return Err(Malformed);
        }
        let mut members = Members { version: fields.u64()?, format: fields.u16()?, ..Members::default() };
        for _ in 0..fields.u16()? {
            members.nodes.push(Node {
                node: fields.node()?,
                incarnation: fields.u64()?,
                shards: fields.u16()?,
                peer: fields.some_address()?,
                client: fields.address()?,
                state: match fields.byte()? {
                    1 => MemberState::Joining,
                    2 => MemberState::Active,
                    3 => MemberState::Leaving,
                    _ => return Err(Malformed),
                },
            });
        }
        for _ in 0..fields.u16()? {
            members.removed.push(Tombstone { node: fields.node()?, incarnation: fields.u64()? });
        }
        for _ in 0..fields.u16()? {
            members.settings.insert(fields.text()?.to_owned(), fields.text()?.to_owned());
        }
        fields.end()?;
        let sound = members.nodes.is_sorted_by(|one, next| one.node < next.node)
            && members.nodes.len() <= MEMBERS_MAX
            && members.removed.len() <= REMOVED_MAX
            // Other nodes are told of it.
            && (members.is_unfounded() || members.roster().is_possible());
        if sound { Ok(members) } else { Err(Malformed) }
    }
}
