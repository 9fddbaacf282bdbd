//! A real cluster on this machine: processes of this executable on loopback, for `demo` and `dev`.
//!
//! The nodes die with the launcher, however it ends: each holds the read end of a pipe as its standard input
//! (`serve --until-stdin-closes`), and the kernel closes the other end even after SIGKILL. They run in process
//! groups of their own, so that Ctrl-C reaches the launcher alone, which then ends them in order.

mod child;
mod cluster;
mod directory;
mod ports;

#[cfg(test)]
mod tests;

pub use child::{Child, ChildError};
pub use cluster::{Cluster, ClusterSpec};
pub use directory::{Directory, is_memory};
pub use ports::{PortPlan, Ports};
