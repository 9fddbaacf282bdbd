//! The real disk.
use crate::{Buffer, Disk, File, Ring};
use std::{
    io,
    path::{Path, PathBuf},
};

/// How [`File::write_durable`] makes a write durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// One operation: the write itself returns only when synced (RWF_DSYNC).
    Dsync,
    /// Two linked operations: the write, then fdatasync.
    LinkedSync,
}

/// The real file system, through the shard's ring.
#[derive(Clone)]
pub struct RealDisk {
    ring: Ring,
}
/// A file of the real file system.
#[derive(Clone)]
pub struct RealFile {
    ring: Ring,
}

#[allow(clippy::unimplemented, unused_variables, dead_code, missing_docs, reason = "bodies follow")]
impl RealDisk {
    pub fn new(ring: Ring) -> RealDisk {
        RealDisk { ring }
    }
    pub async fn probe(&self, dir: &Path) -> io::Result<SyncMode> {
        unimplemented!()
    }
}
#[allow(clippy::unimplemented, unused_variables, reason = "bodies follow")]
impl Disk for RealDisk {
    type File = RealFile;
    async fn open(&self, path: &Path) -> io::Result<RealFile> {
        unimplemented!()
    }
    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<RealFile> {
        unimplemented!()
    }
    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        unimplemented!()
    }
    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        unimplemented!()
    }
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        unimplemented!()
    }
    async fn remove(&self, path: &Path) -> io::Result<()> {
        unimplemented!()
    }
    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        unimplemented!()
    }
}
#[allow(clippy::unimplemented, unused_variables, reason = "bodies follow")]
impl File for RealFile {
    fn file_bytes(&self) -> u64 {
        unimplemented!()
    }
    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        unimplemented!()
    }
    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()> {
        unimplemented!()
    }
    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()> {
        unimplemented!()
    }
    async fn sync(&self) -> io::Result<()> {
        unimplemented!()
    }
    async fn set_len(&self, file_bytes: u64) -> io::Result<()> {
        unimplemented!()
    }
    fn map_path(&self) -> PathBuf {
        unimplemented!()
    }
}
