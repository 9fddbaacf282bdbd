//! Forming the cluster (shard 0 talks, all shards listen), and starting the groups once it has formed.

use std::rc::Rc;
use std::time::Duration;

use net::forming::{Birth, Cluster, Former, Output, Tombstone};
use net::handshake::{Address, ClusterId};
use net::link::PeerShard;
use raft::{Config, EntryId, NodeId, Raft, Restored, Standing, Term, Time};
use raftlog::RecoveredGroup;
use runtime::Disk;
use snapshot::Manifest;

use super::Shard;
use super::backlog::Backlog;
use super::machine::Machine;
use super::message::ShardMessage;
use super::neighbours::Neighbours;
use super::replica::Replica;
use crate::fatal::Fatal;
use crate::members::Members;
use crate::placement::preferred_leader;
use crate::state_machine::StateMachine;

/// A record that the disk had no room for is tried again after this, then after twice as long, up to
/// [`STORE_PAUSE_MAX`]: somebody has to make room, and each try holds the shard up for a write.
const STORE_PAUSE_MIN: Duration = Duration::from_millis(250);
const STORE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The cluster has formed, but its record is not on the disk yet: nothing is said about it before it is.
pub(super) struct Unstored {
    cluster: Cluster,
    pub(super) due: Time,
    pause: Duration,
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Starts the groups if this node's cluster has formed in an earlier start; else shard 0 begins to form it.
    pub(super) fn start_if_formed(&mut self) {
        let cluster = self.settings.data_dir.record();
        let cluster = cluster.and_then(|bytes| Cluster::decode(&bytes).ok());
        if self.shard == 0 {
            self.begin_forming(cluster.clone());
        }
        if let Some(cluster) = cluster {
            self.start_groups(&cluster);
        }
    }

    fn begin_forming(&mut self, cluster: Option<Cluster>) {
        let mut list: Vec<(NodeId, Address)> = self
            .settings
            .cluster
            .iter()
            .filter_map(|(node, address)| {
                Some((*node, Address::new(&address.ip().to_string(), address.port()).ok()?))
            })
            .collect();
        list.sort_by_key(|(node, _)| *node);
        let placement = self.directory.placement;
        let birth = Birth {
            node: self.directory.node,
            incarnation: self.settings.incarnation,
            shard_count: placement.shards,
            group_count: placement.groups,
            client: self.links.local.identity.client_address.clone(),
            list,
        };
        let candidate = ClusterId(self.settings.cluster_candidate);
        self.former = Some(Former::new(self.now, birth, self.settings.boot, cluster, candidate));
        for (node, address) in self.settings.cluster.clone() {
            if node != self.directory.node {
                self.links.connect(self.now, PeerShard { node, shard: 0 }, 0, address);
            }
        }
        self.form();
    }

    /// Carries out what forming wants done.
    pub(super) fn form(&mut self) {
        while let Some(output) = self.former.as_mut().and_then(Former::take_output) {
            match output {
                Output::Send { to, message } => self.links.send_forming(self.now, to, message),
                Output::Sync(cluster) => self.store_cluster(cluster, STORE_PAUSE_MIN),
                Output::Formed(cluster) => {
                    tracing::info!(cluster = %cluster.record.cluster_id, "the cluster has formed");
                    for shard in self.mesh.others(self.shard) {
                        self.mesh.send(shard, ShardMessage::Formed(cluster.encode()));
                    }
                    self.start_groups(&cluster);
                }
                Output::Reconnect(node) => self.links.regreet(self.now, node),
                Output::Notice(notice) => tracing::warn!("waiting: {notice}"),
            }
        }
    }

    /// Stores the cluster's record, the one blocking write of a shard: once in the life of a directory, before it serves.
    /// A full disk is waited for, `pause` long at first; after any other failure nobody knows what is on the disk.
    fn store_cluster(&mut self, cluster: Cluster, pause: Duration) {
        let (id, bytes) = (cluster.record.cluster_id.0, cluster.encode());
        match self.settings.data_dir.store_record(id, &bytes) {
            Ok(()) => {
                if let Some(former) = &mut self.former {
                    former.synced(self.now);
                }
            }
            Err(error) if error.is_passing() => {
                tracing::error!(%error, ?pause, "cannot store the cluster's record; tries again");
                self.unstored = Some(Unstored { cluster, due: self.now + pause, pause });
            }
            Err(error) => self.ended = Some(Fatal::DataDir { reason: error.to_string() }),
        }
    }

    /// Tries again to store the cluster's record, if it is time to.
    pub(super) fn store_if_due(&mut self) {
        if let Some(unstored) = self.unstored.take_if(|unstored| unstored.due <= self.now) {
            self.store_cluster(unstored.cluster, (unstored.pause * 2).min(STORE_PAUSE_MAX));
            self.form();
        }
    }

    /// Another shard says that the cluster has formed.
    pub(super) fn formed(&mut self, cluster: &[u8]) {
        if let Ok(cluster) = Cluster::decode(cluster) {
            self.start_groups(&cluster);
        }
    }

