//! What the host must offer.
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Why a shard cannot start on this host. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The host lacks or forbids something.
    #[error("{0}")]
    Host(String),
}
/// What [`check_host`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// Whether what is synced in the data directory survives a power cut: false on memory file systems.
    pub durable: bool,
    /// Whether the data directory takes O_DIRECT.
    pub direct: bool,
}
/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The file system refused.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
/// Holds a data directory for this process until dropped.
#[derive(Debug)]
pub struct DirLock {}
#[allow(clippy::unimplemented, unused_variables, missing_docs, reason = "bodies follow")]
pub fn lock_dir(dir: &Path) -> Result<DirLock, LockError> {
    unimplemented!()
}
#[allow(clippy::unimplemented, missing_docs, reason = "bodies follow")]
pub fn allowed_cpus() -> Vec<usize> {
    unimplemented!()
}
#[allow(clippy::unimplemented, unused_variables, missing_docs, reason = "bodies follow")]
pub fn check_host(data_dir: &Path, shards: usize) -> Result<HostReport, StartError> {
    unimplemented!()
}
#[allow(clippy::unimplemented, unused_variables, missing_docs, reason = "bodies follow")]
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    unimplemented!()
}
