//! Why a data directory is refused.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a data directory could not be opened, or not be written later.
///
/// Each is one sentence that names the path and, where one is at fault, the field. Every refusal but `Io` comes
/// before anything in the directory was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Something else than a directory is there.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What was named as the data directory.
        path: PathBuf,
    },
    /// The directory holds something else than a node's data.
    #[error(
        "{} is not empty and not a ringraft data directory (it holds {found:?}): name a new or empty one",
        path.display()
    )]
    Foreign {
        /// What was named as the data directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The identity is gone, the data is not.
    #[error("{} is missing while {} holds data: restore the file, or start with an empty directory", path.display(), data.display())]
    IdentityLost {
        /// The missing file.
        path: PathBuf,
        /// The data found.
        data: PathBuf,
    },
    /// Another process works in it.
    #[error("{} is in use by another process{}", path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process, if it said who it is.
        pid: Option<u32>,
    },
    /// A newer program wrote it.
    #[error("{}: format is {found}, this program knows up to {known}: use the program that wrote it", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// What was asked for contradicts what the directory was made with.
    #[error("{}: {field} is {stored}, not {wanted}: {meaning}", path.display())]
    Contradiction {
        /// The file that holds the field.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value in the directory.
        stored: String,
        /// The value asked for.
        wanted: String,
        /// What follows from it.
        meaning: &'static str,
    },
    /// What was asked for makes no sense in itself.
    #[error("{field} {problem}")]
    Invalid {
        /// Which wish.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not what this program wrote.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of a formed node's data is gone: its promises with it.
    #[error("{} is missing: a node that lost data must be removed and added again", path.display())]
    Missing {
        /// The file or folder.
        path: PathBuf,
    },
    /// A formed directory never forms again.
    #[error("{} exists already with another content: a formed node never forms again", path.display())]
    FormedAlready {
        /// The forming record's file.
        path: PathBuf,
    },
    /// The node was removed from its cluster.
    #[error("{}: {reason}", path.display())]
    Removed {
        /// The data directory.
        path: PathBuf,
        /// What the cluster said.
        reason: String,
    },
    /// The file system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb: "create", "read", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl DataDirError {
    /// Whether the same may succeed later, and nothing was harmed: the disk is full, or descriptors or memory ran out. Small
    /// files are written anew each time, so it does not matter how far the last try came.
    pub fn is_passing(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull};
        let DataDirError::Io { source, .. } = self else { return false };
        let kinds = [StorageFull, QuotaExceeded, FileTooLarge, Interrupted, OutOfMemory];
        let descriptors = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        kinds.contains(&source.kind())
            || source.raw_os_error().is_some_and(|error| descriptors.contains(&error))
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> DataDirError {
        DataDirError::Io { action, path: path.to_path_buf(), source }
    }

    pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> DataDirError {
        DataDirError::Damaged { path: path.to_path_buf(), problem: problem.into() }
    }
}
