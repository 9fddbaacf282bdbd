//! What one shard is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use raft::NodeId;

use crate::builder::{Builder, Redirect};
use crate::directory::Directory;
use crate::node::{DataDir, Identity};

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
    pub(crate) snapshot_after_bytes: u64,
    pub(crate) snapshots_dir: PathBuf,
    pub(crate) directory: Arc<Directory>,
    pub(crate) data_dir: Arc<DataDir>,
}

impl ShardSettings {
    pub(crate) fn new(
        shard: u16,
        builder: &Builder,
        identity: &Identity,
        directory: Arc<Directory>,
        data_dir: Arc<DataDir>,
    ) -> ShardSettings {
        ShardSettings {
            shard,
            node: builder.node,
            incarnation: identity.incarnation,
            boot: data_dir.boot(),
            cluster: builder.cluster.clone(),
            redirect: builder.redirect,
            deadline_us: u64::try_from(builder.deadline.as_micros()).unwrap_or(u64::MAX),
            snapshot_after_bytes: builder.snapshot_after_bytes,
            snapshots_dir: data_dir.shard_dir(u32::from(shard)).join("snapshots"),
            directory,
            data_dir,
        }
    }
}
