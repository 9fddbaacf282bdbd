//! Who may talk to whom, and the sentence for each reason why not.

use raft::NodeId;

use super::{ClusterId, Hello, Identity, Kind};
use crate::forming::{Roster, Tombstone};

/// What a node knows of the members of its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// The index in group 0 of the newest change in it; 0 as formed.
    pub version: u64,
    /// The members.
    pub nodes: Vec<KnownNode>,
    /// Disks that were members and cannot come back.
    pub removed: Vec<Tombstone>,
}

impl Directory {
    /// The member with this id.
    pub fn node(&self, node: NodeId) -> Option<&KnownNode> {
        self.nodes.iter().find(|known| known.node == node)
    }
}

impl From<&Roster> for Directory {
    fn from(roster: &Roster) -> Directory {
        let known = roster.members.iter().map(|member| KnownNode {
            node: member.node,
            incarnation: member.incarnation,
            shard_count: member.shard_count,
        });
        Directory { version: roster.version, nodes: known.collect(), removed: roster.removed.clone() }
    }
}

/// What a node knows of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    /// Its id.
    pub node: NodeId,
    /// The incarnation that is the member.
    pub incarnation: u64,
    /// Its shards.
    pub shard_count: u16,
}

/// Why two ends do not talk. The sentence goes to the other end's operator: "this node" is the one that
/// refuses, "the caller" the one it is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Different builds.
    #[error("this node speaks format version {ours}, the caller {theirs}")]
    Version {
        /// This node's.
        ours: u16,
        /// The caller's.
        theirs: u16,
    },
    /// The address is that of another node.
    #[error("this address is node {ours}, the caller looked for node {wanted}: check --cluster")]
    WrongNode {
        /// The node at this address.
        ours: NodeId,
        /// The one looked for.
        wanted: NodeId,
    },
    /// The port is that of another shard.
    #[error("this port is shard {ours} of node {node}, the caller looked for shard {wanted}")]
    WrongShard {
        /// This node.
        node: NodeId,
        /// The shard at this port.
        ours: u16,
        /// The one looked for.
        wanted: u16,
    },
    /// Two nodes with one id, or a node that calls itself.
    #[error("the caller claims this node's own id {0}")]
    OwnId(NodeId),
    /// Both have an incarnation of their own, as every data directory has.
    #[error("node {0} has no incarnation or no such shard as it claims")]
    Impossible(NodeId),
    /// Connections between members' shards are made by the lower id.
    #[error("node {ours} calls node {theirs}, not the other way round")]
    WrongDirection {
        /// This node, the lower.
        ours: NodeId,
        /// The caller.
        theirs: NodeId,
    },
    /// Two clusters.
    #[error("this node belongs to cluster {ours}, the caller to {theirs}")]
    WrongCluster {
        /// This node's.
        ours: ClusterId,
        /// The caller's.
        theirs: ClusterId,
    },
    /// A member came back with an empty disk.
    #[error("node {0} lost its disk: remove it and add it again")]
    LostDisk(NodeId),
    /// A disk of a member that was replaced since.
    #[error("node {0} was replaced: this is not the disk that belongs to the cluster")]
    Replaced(NodeId),
    /// A member was removed, and comes back as if it were none the wiser.
    #[error(
        "node {0} was removed from this cluster: its data directory cannot come back; start it with an empty one and \
         add it again"
    )]
    Removed(NodeId),
    /// Shards are fixed when a data directory is born.
    #[error("node {node} has {known} shards in this cluster, the caller has {theirs}")]
    ShardCount {
        /// The caller.
        node: NodeId,
        /// As the cluster knows it.
        known: u16,
        /// As it says.
        theirs: u16,
    },
    /// Groups are fixed when the cluster forms, which all must agree on.
    #[error("this node has {ours} groups, the caller {theirs}: start all with the same --groups")]
    GroupCount {
        /// This node's.
        ours: u32,
        /// The caller's.
        theirs: u32,
    },
    /// Before forming only the shards 0 talk.
    #[error("node {0} is not yet part of the cluster")]
    NotFormed(NodeId),
    /// The first message was not a hello that this version understands.
    #[error("the caller's first message was not understood: {0}")]
    NotUnderstood(String),
}

impl Refusal {
    /// The number of the reason on the wire; never reused.
    pub fn code(&self) -> u16 {
        match self {
            Refusal::Version { .. } => 1,
            Refusal::WrongNode { .. } => 2,
            Refusal::WrongShard { .. } => 3,
            Refusal::OwnId(_) => 4,
            Refusal::Impossible(_) => 5,
            Refusal::WrongDirection { .. } => 6,
            Refusal::WrongCluster { .. } => 7,
            Refusal::LostDisk(_) => 8,
            Refusal::Replaced(_) => 9,
            Refusal::ShardCount { .. } => 10,
            Refusal::GroupCount { .. } => 11,
            Refusal::NotFormed(_) => 12,
            Refusal::NotUnderstood(_) => 13,
            Refusal::Removed(_) => 14,
        }
    }

    /// Whether the reason passes by itself soon, as it does when a cluster forms.
    pub fn passes(code: u16) -> bool {
        code == 12
    }