    /// The cluster is known: links to all shards that share groups with this one, and a replica for each group. Every
    /// group starts from the voters the cluster formed with, also on a node that came later: what they are now, its
    /// log or a snapshot says.
    fn start_groups(&mut self, cluster: &Cluster) {
        let Some(mut recovered) = self.recovered.take() else { return };
        self.belong_to(cluster);
        let me = &self.links.local.identity;
        let me = Tombstone { node: me.node, incarnation: me.incarnation };
        let founded = self.founders.contains(&me);
        let founders: Vec<NodeId> = cluster.record.members.iter().map(|member| member.node).collect();
        let shards_min = cluster.roster.members.iter().map(|member| member.shard_count).min().unwrap_or(1);
        let nodes: Vec<NodeId> = cluster.roster.members.iter().map(|member| member.node).collect();
        self.backlog = Backlog::of(recovered.iter().map(|(known, _)| known));
        for group in self.directory.placement.hosted_by(self.shard) {
            let found = recovered.iter().position(|(known, _)| known.group == group);
            let (known, mut machine) = match found {
                Some(at) => recovered.swap_remove(at),
                None => (RecoveredGroup::default(), Machine::new(group, &*self.factory)),
            };
            if let Machine::Members(members) = &mut machine
                && members.is_unfounded()
            {
                *members = Members::founded(&cluster.record);
            }
            let restored = restored(known, &founders, founded);
            let config = match self.replicas.last().map(|replica| &replica.config) {
                Some(shared) if **shared == restored.config => Rc::clone(shared),
                _ => Rc::new(restored.config.clone()),
            };
            let preferred = preferred_leader(group, shards_min, &nodes) == Some(self.directory.node);
            let mut raft = Raft::new(&self.raft_settings, group, preferred, restored, self.now);
            if raft.standing() == Standing::Recovering && raft.is_alone() {
                let reason =
                    format!("group {group} lost what nobody else has: the start that found it said where");
                self.ended = Some(Fatal::Corruption { shard: self.shard, reason });
            }
            if self.backlog.is_large() {
                raft.let_others_lead();
            }
            self.backlog.is_in(self.replicas.len(), &raft);
            self.replicas.push(Replica::new(group, raft, machine, config));
            self.mark_dirty(self.replicas.len() - 1);
        }
        self.offer_unstarted();
    }

    /// This node is a member from now on: who the others are.
    fn belong_to(&mut self, cluster: &Cluster) {
        let record = &cluster.record;
        self.links.local.identity.cluster_id = record.cluster_id;
        self.directory.set_cluster(record.cluster_id.0);
        let founder =
            |member: &net::forming::Member| Tombstone { node: member.node, incarnation: member.incarnation };
        self.founders = record.members.iter().map(founder).collect();
        self.take_neighbours(&Neighbours { roster: cluster.roster.clone(), awaited: Vec::new() });
    }
}

/// What a core starts from. The configurations were seen to be readable when the log was opened.
///
/// A replica that comes later than its group (this disk did not help to found it) must not take itself for a voter by
/// configurations from before its time: they may name its id, borne by another disk then, perhaps as the only voter.
/// So it starts as one that has to catch up with a leader before it campaigns: it has then the configuration
/// that made it a member.
pub(crate) fn restored(known: RecoveredGroup, founders: &[NodeId], founded: bool) -> Restored {
    const READABLE: &str = "checked when the log was opened";
    let decode = |bytes: &[u8]| Config::decode(bytes).expect(READABLE);
    let config = match &known.snapshot {
        Some(body) => decode(&Manifest::decode(body).expect(READABLE).membership),
        None if known.compacted == EntryId::ZERO => Config::of_voters(founders),
        None => unreachable!("a log is compacted behind a snapshot only: checked when it was opened"),
    };
    match known.hard_state.standing {
        Standing::Normal => {}
        Standing::Joining => runtime::mark!("start.joining"),
        Standing::Recovering => runtime::mark!("start.recovering"),
        Standing::Faulted => runtime::mark!("start.faulted"),
    }
    let mut hard_state = known.hard_state;
    if !founded && hard_state.term == Term(0) {
        runtime::mark!("start.newcomer");
        hard_state.standing = Standing::Joining;
    }
    Restored {
        hard_state,
        compacted: known.compacted,
        config,
        runs: known.runs,
        last: known.last,
        configs: known.memberships.iter().map(|(index, bytes)| (*index, decode(bytes))).collect(),
        applied: known.snapshot_id.index, // what the machine was loaded from
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use raft::{GroupId, Settings, Time};

    use super::*;

    /// A cluster of one, whose only node was replaced by another disk under its old id: that one must not lead its
    /// empty log, though the founders' configuration says that it is the only voter.
    #[test]
    fn a_disk_that_did_not_found_the_group_does_not_lead_it_alone() {
        let lead_alone = |founded| {
            let restored = restored(RecoveredGroup::default(), &[NodeId(1)], founded);
            let settings = Settings {
                node: NodeId(1),
                election_timeout_min: Duration::from_secs(1),
                election_timeout_max: Duration::from_millis(1500),
                beat_interval: Duration::from_millis(100),
                inflight_appends_max: 8,
                inflight_bytes_max: 1 << 20,
                uncommitted_bytes_max: 1 << 20,
                seed: 7,
                quiesce_after: None,
                lease: None,
            };
            let start = Time(1_000_000);
            let mut raft = Raft::new(&Rc::new(settings), GroupId(1), true, restored, start);
            for second in 0..10 {
                raft.tick(start + Duration::from_secs(second));
                while let Some(write) = raft.take_write() {
                    raft.persisted(write);
                }
            }
            raft.is_leader()
        };
        assert!(lead_alone(true), "the founder does");
        assert!(!lead_alone(false));
    }

    /// What a replica has learnt of its standing outlives the start.
    #[test]
    fn a_replica_with_a_term_starts_as_it_was() {
        let known = |standing| RecoveredGroup {
            hard_state: raft::HardState { term: Term(3), standing, ..raft::HardState::default() },
            ..RecoveredGroup::default()
        };
        for standing in [Standing::Normal, Standing::Joining, Standing::Recovering, Standing::Faulted] {
            assert_eq!(restored(known(standing), &[NodeId(1)], false).hard_state.standing, standing);
        }
        assert_eq!(
            restored(RecoveredGroup::default(), &[NodeId(1)], false).hard_state.standing,
            Standing::Joining
        );
    }
}
