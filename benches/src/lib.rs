//! Measures and comparisons.
//!
//! What is compared runs side by side on one machine, so the ratio of two rates means something and the
//! rates alone do not: all replicas, the server compared with and the client share its cores and its disk.
//! A comparison therefore interleaves the two sides, prints what each operation cost (CPU, flushes, bytes)
//! beside the rates, and gives no verdict when something else used the machine.

pub mod cell;
pub mod disk;
pub mod host;
pub mod idle;
pub mod keyspace;
pub mod load;
pub mod log;
pub mod redis;
pub mod replication;
pub mod snapshot;
pub mod summary;
