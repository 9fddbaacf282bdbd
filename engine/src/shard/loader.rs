//! From snapshot files to machines: those that answer from the files get them, the others every entry.

#[cfg(any(test, feature = "simulation", feature = "fuzzing"))]
mod held;

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};

use runtime::Disk;
use snapshot::{
    Bytes, CheckPass, FileRun, Files, Manifest, Run, RunReference, Served, SnapshotError, Store, Use,
};

use super::restore::LoadError;
pub(crate) use super::save_task::Pause;
use super::save_task::SLICE_BYTES;
use crate::state_machine::{CheckEntry, Damage, Saved, StateMachine};

#[cfg(any(test, feature = "simulation", feature = "fuzzing"))]
pub(crate) use held::read_runs;

/// Brings a file to memory and checks it, its entries by the machine's own measure, without stopping the thread.
pub(crate) type OpenRun = Rc<
    dyn Fn(PathBuf, CheckEntry, Pause) -> Pin<Box<dyn Future<Output = Result<Run<Bytes>, SnapshotError>>>>,
>;

/// What it takes to load a state.
#[derive(Clone)]
pub(crate) struct Loader<D: Disk> {
    pub(crate) disk: D,
    pub(crate) store: Store<D>,
    pub(crate) pause: Pause,
    pub(crate) open_run: OpenRun,
    pub(crate) damage: Damage,
    /// The files that machines answer from: of the next snapshot they may be part as well.
    pub(crate) known: Rc<RefCell<Vec<Weak<Served>>>>,
}

impl<D: Disk> Loader<D> {
    /// Loads the state of a snapshot into a fresh machine.
    pub(super) async fn load<S: StateMachine>(
        &self,
        manifest: &Manifest,
        machine: &mut S,
    ) -> Result<(), LoadError> {
        if let Some(check) = machine.serves() {
            let saved = self.saved(manifest, check).await?;
            if machine.serve(saved) {
                runtime::mark!("restore.served");
                return Ok(());
            }
        }
        let mut path = PathBuf::new();
        for run in manifest.runs.iter().rev() {
            if run.name.id != manifest.id && runtime::mutant!("restore.newest_file_only") {
                continue;
            }
            path = self.store.path(run.name);
            self.restore_file(&path, run, machine).await?;
        }
        machine.restore_end().map_err(|source| LoadError::Entry { path, source })
    }

    /// The files of a snapshot, each checked whole once in its life here.
    pub(crate) async fn saved(&self, manifest: &Manifest, check: CheckEntry) -> Result<Saved, SnapshotError> {
        let mut files = Vec::with_capacity(manifest.runs.len());
        for reference in &manifest.runs {
            if reference.name.id != manifest.id && runtime::mutant!("restore.newest_file_only") {
                continue;
            }
            files.push(match self.known(reference) {
                Some(served) => served,
                None => self.served(*reference, check).await?,
            });
        }
        Ok(Saved::new(Files::new(files), self.damage.clone()))
    }

    fn known(&self, reference: &RunReference) -> Option<Rc<Served>> {
        self.known.borrow_mut().retain(|known| known.strong_count() > 0);
        let known = self.known.borrow();
        known.iter().filter_map(Weak::upgrade).find(|served| served.reference() == reference)
    }

    async fn served(&self, reference: RunReference, check: CheckEntry) -> Result<Rc<Served>, SnapshotError> {
        let path = self.store.path(reference.name);
        // One that a newer snapshot has replaced meanwhile may be gone.
        let guard = self.store.hold(reference.name, Use::Serving).map_err(|gone| {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, gone);
            SnapshotError::Io { path: path.clone(), action: "use", source }
        })?;
        let run = (self.open_run)(path, check, Rc::clone(&self.pause)).await?;
        run.expect(&reference)?;
        let served = Rc::new(Served::new(run, reference, guard));
        self.known.borrow_mut().push(Rc::downgrade(&served));
        Ok(served)
    }

    /// Feeds every item of a file to a machine. Each block is verified before its items are used.
    async fn restore_file<S: StateMachine>(
        &self,
        path: &Path,
        reference: &RunReference,
        machine: &mut S,
    ) -> Result<(), LoadError> {
        let run = FileRun::open(&self.disk, path).await?;
        run.expect(reference)?;
        let expected = run.summary().items;
        let mut scan = run.scan().await?;
        let (mut found, mut slice_bytes) = (0, 0);
        while let Some(blocks) = scan.next().await? {
            for item in blocks.items() {
                let item = item?;
                let restored = machine.restore_entry(item.key, item.value);
                restored.map_err(|source| LoadError::Entry { path: path.to_path_buf(), source })?;
                found += 1;
                slice_bytes += item.key.len() + item.value.len();
                if slice_bytes >= SLICE_BYTES {
                    slice_bytes = 0;
                    (self.pause)().await;
                }
            }
        }
        if found != expected {
            return Err(LoadError::Items { path: path.to_path_buf(), found, expected });
        }
        Ok(())
    }
}

/// Checks some more of a file.
pub(super) fn check_some(
    run: &Run<Bytes>,
    pass: &mut CheckPass,
    bytes_max: usize,
    check: CheckEntry,
) -> Result<bool, SnapshotError> {
    run.check_some(pass, bytes_max, |item| check(item.key, item.value).map_err(|error| error.to_string()))
}