    /// Whether an operator should hear of it: not of what passes, nor of a call out of turn, which is the last
    /// resort of a node that nobody calls.
    pub fn is_news(code: u16) -> bool {
        !Refusal::passes(code) && code != 6
    }

    /// Whether the refused is told that it is no member any more. See [`super::Refused::ends_membership`].
    pub fn is_of_former_member(code: u16) -> bool {
        matches!(code, 9 | 14)
    }
}

/// Whether `ours` talks to a caller.
pub fn judge(ours: &Identity, directory: &Directory, theirs: &Hello) -> Result<(), Refusal> {
    let caller = &theirs.caller;
    // First what may change the meaning of all the rest.
    if caller.format_version != ours.format_version {
        return Err(Refusal::Version { ours: ours.format_version, theirs: caller.format_version });
    }
    if theirs.wanted != ours.node {
        return Err(Refusal::WrongNode { ours: ours.node, wanted: theirs.wanted });
    }
    if theirs.wanted_shard != ours.shard {
        return Err(Refusal::WrongShard { node: ours.node, ours: ours.shard, wanted: theirs.wanted_shard });
    }
    judge_identity(ours, directory, caller, theirs.kind)?;
    // Who is to join is not known to those who would call it.
    let joins = ours.cluster_id.is_formed() != caller.cluster_id.is_formed();
    // Nor is a member known to those who were away while it was added.
    let unheard = directory.node(caller.node).is_none();
    if theirs.kind == Kind::Raft && caller.node > ours.node && !joins && !unheard {
        return Err(Refusal::WrongDirection { ours: ours.node, theirs: caller.node });
    }
    Ok(())
}

/// Whether a caller, `hello`, talks to who answered it: the same judgement from the other side.
pub fn judge_answer(hello: &Hello, directory: &Directory, answerer: &Identity) -> Result<(), Refusal> {
    let ours = &hello.caller;
    if answerer.format_version != ours.format_version {
        return Err(Refusal::Version { ours: ours.format_version, theirs: answerer.format_version });
    }
    if answerer.node != hello.wanted {
        return Err(Refusal::WrongNode { ours: answerer.node, wanted: hello.wanted });
    }
    if answerer.shard != hello.wanted_shard {
        let (node, wanted) = (answerer.node, hello.wanted_shard);
        return Err(Refusal::WrongShard { node, ours: answerer.shard, wanted });
    }
    judge_identity(ours, directory, answerer, hello.kind)
}

/// What is the same from both sides.
fn judge_identity(
    ours: &Identity,
    directory: &Directory,
    theirs: &Identity,
    kind: Kind,
) -> Result<(), Refusal> {
    let node = theirs.node;
    if node == ours.node {
        return Err(Refusal::OwnId(node));
    }
    if theirs.incarnation == 0 || theirs.shard >= theirs.shard_count {
        return Err(Refusal::Impossible(node));
    }
    let both_formed = ours.cluster_id.is_formed() && theirs.cluster_id.is_formed();
    if both_formed && ours.cluster_id != theirs.cluster_id {
        return Err(Refusal::WrongCluster { ours: ours.cluster_id, theirs: theirs.cluster_id });
    }
    if ours.cluster_id.is_formed() {
        judge_known(directory, theirs)?;
    }
    // An unformed node takes over what a formed one has; two of a kind must agree.
    if ours.cluster_id.is_formed() == theirs.cluster_id.is_formed() && ours.group_count != theirs.group_count
    {
        return Err(Refusal::GroupCount { ours: ours.group_count, theirs: theirs.group_count });
    }
    if !both_formed && (kind == Kind::Snapshot || ours.shard != 0 || theirs.shard != 0) {
        let unformed = if ours.cluster_id.is_formed() { node } else { ours.node };
        return Err(Refusal::NotFormed(unformed));
    }
    Ok(())
}

/// Whether a node is the member its id says it is, as far as this node knows.
fn judge_known(directory: &Directory, theirs: &Identity) -> Result<(), Refusal> {
    let node = theirs.node;
    if directory.removed.contains(&Tombstone { node, incarnation: theirs.incarnation }) {
        return Err(Refusal::Removed(node));
    }
    let Some(known) = directory.node(node) else {
        // It may be about to join, or was added since: a member knows at least the version that it came in with. One
        // that knows less than this node and is not listed was a member.
        let was_member = theirs.cluster_id.is_formed() && theirs.directory_version <= directory.version;
        return if was_member { Err(Refusal::Removed(node)) } else { Ok(()) };
    };
    if known.incarnation != theirs.incarnation {
        if !theirs.cluster_id.is_formed() {
            return Err(Refusal::LostDisk(node));
        }
        // A member that knows more than this node may have been removed and added again in between; this
        // node must not lock it out, as it may be the one to learn that from.
        if theirs.directory_version <= directory.version {
            return Err(Refusal::Replaced(node));
        }
        return Ok(());
    }
    if known.shard_count != theirs.shard_count {
        let (known, theirs) = (known.shard_count, theirs.shard_count);
        return Err(Refusal::ShardCount { node, known, theirs });
    }
    Ok(())
}
