//! What can go wrong with a snapshot file, and what the caller does about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::VERSION;

/// Why a snapshot operation failed.
///
/// `Io` on a file being built or received: drop it and start again later; a failed sync is never retried.
/// `Corrupt` on a file that is in use: the group's state is damaged and heals by installing a snapshot from
/// a peer; so it does after `Item`. `Mismatch`: the file is sound but not the one the log names; treated like a corrupt one. `Version`: nothing is wrong
/// with the file; it takes another version of this program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk refused an operation.
    #[error("{}: {action} failed: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a noun: "write", "sync", ...
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The bytes of a file are not what was written.
    #[error("{}: corrupt at byte {offset}: {problem}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where the damage was noticed, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A sound file with an item that its user does not take.
    #[error("{}: {reason}", path.display())]
    Item {
        /// The file.
        path: PathBuf,
        /// What the user says of the item.
        reason: String,
    },
    /// A sound file of another version of the format.
    #[error("{}: is of version {found} of the snapshot format; this program reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A sound file, but not the expected one.
    #[error("{}: {field} is {found}, expected {expected}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which field differs.
        field: &'static str,
        /// Its value in the file.
        found: String,
        /// The value asked for.
        expected: String,
    },
    /// No failure: a block that was to be read only if it is in memory is not. Bring it, and ask again.
    #[error("block {block} is not in memory")]
    NotAtHand {
        /// Its number in the file.
        block: usize,
    },
}

impl SnapshotError {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> SnapshotError {
        SnapshotError::Io { path: path.to_path_buf(), action, source }
    }

    /// The file or directory that it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            SnapshotError::Io { path, .. }
            | SnapshotError::Corrupt { path, .. }
            | SnapshotError::Item { path, .. }
            | SnapshotError::Version { path, .. }
            | SnapshotError::Mismatch { path, .. } => Some(path),
            SnapshotError::NotAtHand { .. } => None,
        }
    }

    /// Whether the disk cannot read these bytes, so that they are lost: in contrast to a disk that does not answer at all, as far as one
    /// answer tells.
    pub fn is_unreadable(&self) -> bool {
        const EIO: i32 = 5;
        let unreadable = |error: &io::Error| error.raw_os_error() == Some(EIO);
        matches!(self, SnapshotError::Io { action: "read", source, .. } if unreadable(source))
    }

    /// Whether the file's content is the cause, not the disk's answer.
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            SnapshotError::Corrupt { .. } | SnapshotError::Mismatch { .. } | SnapshotError::Item { .. }
        )
    }
}

/// Damage found while decoding bytes, before it is known which file they are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub offset: u64,
    pub problem: &'static str,
    /// No damage at all, but this version of the format.
    pub version: Option<u32>,
}

impl Damage {
    pub fn new(offset: u64, problem: &'static str) -> Damage {
        Damage { offset, problem, version: None }
    }

    /// What has a right checksum is of another version.
    pub fn version(offset: u64, found: u32) -> Damage {
        Damage { version: Some(found), ..Damage::new(offset, "it is of another version of the format") }
    }

    /// The same damage, seen from an enclosing piece that starts at `base`.
    pub fn shift(self, base: u64) -> Damage {
        Damage { offset: base.saturating_add(self.offset), ..self }
    }

    pub fn of(self, path: &Path) -> SnapshotError {
        let Damage { offset, problem, version } = self;
        match version {
            Some(found) => SnapshotError::Version { path: path.to_path_buf(), found },
            None => SnapshotError::Corrupt { path: path.to_path_buf(), offset, problem },
        }
    }
}

/// Fails with `problem` at `offset` unless `holds`.
pub(crate) fn ensure(holds: bool, offset: u64, problem: &'static str) -> Result<(), Damage> {
    if holds { Ok(()) } else { Err(Damage::new(offset, problem)) }
}
