//! A node's data directory and identity, and the checks of the addresses it is given.
//!
//! ```text
//! DIR/node.toml                    who the node is; written last when the directory is born
//! DIR/LOCK                         locked while a process works here; holds its pid
//! DIR/boot                         number of the newest start
//! DIR/cluster                      the forming record, once formed
//! DIR/removed                      only if the cluster has removed the node: why no start uses the directory again
//! DIR/lease                        there while leases may be promised (lease_reads)
//! DIR/shard-000/log                the shard's log
//! DIR/shard-000/snapshots          the shard's snapshot files
//! ```

mod address;
mod data_dir;
mod durable;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod lease;
mod record;
#[cfg(test)]
mod tests;

pub use address::{
    AddressError, Addresses, NODES_MAX, PortRange, Wishes, parse_address, parse_cluster, parse_member,
};
pub(crate) use data_dir::system_random;
pub use data_dir::{DataDir, GROUPS_MAX, GROUPS_MIN, Random, SHARDS_MAX, Wanted};
pub use error::DataDirError;
pub use identity::{ClusterId, FORMAT, Identity, Incarnation};
pub use record::RECORD_BYTES_MAX;

/// Where shard `shard` of the directory `dir` keeps its log.
#[cfg(feature = "cli")]
pub(crate) fn log_dir(dir: &std::path::Path, shard: u32) -> std::path::PathBuf {
    dir.join(data_dir::shard_name(shard)).join("log")
}

/// Where shard `shard` of the directory `dir` keeps its snapshot files.
#[cfg(feature = "cli")]
pub(crate) fn snapshots_dir(dir: &std::path::Path, shard: u32) -> std::path::PathBuf {
    dir.join(data_dir::shard_name(shard)).join("snapshots")
}
