//! From snapshot files to machines: those that answer from the files get them, the others every entry.

#[cfg(any(test, feature = "simulation", feature = "fuzzing"))]
mod held;

use std::cell::Cell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use runtime::Disk;
use snapshot::{
    Bytes, CheckPass, FileRun, Files, Item, Manifest, Run, RunReference, Served, SnapshotError, Store, Use,
};

use super::residence::{GivenBack, Piece, Residence};
use super::restore::LoadError;
pub(crate) use super::save_task::Pause;
use super::save_task::SLICE_BYTES;
use crate::state_machine::{CheckEntry, Saved, StateMachine};

#[cfg(any(test, feature = "simulation", feature = "fuzzing"))]
pub(crate) use held::by_reading;

/// Opens a file without stopping the thread.
pub(crate) type OpenRun =
    Rc<dyn Fn(PathBuf, OpenMode, Pause) -> Pin<Box<dyn Future<Output = Result<Run<Bytes>, SnapshotError>>>>>;

/// Brings blocks to memory and checks them, without stopping the thread; before, the system may have back what is given back.
pub(crate) type BringBlocks = Rc<
    dyn Fn(Vec<Piece>, Vec<GivenBack>) -> Pin<Box<dyn Future<Output = Result<Vec<Piece>, SnapshotError>>>>,
>;

/// What is read of a file when it is opened.
#[derive(Clone, Copy)]
pub(crate) struct OpenMode {
    /// The machine's own measure of its entries.
    pub(crate) check: CheckEntry,
    /// All of it is brought to memory and checked. If not: index, filters and the first block, unless it is small.
    pub(crate) whole: bool,
    /// In large pieces, without rests.
    pub(crate) hurries: bool,
}

/// How files get into memory.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) open_run: OpenRun,
    pub(crate) bring_blocks: BringBlocks,
}

/// How much of the files is in memory, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServingLimits {
    /// What is held of mapped files. Those that the system can spare: it takes back more than that when it likes.
    pub(crate) mapped_bytes_max: u64,
    /// A start reads and checks so many bytes of files whole, and heals what is damaged in them; larger files are looked at
    /// block by block once they are asked for.
    pub(crate) checked_at_start_bytes: u64,
}

/// What it takes to load a state.
#[derive(Clone)]
pub(crate) struct Loader<D: Disk> {
    pub(crate) disk: D,
    pub(crate) store: Store<D>,
    pub(crate) pause: Pause,
    pub(crate) access: Opener,
    pub(crate) residence: Rc<Residence>,
    /// So much is still read whole of files that are opened.
    pub(crate) whole_bytes: Rc<Cell<u64>>,
    /// Nobody is served yet, or saves must keep up.
    pub(crate) hurries: Rc<Cell<bool>>,
    /// Peers have what is damaged here.
    pub(crate) heals: bool,
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

    /// The files of a snapshot: what is read of each then was checked, and the first block of each is in memory.
    pub(crate) async fn saved(&self, manifest: &Manifest, check: CheckEntry) -> Result<Saved, SnapshotError> {
        let mut files = Vec::with_capacity(manifest.runs.len());
        for reference in &manifest.runs {
            if reference.name.id != manifest.id && runtime::mutant!("restore.newest_file_only") {
                continue;
            }
            files.push(match self.residence.known(reference) {
                Some(served) => served,
                None => self.served(*reference, check).await?,
            });
        }
        Ok(Saved::new(Files::new(files), self.residence.lookups().clone()))
    }

    async fn served(&self, reference: RunReference, check: CheckEntry) -> Result<Rc<Served>, SnapshotError> {
        let path = self.store.path(reference.name);
        // One that a newer snapshot has replaced meanwhile may be gone.
        let guard = self.store.hold(reference.name, Use::Serving).map_err(|gone| {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, gone);
            SnapshotError::Io { path: path.clone(), action: "use", source }
        })?;
        let left = self.whole_bytes.get();
        let whole = reference.bytes <= left;
        if whole && left != u64::MAX {
            self.whole_bytes.set(left - reference.bytes);
        }
        let reading = OpenMode { check, whole, hurries: self.hurries.get() };
        let run = (self.access.open_run)(path, reading, Rc::clone(&self.pause)).await?;
        run.expect(&reference)?;
        let served = Rc::new(Served::new(run, reference, guard));
        self.residence.add(&served, check);
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
                    (self.pause)(runtime::REST).await;
                }
            }
        }
        if found != expected {
            return Err(LoadError::Items { path: path.to_path_buf(), found, expected });
        }
        Ok(())
    }
}

/// Opens the first block of a file whose bytes there are in memory: machines look there for what they say of all of it.
pub(super) fn check_first(run: &Run<Bytes>, check: CheckEntry) -> Result<(), SnapshotError> {
    let Some(place) = run.place(0)? else { return Ok(()) };
    place.check(&run.bytes()[place.range()], run.path(), entry_check(check))?;
    run.is_brought(0, &place);
    Ok(())
}

/// A machine's check of an entry, as files take it.
pub(super) fn entry_check(check: CheckEntry) -> impl FnMut(Item<'_>) -> Result<(), String> {
    move |item| check(item.key, item.value).map_err(|error| error.to_string())
}

/// Checks some more of a file.
pub(super) fn check_some(
    run: &Run<Bytes>,
    pass: &mut CheckPass,
    bytes_max: usize,
    check: CheckEntry,
) -> Result<bool, SnapshotError> {
    run.check_some(pass, bytes_max, entry_check(check))
}
