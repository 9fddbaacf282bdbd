//! The seam to the disk: what the log and the snapshots need of files, and nothing more.
//!
//! [`RealDisk`](crate::RealDisk) stands behind it in production and a simulated disk in the tests, so that the same
//! code of log and snapshots runs in both. All futures stay on their thread.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::Buffer;

/// A file system. Clones are the same one.
#[expect(async_fn_in_trait, reason = "shards are single threads: no future of this trait is ever sent")]
pub trait Disk: Clone + 'static {
    /// Its open files.
    type File: File;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    ///
    /// What the file system says; `NotFound` when there is no such file.
    async fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes a new file of `file_bytes` zeros (a multiple of 4096) that are written and synced, so that overwriting
    /// them later touches no metadata. Its directory entry is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when the path is taken; otherwise what the file system says, and no usable file is left.
    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<Self::File>;

    /// Makes a directory, durably. Fine if it exists.
    ///
    /// # Errors
    ///
    /// What the file system says; the parent must exist.
    async fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted. Names that are not UTF-8 are none of ours and are left out.
    ///
    /// # Errors
    ///
    /// What the file system says.
    async fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames, replacing what `to` names. Durable after [`Disk::sync_dir`] of the directories concerned.
    ///
    /// # Errors
    ///
    /// What the file system says; nothing has changed then.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// What the file system says.
    async fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    ///
    /// What the file system says. As with [`File::sync`], never retry and believe the second answer.
    async fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Clones are the same one; it closes with the last.
///
/// A failed write or sync says nothing about what is on the disk, and repeating a failed sync proves nothing: whoever
/// needs the bytes durable must give up the file.
#[expect(async_fn_in_trait, reason = "shards are single threads: no future of this trait is ever sent")]
pub trait File: Clone + 'static {
    /// Its size in bytes, as far as this handle's own operations know it.
    fn file_bytes(&self) -> u64;

    /// Reads up to `len` bytes from `offset`, which need no alignment. Fewer bytes come only at the end of the file.
    /// The future may be dropped; its memory lives on until the disk is done with it.
    ///
    /// # Errors
    ///
    /// What the device says.
    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer>;

    /// Writes all of `data`. `offset`, the length and the start of `data` in its memory are multiples of 4096. Durable
    /// only after a [`File::sync`] that began when this was done.
    ///
    /// # Errors
    ///
    /// What the device says; any part may have been written.
    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()>;

    /// Writes all of `data` like [`File::write_at`] and makes it durable: `Ok` means written and synced. The write
    /// begins when the future is first polled, several may be in flight and end in any order. A shard's main future may
    /// poll it with [`Waker::noop`](std::task::Waker::noop): [`Ring::wait`](crate::Ring::wait) returns when it is done.
    /// Must not be dropped before it is done: whether the bytes reach the disk would be unknown.
    ///
    /// # Errors
    ///
    /// What the device says; any part may have been written.
    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()>;

    /// Makes all completed writes durable (fdatasync).
    ///
    /// # Errors
    ///
    /// What the device says: completed writes may be lost. Never retry and believe the second answer.
    async fn sync(&self) -> io::Result<()>;

    /// Makes the file `file_bytes` long: cuts it, or adds zeros. Durable after [`File::sync`].
    ///
    /// # Errors
    ///
    /// What the file system says.
    async fn set_len(&self, file_bytes: u64) -> io::Result<()>;

    /// The path to map it under: where it was opened or created.
    fn map_path(&self) -> PathBuf;
}
