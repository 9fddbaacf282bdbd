//! What a node claims for itself alone: its addresses and its data directory.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The lock's file in a data directory.
const NAME: &str = "LOCK";

/// Listens on `address`; port 0 takes a free one. An address in use is an error, always: without SO_REUSEPORT no second
/// process can silently share it. A port whose last connections linger (TIME_WAIT) is free.
///
/// # Errors
///
/// What the system says, mostly `AddrInUse`, `AddrNotAvailable` or `PermissionDenied`.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another engine of this one, holds it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file system refused.
    #[error("cannot lock {}: {source}", .path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Holds a data directory until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl Drop for DirLock {
    /// Closing would not do: a child that another thread has forked and that has not begun its program yet holds the same
    /// open file, and with it the lock. Whoever opened the directory again in that moment was refused (flock(2)).
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked when the file closes.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Takes `dir/LOCK`, so that no two nodes work on one directory.
///
/// # Errors
///
/// [`LockError::InUse`] when somebody has it; [`LockError::Io`] when the file cannot be made or locked.
pub fn lock_dir(dir: &Path) -> Result<DirLock, LockError> {
    let path = dir.join(NAME);
    let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock { file }),
        Err(Errno::WOULDBLOCK) => Err(LockError::InUse(dir.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Shares `dir/LOCK` with others who only read, so that no node works on the directory meanwhile. Nothing is made or
/// written: where there is no lock file no node ever was, and `None` is enough.
///
/// # Errors
///
/// [`LockError::InUse`] when a node has it; [`LockError::Io`] when the file cannot be opened or locked.
pub fn share_dir(dir: &Path) -> Result<Option<DirLock>, LockError> {
    let path = dir.join(NAME);
    let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(DirLock { file })),
        Err(Errno::WOULDBLOCK) => Err(LockError::InUse(dir.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_dir(dir.path()).unwrap();
        assert!(matches!(lock_dir(dir.path()), Err(LockError::InUse(path)) if path == dir.path()));
        drop(lock);
        lock_dir(dir.path()).unwrap();
        assert!(matches!(lock_dir(&dir.path().join("missing")), Err(LockError::Io { .. })));
    }

    #[test]
    fn a_lock_ends_though_a_forked_child_still_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_dir(dir.path()).unwrap();
        let of_the_child = lock.file.try_clone().unwrap();
        drop(lock);
        lock_dir(dir.path()).unwrap();
        drop(of_the_child);
    }

    #[test]
    fn readers_share_a_directory_and_keep_nodes_out() {
        let dir = tempfile::tempdir().unwrap();
        assert!(share_dir(dir.path()).unwrap().is_none(), "no node ever was here");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
        drop(lock_dir(dir.path()).unwrap());
        let readers = (share_dir(dir.path()).unwrap(), share_dir(dir.path()).unwrap());
        assert!(matches!(lock_dir(dir.path()), Err(LockError::InUse(_))));
        drop(readers);
        let _node = lock_dir(dir.path()).unwrap();
        assert!(matches!(share_dir(dir.path()), Err(LockError::InUse(_))));
    }

    #[test]
    fn an_address_is_bound_once_at_a_time() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        bind(address).unwrap();
    }
}
