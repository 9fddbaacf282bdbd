//! The cluster as the clients of one shard see it, made from the node's directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft::{GroupId, NodeId, Role, Standing};

use crate::block_facts::BlockFacts;
use crate::builder::Redirect as BuilderRedirect;
use crate::directory::{Directory, NodeFacts};
use crate::kv::SlotMap;
use crate::log_facts::LogFacts;
use crate::placement::Placement;
use crate::resp::{ClusterView, Leader, Node, Place, Redirect, Statistics};
use crate::shard::ShardSettings;
use crate::snapshot_life::SnapshotFacts;

/// What the planner asks about the cluster.
pub(crate) struct View {
    directory: Arc<Directory>,
    shard: u16,
    redirect: Redirect,
    slots: SlotMap,
    /// The node table, refreshed when the directory's epoch moved.
    nodes: Vec<Node>,
    seen_epoch: u64,
    started: Duration,
}

impl View {
    pub(crate) fn new(settings: &ShardSettings) -> View {
        let redirect = match settings.redirect {
            BuilderRedirect::Proxy => Redirect::Proxy,
            BuilderRedirect::Moved => Redirect::Moved,
        };
        let groups =
            u16::try_from(settings.directory.placement.groups).expect("the data directory bounds the groups");
        View {
            directory: Arc::clone(&settings.directory),
            shard: settings.shard,
            redirect,
            slots: SlotMap::new(groups),
            nodes: Vec::new(),
            seen_epoch: 0,
            started: runtime::now(),
        }
    }

    /// Brings the node table up to date; called before a turn's commands are planned.
    pub(crate) fn refresh(&mut self) {
        let epoch = self.directory.epoch();
        if epoch != self.seen_epoch {
            self.seen_epoch = epoch;
            self.nodes = self.directory.nodes().iter().map(node).collect();
        }
    }

    /// Which shard of `node` has `group`.
    fn shard_of(&self, node: NodeId, group: GroupId) -> u16 {
        let shards = self.nodes.iter().find(|known| known.id == node).map(|known| known.shards);
        let placement = Placement {
            shards: shards.unwrap_or(self.directory.placement.shards).max(1),
            groups: self.directory.placement.groups,
        };
        placement.shard_of(group)
    }

    /// How many of this node's replicas have that standing, group 0's included.
    fn groups_that_are(&self, standing: Standing) -> u64 {
        let groups = (0..=self.directory.placement.groups).filter_map(|id| self.directory.group(GroupId(id)));
        groups.filter(|group| group.standing == standing).count() as u64
    }
}

fn node(facts: &NodeFacts) -> Node {
    Node {
        id: facts.node,
        host: facts.client_host.clone(),
        port: facts.client_port,
        shards: facts.shards,
        reachable: facts.client_port != 0,
    }
}

impl ClusterView for View {
    fn cluster_id(&self) -> [u8; 16] {
        self.directory.cluster()
    }

    fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn own(&self) -> Place {
        Place { node: self.directory.node, shard: self.shard }
    }

    fn slot_map(&self) -> SlotMap {
        self.slots
    }

    fn leader(&self, group: GroupId) -> Option<Leader> {
        let facts = self.directory.group(group)?;
        let node = facts.leader.or(facts.last_leader)?;
        let place = Place { node, shard: self.shard_of(node, group) };
        Some(Leader { place, current: facts.leader.is_some() })
    }

    fn epoch(&self) -> u64 {
        self.directory.epoch()
    }

    fn redirect(&self) -> Redirect {
        self.redirect
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn statistics(&self) -> Statistics {
        let shards = self.directory.shards();
        let sum = |of: fn(&crate::directory::ShardFacts) -> &std::sync::atomic::AtomicU64| {
            shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum::<u64>()
        };
        let groups = (1..=self.directory.placement.groups).filter_map(|id| self.directory.group(GroupId(id)));
        let (mut applied, mut led) = (0, 0);
        for group in groups {
            applied += group.applied.0;
            led += u64::from(group.role == Role::Leader);
        }
        Statistics {
            uptime: runtime::now().saturating_sub(self.started),
            clients: sum(|shard| &shard.clients),
            clients_max: self.directory.clients_max(),
            connections_total: sum(|shard| &shard.connections),
            commands_total: sum(|shard| &shard.commands),
            keys: sum(|shard| &shard.keys),
            memory_bytes: resident_bytes(),
            memory_bytes_peak: resident_bytes(),
            applied_total: applied,
            groups_led: led,
            groups_recovering: self.groups_that_are(Standing::Recovering),
            groups_faulted: self.groups_that_are(Standing::Faulted),
            logs: LogFacts::sums(shards.iter().map(|shard| &shard.log)),
            snapshots: SnapshotFacts::sums(shards.iter().map(|shard| &shard.snapshots))
                .chain(BlockFacts::sums(shards.iter().map(|shard| &shard.blocks)))
                .collect(),
            ..Statistics::default()
        }
    }
}

/// The process's resident memory, from /proc; 0 where that is missing.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
