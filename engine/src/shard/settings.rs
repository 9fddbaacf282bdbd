//! What one shard is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft::NodeId;

use crate::builder::{Builder, Redirect};
use crate::directory::Directory;
use crate::node::{DataDir, Identity};

/// A follower that hears nothing of its leader for this long may campaign; so a peer's shard that has not vouched for
/// itself for this long is given up for all groups.
pub(crate) const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(1000);

/// How long a leader answers reads alone after a quorum has answered it, with lease reads. Four fifths of the shortest
/// election timeout, for which a node that promised that elects nobody else, over its starts: clocks may drift by a fifth.
pub(crate) const LEASE: Duration = Duration::from_millis(800);
const _: () = assert!(LEASE.as_millis() * 5 == ELECTION_TIMEOUT_MIN.as_millis() * 4);

/// A group that nobody asked anything for so long rests.
const QUIESCE_AFTER: Duration = Duration::from_secs(2);

/// The settings of one shard.
#[derive(Clone)]
pub(crate) struct ShardSettings {
    pub(crate) shard: u16,
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// Counts this node's starts.
    pub(crate) boot: u64,
    pub(crate) cluster: Vec<(NodeId, SocketAddr)>,
    pub(crate) redirect: Redirect,
    pub(crate) deadline_us: u64,
    pub(crate) lease_reads: bool,
    pub(crate) snapshot_after_bytes: u64,
    pub(crate) save_bytes_per_second: u64,
    pub(crate) log_bytes_max: u64,
    /// The data directory's random id, for the files made in it.
    pub(crate) store: [u8; 16],
    pub(crate) snapshots_dir: PathBuf,
    pub(crate) directory: Arc<Directory>,
    pub(crate) data_dir: Arc<SharedDataDir>,
    /// Seeds elections and back-offs: another one at every start.
    pub(crate) seed: u64,
    /// The cluster's name if this node founds it.
    pub(crate) cluster_candidate: [u8; 16],
}

impl ShardSettings {
    pub(crate) fn new(
        shard: u16,
        builder: &Builder,
        identity: &Identity,
        directory: Arc<Directory>,
        data_dir: Arc<SharedDataDir>,
        randomness: [u8; 24],
    ) -> ShardSettings {
        let (seed, candidate) = randomness.split_first_chunk::<8>().expect("24 bytes");
        let candidate = candidate.first_chunk::<16>().expect("24 bytes");
        ShardSettings {
            shard,
            node: builder.node,
            incarnation: identity.incarnation.0,
            boot: data_dir.boot(),
            cluster: builder.cluster.clone(),
            redirect: builder.redirect,
            deadline_us: u64::try_from(builder.deadline.as_micros()).unwrap_or(u64::MAX),
            lease_reads: builder.lease_reads,
            snapshot_after_bytes: builder.snapshot_after_bytes,
            save_bytes_per_second: builder.save_bytes_per_second,
            log_bytes_max: builder.log_bytes_max,
            store: identity.store,
            snapshots_dir: data_dir.shard_dir(u32::from(shard)).join("snapshots"),
            directory,
            data_dir,
            seed: u64::from_le_bytes(*seed),
            cluster_candidate: *candidate,
        }
    }

    /// The settings of all groups' cores.
    pub(crate) fn raft(&self) -> raft::Settings {
        raft::Settings {
            node: self.node,
            election_timeout_min: ELECTION_TIMEOUT_MIN,
            election_timeout_max: Duration::from_millis(1500),
            beat_interval: Duration::from_millis(100),
            // A frame a turn and a handful of frames on their way: more only hides a slow follower.
            inflight_appends_max: 64,
            inflight_bytes_max: 8 << 20,
            // Above every connection's limit together with one largest command.
            uncommitted_bytes_max: 64 << 20,
            seed: self.seed,
            quiesce_after: Some(QUIESCE_AFTER),
            lease: self.lease_reads.then_some(LEASE),
        }
    }
}

/// The data directory as the shards share it: asked at starts, written to when the cluster forms.
pub(crate) struct SharedDataDir(Mutex<DataDir>);

impl SharedDataDir {
    pub(crate) fn new(data_dir: DataDir) -> SharedDataDir {
        SharedDataDir(Mutex::new(data_dir))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut DataDir) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The forming record, once formed.
    pub(crate) fn record(&self) -> Option<Vec<u8>> {
        self.with(|dir| dir.record().map(<[u8]>::to_vec))
    }

    /// Stores the forming record durably.
    pub(crate) fn store_record(
        &self,
        cluster: [u8; 16],
        record: &[u8],
    ) -> Result<(), crate::node::DataDirError> {
        self.with(|dir| dir.store_record(crate::node::ClusterId(cluster), record))
    }

    /// The cluster has removed this node: no start may use the directory again.
    pub(crate) fn mark_removed(&self, reason: &str) -> Result<(), crate::node::DataDirError> {
        self.with(|dir| dir.mark_removed(reason))
    }

    /// Counts this node's starts.
    pub(crate) fn boot(&self) -> u64 {
        self.with(|dir| dir.boot())
    }

    pub(crate) fn shard_dir(&self, shard: u32) -> PathBuf {
        self.with(|dir| dir.shard_dir(shard))
    }
}
