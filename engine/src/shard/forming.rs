//! Forming the cluster (shard 0 talks, all shards listen), and starting the groups once it has formed.

use net::forming::{Birth, Former, Output, Record};
use net::handshake::{Address, ClusterId, KnownNode};
use net::link::PeerShard;
use raft::{Config, GroupId, NodeId, Raft, Restored};
use runtime::Disk;

use super::Shard;
use super::message::ShardMessage;
use super::replica::Replica;
use crate::directory::NodeFacts;
use crate::placement::preferred_leader;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Starts the groups if this node's cluster has formed in an earlier start; else shard 0 begins to form it.
    pub(super) fn start_if_formed(&mut self) {
        let record = self.settings.data_dir.record();
        let record = record.and_then(|bytes| Record::decode(&bytes).ok());
        if self.shard == 0 {
            self.begin_forming(record.clone());
        }
        if let Some(record) = record {
            self.start_groups(&record);
        }
    }

    fn begin_forming(&mut self, record: Option<Record>) {
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
        self.former = Some(Former::new(self.now, birth, self.settings.boot, record, candidate));
        for (node, address) in self.settings.cluster.clone() {
            if node != self.directory.node {
                self.links.connect(self.now, PeerShard { node, shard: 0 }, address);
            }
        }
        self.form();
    }

    /// Carries out what forming wants done.
    pub(super) fn form(&mut self) {
        while let Some(output) = self.former.as_mut().and_then(Former::take_output) {
            match output {
                Output::Send { to, message } => self.links.send_forming(self.now, to, message),
                Output::Sync(record) => {
                    // The one blocking write of a shard: once in the life of a directory, before it serves.
                    if let Err(error) =
                        self.settings.data_dir.store_record(record.cluster_id.0, &record.encode())
                    {
                        tracing::error!(%error, "cannot store the cluster's record; forming waits");
                        return;
                    }
                    self.former.as_mut().expect("asked above").synced(self.now);
                }
                Output::Formed(record) => {
                    tracing::info!(cluster = %record.cluster_id, "the cluster has formed");
                    for shard in self.mesh.others(self.shard) {
                        self.mesh.send(shard, ShardMessage::Formed(record.encode()));
                    }
                    self.start_groups(&record);
                }
                Output::Reconnect(node) => self.links.regreet(self.now, node),
                Output::Notice(notice) => tracing::warn!(?notice, "forming waits"),
            }
        }
    }

    /// Another shard says that the cluster has formed.
    pub(super) fn formed(&mut self, record: &[u8]) {
        if let Ok(record) = Record::decode(record) {
            self.start_groups(&record);
        }
    }

    /// The cluster is known: links to all shards that share groups with this one, and a replica for each group.
    fn start_groups(&mut self, record: &Record) {
        let Some(recovered) = self.recovered.take() else { return };
        self.learn_members(record);
        let voters: Vec<NodeId> = record.members.iter().map(|member| member.node).collect();
        let config = Config::of_voters(&voters);
        let shards_min = record.members.iter().map(|member| member.shard_count).min().unwrap_or(1);
        let mut recovered = recovered;
        for group in self.directory.placement.groups_of(self.shard) {
            let found = recovered.iter().position(|(known, _)| known.group == group);
            let (restored, machine) = match found {
                Some(at) => {
                    let (known, machine) = recovered.swap_remove(at);
                    let restored = Restored {
                        hard_state: known.hard_state,
                        compacted: known.compacted,
                        runs: known.runs.clone(),
                        last: known.last,
                        config: config.clone(),
                        configs: Vec::new(),
                        applied: known.snapshot_id.index, // what the machine was loaded from
                    };
                    (restored, machine)
                }
                None => (Restored { config: config.clone(), ..Restored::default() }, (self.factory)(group)),
            };
            let preferred = preferred_leader(group, shards_min, &voters) == Some(self.directory.node);
            let raft = Raft::new(&self.raft_settings, group, preferred, restored, self.now);
            self.replicas.push(Replica::new(group, 0, raft, machine));
            self.mark_dirty(self.replicas.len() - 1);
        }
        self.next_tick = self.now;
        self.offer_unstarted();
    }

    fn learn_members(&mut self, record: &Record) {
        let local = &mut self.links.local;
        local.identity.cluster_id = record.cluster_id;
        local.directory.nodes = record
            .members
            .iter()
            .map(|member| KnownNode {
                node: member.node,
                incarnation: member.incarnation,
                shard_count: member.shard_count,
            })
            .collect();
        self.directory.set_cluster(record.cluster_id.0);
        for member in &record.members {
            if member.node == self.directory.node {
                continue;
            }
            self.directory.learn(NodeFacts {
                node: member.node,
                incarnation: member.incarnation,
                peer_host: member.peer.host().to_owned(),
                peer_port: member.peer.port(),
                client_host: member.client.host().to_owned(),
                client_port: member.client.port(),
                shards: member.shard_count,
            });
            // What this start was told wins over what the cluster formed with.
            let told = self
                .settings
                .cluster
                .iter()
                .find(|(node, _)| *node == member.node)
                .map(|(_, address)| *address);
            for shard in 0..member.shard_count {
                let shares = |group: GroupId| {
                    let place = crate::placement::Placement {
                        shards: member.shard_count,
                        ..self.directory.placement
                    };
                    place.shard_of(group) == shard
                };
                let base =
                    told.or_else(|| format!("{}:{}", member.peer.host(), member.peer.port()).parse().ok());
                let Some(mut address) = base else { continue };
                let Some(port) = address.port().checked_add(shard) else { continue };
                address.set_port(port);
                if self.directory.placement.groups_of(self.shard).any(shares) {
                    self.links.connect(self.now, PeerShard { node: member.node, shard }, address);
                }
            }
        }
    }
}
