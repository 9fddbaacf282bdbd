//! What comes out of the protocol.

use raft::NodeId;

use super::{Cluster, Forming};
use crate::handshake::ClusterId;

/// What the engine has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send on the forming connection to that node, if there still is one.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Forming,
    },
    /// Write this into its file and sync file and directory, then call [`super::Former::synced`].
    Sync(Cluster),
    /// It is on this node's disk: Raft may start.
    Formed(Cluster),
    /// Both ends of the connection to that node are formed now: greet again, as members.
    Reconnect(NodeId),
    /// Something an operator should know; said once until something else is to be said of that node.
    Notice(Notice),
}

/// Why a node waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// The operator told two nodes different things.
    #[error("node {0} was started with another --cluster list or --groups: no cluster can form")]
    Disagreement(NodeId),
    /// The cluster knows this node's id with another disk.
    #[error("cluster {cluster_id} knows node {node} with another disk: remove it and add it again")]
    LostDisk {
        /// The cluster met.
        cluster_id: ClusterId,
        /// This node.
        node: NodeId,
    },
    /// The cluster does not know this node (yet).
    #[error("cluster {cluster_id} does not know node {node}: add it as a member")]
    NotMember {
        /// The cluster met.
        cluster_id: ClusterId,
        /// This node.
        node: NodeId,
    },
    /// The cluster would take this node, but for its number of groups.
    #[error(
        "cluster {cluster_id} has {theirs} groups, this node was started for {ours}: start it with --groups {theirs}"
    )]
    GroupCount {
        /// The cluster met.
        cluster_id: ClusterId,
        /// This node's.
        ours: u32,
        /// The cluster's.
        theirs: u32,
    },
    /// Two formed nodes of different clusters are connected.
    #[error("node {node} belongs to cluster {theirs}, this one to {ours}")]
    OtherCluster {
        /// The peer.
        node: NodeId,
        /// This node's cluster.
        ours: ClusterId,
        /// The peer's.
        theirs: ClusterId,
    },
}
