//! A file written aside: nobody can mistake it for a whole one before it is.

use std::path::PathBuf;

use runtime::{Buffer, Disk, File};

use crate::begun::Begun;
use crate::error::SnapshotError;
use crate::name::SnapshotName;
use crate::store::{Guard, Slot};

/// The file grows ahead of the writes in steps of this, so that a write rarely changes its size.
const GROW_BYTES: u64 = 16 << 20;

/// A file under its temporary name, to be completed or left to the store's next collection.
pub(crate) struct Aside<D: Disk> {
    slot: Slot<D>,
    path: PathBuf,
    file: D::File,
    grown_bytes: u64,
}

impl<D: Disk> Aside<D> {
    /// Creates the file, empty.
    pub async fn create(slot: Slot<D>) -> Result<Aside<D>, SnapshotError> {
        let path = slot.path();
        let file =
            slot.disk().create(&path, 0).await.map_err(|error| SnapshotError::io(&path, "create", error))?;
        Ok(Aside { slot, path, file, grown_bytes: 0 })
    }

    pub fn name(&self) -> SnapshotName {
        self.slot.name()
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    pub fn file(&self) -> &D::File {
        &self.file
    }

    /// Begins to write whole pages at a page's offset. Nothing is durable before `sync`, which must not be called before all
    /// writes have ended.
    pub async fn begin_write(
        &mut self,
        offset: u64,
        data: Buffer,
    ) -> Result<Begun<'static, ()>, SnapshotError> {
        let end = offset + data.len() as u64;
        if end > self.grown_bytes {
            self.set_len(end.next_multiple_of(GROW_BYTES)).await?;
        }
        let (file, path) = (self.file.clone(), self.path.clone());
        let write = async move {
            file.write_at(offset, data).await.map_err(|error| SnapshotError::io(&path, "write", error))
        };
        Ok(Begun::new(write).await)
    }

    pub async fn set_len(&mut self, file_bytes: u64) -> Result<(), SnapshotError> {
        let done = self.file.set_len(file_bytes).await;
        done.map_err(|error| SnapshotError::io(&self.path, "change of size", error))?;
        self.grown_bytes = file_bytes;
        Ok(())
    }

    pub async fn sync(&self) -> Result<(), SnapshotError> {
        if runtime::mutant!("snapshot.file_not_synced") {
            return Ok(());
        }
        self.file.sync().await.map_err(|error| SnapshotError::io(&self.path, "sync", error))
    }

    /// The last durable steps, after the content is whole and synced: rename, then the directory's sync.
    pub async fn complete(self) -> Result<Guard, SnapshotError> {
        let Aside { slot, path, .. } = self;
        let (disk, dir) = (slot.disk().clone(), slot.dir().to_path_buf());
        let renamed = disk.rename(&path, &slot.complete_path()).await;
        renamed.map_err(|error| SnapshotError::io(&path, "rename", error))?;
        let guard = slot.renamed();
        if runtime::mutant!("snapshot.directory_not_synced") {
            return Ok(guard);
        }
        let synced = disk.sync_dir(&dir).await;
        synced.map_err(|error| SnapshotError::io(&dir, "sync of the directory", error))?;
        Ok(guard)
    }
}
