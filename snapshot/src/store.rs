//! A shard's snapshot directory: which files there are, which are live, and which may go.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use raft::{EntryId, GroupId};
use runtime::Disk;

use crate::error::SnapshotError;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::name::{SnapshotName, Stage};
use crate::registry::{FileStatus, Refused, Registry, Use};

pub use crate::registry::Guard;

/// The snapshot files of one shard (`shard-000/snapshots`).
///
/// The order of durable steps, which callers keep:
/// 1. build or receive a file: `begin_build` or `begin_receive`, then the builder's or the receiver's `finish`;
/// 2. make the log's snapshot record with the [`Manifest`] durable;
/// 3. `publish` the manifest, drop the guards of step 1, and only now compact the log and ack an install;
/// 4. `collect` in the background.
///
/// A crash anywhere leaves the state that the newest durable record names: at the next start files that no
/// record names are deleted. Clones are the same store.
#[derive(Clone)]
pub struct Store<D: Disk> {
    disk: D,
    dir: Rc<Path>,
    registry: Rc<RefCell<Registry>>,
}

/// What [`Store::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Unfinished and superseded files that were deleted.
    pub removed: Vec<String>,
    /// Files with names that are not a snapshot's; left alone.
    pub strangers: Vec<String>,
    /// Files that a manifest names and that are not there: their groups are recovering.
    pub missing: Vec<SnapshotName>,
}

/// What the name of a damaged file ends in; a start leaves such files alone.
const DAMAGED_SUFFIX: &str = ".damaged";

impl<D: Disk> Store<D> {
    /// Opens the directory, which is created if need be. `live` are the manifests of the newest durable records
    /// of all groups; every snapshot file they do not name is deleted, durably.
    ///
    /// Files are not read here: who opens a live one finds out whether it is sound.
    ///
    /// # Errors
    ///
    /// `Io` when the directory cannot be created, listed, or cleaned.
    pub async fn open(
        disk: D,
        dir: &Path,
        live: &[Manifest],
        limits: Limits,
    ) -> Result<(Store<D>, OpenReport), SnapshotError> {
        let failed = |action, error| SnapshotError::io(dir, action, error);
        disk.create_dir(dir).await.map_err(|error| failed("create", error))?;
        let mut report = OpenReport::default();
        let mut registry = Registry::new(limits);
        for file_name in disk.list(dir).await.map_err(|error| failed("list", error))? {
            match Stage::parse(&file_name) {
                // A complete file and a leftover of the same name cannot both be kept in one entry.
                Some((name, Stage::Complete)) => registry.found(name, Stage::Complete),
                Some(_) => {
                    runtime::mark!("snapshot.open.partial");
                    let path = dir.join(&file_name);
                    disk.remove(&path).await.map_err(|error| SnapshotError::io(&path, "remove", error))?;
                    report.removed.push(file_name);
                }
                None => report.strangers.push(file_name),
            }
        }
        for manifest in live {
            report.missing.extend(registry.publish(manifest));
            runtime::mark!("snapshot.open.live");
        }
        let store = Store { disk, dir: Rc::from(dir), registry: Rc::new(RefCell::new(registry)) };
        let unnamed = store.remove_garbage().await?;
        if !unnamed.is_empty() {
            runtime::mark!("snapshot.open.unnamed");
        }
        report.removed.extend(unnamed);
        if !report.removed.is_empty() {
            store.sync_dir().await?;
            tracing::info!(dir = %dir.display(), files = report.removed.len(), "removed unnamed snapshot files");
        }
        if !report.strangers.is_empty() {
            tracing::warn!(dir = %dir.display(), files = ?report.strangers, "files that are not snapshots");
        }
        Ok((store, report))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a complete file is.
    pub fn path(&self, name: SnapshotName) -> PathBuf {
        self.dir.join(name.file_name())
    }

    /// Reserves a file to build.
    ///
    /// # Errors
    ///
    /// [`Refused::Busy`]: try again when another build has ended.
    pub fn begin_build(&self, group: GroupId, id: EntryId) -> Result<Slot<D>, Refused> {
        self.allocate(group, id, Use::Building)
    }

    /// Reserves a file to receive. Its name is local: the sender's file may have another build number.
    ///
    /// # Errors
    ///
    /// [`Refused::Busy`]: try again when another has ended.
    pub fn begin_receive(&self, group: GroupId, id: EntryId) -> Result<Slot<D>, Refused> {
        self.allocate(group, id, Use::Receiving)
    }

    fn allocate(&self, group: GroupId, id: EntryId, usage: Use) -> Result<Slot<D>, Refused> {
        let name = self.registry.borrow_mut().allocate(group, id, usage)?;
        let guard = Guard::of_counted(Rc::clone(&self.registry), name, usage);
        Ok(Slot { disk: self.disk.clone(), dir: Rc::clone(&self.dir), guard })
    }

    /// Keeps a complete file while the guard lives.
    ///
    /// # Errors
    ///
    /// [`Refused`]: too many sends, or no such file (any more).
    ///
    /// # Panics
    ///
    /// For `Building` and `Receiving`, which begin with a slot.
    pub fn hold(&self, name: SnapshotName, usage: Use) -> Result<Guard, Refused> {
        assert!(!matches!(usage, Use::Building | Use::Receiving), "{usage:?} begins with a slot");
        self.registry.borrow_mut().hold(name, usage)?;
        Ok(Guard::of_counted(Rc::clone(&self.registry), name, usage))
    }

    /// Makes `manifest` the state of its group: called once the log record with it is durable. The files it does
    /// not name become garbage as soon as nobody uses them.
    ///
    /// # Panics
    ///
    /// When a run is not complete: the record named what is not durable.
    pub fn publish(&self, manifest: &Manifest) {
        let missing = self.registry.borrow_mut().publish(manifest);
        assert!(missing.is_empty(), "published before it was complete: {missing:?}");
    }

    /// Makes all files of a removed group garbage: called once the log's record of the removal is durable.
    pub fn forget(&self, group: GroupId) {
        self.registry.borrow_mut().retire(group);
    }

    /// Gives a damaged file another name, durably: the next start finds that it is missing, and what it held comes from a peer. It
    /// is left to be looked at. Answers the new path. For a shard that ends: here the file still counts as complete.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub async fn set_aside(&self, path: &Path) -> Result<PathBuf, SnapshotError> {
        let mut aside = path.to_path_buf().into_os_string();
        aside.push(DAMAGED_SUFFIX);
        let aside = PathBuf::from(aside);
        let renamed = self.disk.rename(path, &aside).await;
        renamed.map_err(|error| SnapshotError::io(path, "rename", error))?;
        self.sync_dir().await?;
        Ok(aside)
    }

