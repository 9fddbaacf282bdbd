//! What can go wrong, by operation.

use std::{io, path::PathBuf};

use raft::{GroupId, Index};

use crate::BatchSeq;

/// Why a log was not opened. Nothing was changed on disk beyond what an interrupted open may leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options contradict themselves: change them.
    #[error("log options: {what}")]
    Options {
        /// What and how to mend it.
        what: String,
    },
    /// The disk refused. Nothing is known about the log.
    #[error("log: {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A segment file of another store or shard lies in this log's directory: take it away.
    #[error("log segment {} does not belong here: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        what: String,
    },
    /// A segment file was written by another version of this program: use that one.
    #[error("log segment {} at byte {offset}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is unknown.
        what: &'static str,
    },
    /// A segment file is shorter or longer than its header says.
    #[error(
        "log segment {} ends at byte {file_bytes}, but has {segment_bytes} bytes by its header",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size: where the missing bytes would start.
        file_bytes: u64,
        /// The size in its header.
        segment_bytes: u64,
    },
    /// Bytes that were durable, and may have been acknowledged, are not what was written. Not a torn tail: that is
    /// dropped without a word. The data must come back from peers or from a backup.
    #[error("log segment {} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file, as far as known: where the missing bytes were expected.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// All files are sound, but entries of a group are not in them: a segment file is missing.
    #[error("log in {}: entries {first}..={last} of group {group} are missing", dir.display())]
    Missing {
        /// The log's directory.
        dir: PathBuf,
        /// Whose entries.
        group: GroupId,
        /// The first missing index.
        first: Index,
        /// The last missing index.
        last: Index,
    },
}

/// Bytes of the log that were durable and are not what was written. A start goes on without them where peers can give back what
/// was in them; [`RecoveredGroup::is_lost`](crate::RecoveredGroup::is_lost) says of which groups.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log segment {} is damaged at byte {offset}: {what}", path.display())]
pub struct Loss {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

impl From<Loss> for OpenError {
    fn from(Loss { path, offset, what }: Loss) -> OpenError {
        OpenError::Damaged { path, offset, what }
    }
}

impl Loss {
    /// What `error` says, if it is about damage.
    pub(crate) fn of(error: OpenError) -> Option<Loss> {
        match error {
            OpenError::Damaged { path, offset, what } => Some(Loss { path, offset, what }),
            _ => None,
        }
    }
}

/// A write or sync of the log failed. Fatal: nothing after the last acknowledged batch will ever be acknowledged by
/// this log, and nothing is retried, because a second success proves nothing. End the process.
#[derive(Clone, Debug, thiserror::Error)]
#[error("log: writing batch {batch} to {} at byte {offset} failed: {what}", path.display())]
pub struct LogError {
    /// The first batch that failed.
    pub batch: BatchSeq,
    /// The segment file.
    pub path: PathBuf,
    /// Where in it the batch was to stand.
    pub offset: u64,
    /// The kind of the failure.
    pub kind: io::ErrorKind,
    /// What the disk said.
    pub what: String,
}

/// Why entries could not be read. The group is told; the log goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Entries from `first` on are wanted, but the log starts later: send a snapshot.
    #[error("group {group}: the log starts at {first}, what was asked for is compacted")]
    Compacted {
        /// The group.
        group: GroupId,
        /// Where its log starts now.
        first: Index,
    },
    /// Nothing that may be read is there: the caller asked beyond [`Log::visible`](crate::Log::visible).
    #[error("group {group}: index {index} is not in the log")]
    Absent {
        /// The group.
        group: GroupId,
        /// The index asked for.
        index: Index,
    },
    /// The bytes on disk are not the entries that were written there: heal from peers.
    #[error("group {group}: entry {index} is damaged in {} at byte {offset}", path.display())]
    Damaged {
        /// The group.
        group: GroupId,
        /// The first of those asked for that cannot be read.
        index: Index,
        /// The segment file.
        path: PathBuf,
        /// Where the record's body starts in it.
        offset: u64,
    },
    /// The disk refused to read.
    #[error("reading {} at byte {offset}: {source}", path.display())]
    Io {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the disk said.
        source: io::Error,
    },
}
