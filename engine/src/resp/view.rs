//! What the cluster looks like from a connection: all that answering clients needs to know about it.

use crate::kv::SlotMap;
use raft::{GroupId, NodeId};
use std::time::Duration;

/// How clients reach keys that another shard leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    /// The whole cluster looks like one standalone Redis: any port serves any key.
    #[default]
    Proxy,
    /// Every port is a node of a Redis Cluster and answers `-MOVED` for keys led elsewhere.
    Moved,
}

/// One shard of one node: what clients take for a node of a Redis Cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The shard on it.
    pub shard: u16,
}

/// A node as clients reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// The advertised host: an address or a name.
    pub host: String,
    /// The client port of shard 0; shard k listens on `port + k`.
    pub port: u16,
    /// How many shards it has.
    pub shards: u16,
    /// Whether it is thought to be alive.
    pub reachable: bool,
}

impl Node {
    /// The client port of one of its shards.
    pub fn shard_port(&self, shard: u16) -> u16 {
        self.port.saturating_add(shard)
    }
}

/// Who leads a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Where it is.
    pub place: Place,
    /// Whether it leads as far as is known here; if not, it was the last to lead and an election is going on.
    pub current: bool,
}

/// The cluster as one shard of one node sees it.
pub trait ClusterView {
    /// The cluster's identity.
    fn cluster_id(&self) -> [u8; 16];
    /// All nodes, by ascending id.
    fn nodes(&self) -> &[Node];
    /// The shard whose port this is.
    fn own(&self) -> Place;
    /// How slots are dealt to groups.
    fn slot_map(&self) -> SlotMap;
    /// The leader of a group, or the last one known; `None` until one was ever known.
    fn leader(&self, group: GroupId) -> Option<Leader>;
    /// Grows whenever a leader or the nodes change.
    fn epoch(&self) -> u64;
    /// What clients get to see.
    fn redirect(&self) -> Redirect;
    /// The wall clock, as time since 1970.
    fn unix_time(&self) -> Duration;
    /// Numbers for INFO.
    fn statistics(&self) -> Statistics;
}

/// Numbers for INFO, of this node unless said otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Time since the process started.
    pub uptime: Duration,
    /// Open client connections.
    pub clients: u64,
    /// How many there may be.
    pub clients_max: u64,
    /// Connections accepted since the start or CONFIG RESETSTAT.
    pub connections_total: u64,
    /// Commands answered since then.
    pub commands_total: u64,
    /// Commands answered in the last second.
    pub commands_per_second: u64,
    /// Bytes received from clients since then.
    pub received_bytes_total: u64,
    /// Bytes sent to clients since then.
    pub sent_bytes_total: u64,
    /// Reads that found their key since then.
    pub hits_total: u64,
    /// Reads that did not.
    pub misses_total: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// The most it ever was.
    pub memory_bytes_peak: u64,
    /// Processor time used, in the process and in the kernel for it.
    pub cpu_user: Duration,
    /// See `cpu_user`.
    pub cpu_system: Duration,
    /// How many keys the groups led here have: of all shards of this node in the proxy view, of this shard else.
    pub keys: u64,
    /// Entries applied by the groups of this node.
    pub applied_total: u64,
    /// Groups that this node leads.
    pub groups_led: u64,
    /// Replicas of this node that lack what they had acknowledged, until they have it again.
    pub groups_recovering: u64,
    /// Replicas of this node whose history contradicts their group's: out of service until the node is removed and added again.
    pub groups_faulted: u64,
    /// What the logs of this node's shards did since the start, and hold now: fields of INFO and their values.
    pub logs: Vec<(&'static str, u64)>,
    /// The same for their snapshots.
    pub snapshots: Vec<(&'static str, u64)>,
}