    /// The published state of a group.
    pub fn manifest(&self, group: GroupId) -> Option<Manifest> {
        self.registry.borrow().manifest(group).cloned()
    }

    /// All files, by name.
    pub fn status(&self) -> Vec<FileStatus> {
        self.registry.borrow().status()
    }

    /// Deletes what is neither live nor used. To be called in the background after `publish` and after a guard
    /// was dropped; returns the number of files deleted.
    ///
    /// # Errors
    ///
    /// `Io`; the file stays garbage and the next call tries again.
    pub async fn collect(&self) -> Result<usize, SnapshotError> {
        let removed = self.remove_garbage().await?;
        if !removed.is_empty() {
            self.sync_dir().await?;
        }
        Ok(removed.len())
    }

    async fn remove_garbage(&self) -> Result<Vec<String>, SnapshotError> {
        let mut removed = Vec::new();
        loop {
            let garbage = self.registry.borrow_mut().take_garbage();
            let Some((name, stage)) = garbage else { return Ok(removed) };
            let file_name = stage.file_name(name);
            let path = self.dir.join(&file_name);
            let outcome = self.disk.remove(&path).await;
            // Not found: a slot whose file was never created.
            let absent = outcome.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            self.registry.borrow_mut().removed(name, outcome.is_ok() || absent);
            match outcome {
                Ok(()) => removed.push(file_name),
                Err(_) if absent => {}
                Err(error) => return Err(SnapshotError::io(&path, "remove", error)),
            }
        }
    }

    async fn sync_dir(&self) -> Result<(), SnapshotError> {
        let synced = self.disk.sync_dir(&self.dir).await;
        synced.map_err(|error| SnapshotError::io(&self.dir, "sync of the directory", error))
    }
}

/// A reserved name: the right to create one file.
pub struct Slot<D: Disk> {
    disk: D,
    dir: Rc<Path>,
    guard: Guard,
}

impl<D: Disk> Slot<D> {
    /// The name the file will have.
    pub fn name(&self) -> SnapshotName {
        self.guard.name()
    }

    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> PathBuf {
        let stage = match self.guard.usage() {
            Use::Receiving => Stage::Receiving,
            _ => Stage::Building,
        };
        self.dir.join(stage.file_name(self.name()))
    }

    /// Where it is when whole.
    pub(crate) fn complete_path(&self) -> PathBuf {
        self.dir.join(self.name().file_name())
    }

    /// The file has its final name: from now on that is what is kept or removed.
    pub(crate) fn renamed(self) -> Guard {
        self.guard.completed();
        self.guard
    }
}

impl<D: Disk> fmt::Debug for Slot<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:?})", self.guard)
    }
}
