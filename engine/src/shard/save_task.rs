//! Writing one frozen image to a file, beside the turns: alone, or merged with the files before it.

mod sink;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use runtime::Disk;
use snapshot::{
    BuildSpec, Builder, FileRun, Guard, ItemError, Manifest, Merge, Room, RunReference, Slot, SnapshotError,
};

use super::loader::Loader;
use crate::state_machine::{self, CheckEntry, Frozen, IsDeleted, Progress};
use sink::{Gathered, Sink, Step};

/// Lets the shard's turns go first, for so long while there is something to do: awaited by background work between slices of at most a
/// millisecond.
pub(crate) type Pause = Rc<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The same between slices of so many bytes, as long as the limit for saves wants it.
pub(super) type Rest = Rc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()>>>>;

/// What one slice of a save or a restore moves: small entries of this many bytes take a fraction of a millisecond.
pub(super) const SLICE_BYTES: usize = 64 << 10;

/// Why a save came to nothing. The log keeps what it would have let go.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a file that the new one builds on cannot be read: {0}")]
    Below(SnapshotError),
    #[error("the state machine's image breaks its contract: {0}")]
    Image(#[from] ItemError),
    #[error("the state machine's image breaks its contract: a value is not as long as it was said to be")]
    ValueBytes,
}

/// The files under an image of changes; none under a whole state.
#[derive(Default)]
pub(super) struct Below {
    /// Those that are merged with it, newest first.
    pub(super) merged: Vec<Merged>,
    /// Those below that stay as they are, newest first.
    pub(super) kept: Vec<RunReference>,
    /// Tells what is deleted.
    pub(super) is_deleted: Option<IsDeleted>,
}

/// A file that is merged into a new one.
pub(super) struct Merged {
    pub(super) reference: RunReference,
    pub(super) path: PathBuf,
    /// Keeps it until it is read.
    pub(super) guard: Guard,
}

/// What a save is to write, and where.
pub(super) struct Save<D: Disk> {
    pub(super) loader: Loader<D>,
    pub(super) rest: Rest,
    pub(super) slot: Slot<D>,
    pub(super) spec: BuildSpec,
    pub(super) image: Box<dyn Frozen>,
    pub(super) below: Below,
    /// How files are checked, if the machine answers from them.
    pub(super) serves: Option<CheckEntry>,
}

/// A snapshot whose files are whole.
pub(super) struct Saved {
    pub(super) manifest: Manifest,
    /// Of the new file.
    pub(super) guard: Guard,
    /// For a machine that answers from them.
    pub(super) served: Option<state_machine::Saved>,
}

/// Writes all of the image, and answers with the snapshot that its file, which is synced under its final name, is the newest of.
pub(super) async fn save<D: Disk>(save: Save<D>) -> Result<Saved, SaveError> {
    let Save { loader, rest, slot, spec, mut image, below, serves } = save;
    let membership = spec.membership.clone();
    let name = slot.name();
    let builder = Builder::create(slot, spec).await?;
    let builder = if below.merged.is_empty() {
        write(builder, &mut *image, &rest).await?
    } else {
        runtime::mark!("save.merges");
        let merged = merge(&loader.disk, builder, &mut *image, &below, &rest).await?;
        below.merged.into_iter().for_each(|merged| drop(merged.guard));
        merged
    };
    drop(image);
    let finished = builder.finish().await?;
    let path = loader.store.path(finished.reference.name);
    let runs = [finished.reference].into_iter().chain(below.kept).collect();
    let manifest = Manifest { group: name.group, id: name.id, membership, runs };
    let served = match serves {
        Some(check) => Some(loader.saved(&manifest, check).await.map_err(|error| of_kept(error, &path))?),
        None => None,
    };
    Ok(Saved { manifest, guard: finished.guard, served })
}

/// What is wrong with a file below the new one at `path` stays so, whatever is written above it: tried again it would be wrong again.
fn of_kept(error: SnapshotError, path: &Path) -> SaveError {
    let is_lost = error.is_corrupt() || error.is_unreadable();
    if is_lost && error.path() != Some(path) { SaveError::Below(error) } else { error.into() }
}

/// The image as it is.
async fn write<D: Disk>(
    mut builder: Builder<D>,
    image: &mut dyn Frozen,
    rest: &Rest,
) -> Result<Builder<D>, SaveError> {
    let mut value_left = 0;
    loop {
        let mut sink = Sink::new(&mut builder, value_left);
        let progress = image.write(&mut sink, SLICE_BYTES);
        value_left = sink.end()?;
        builder.flush().await?;
        if progress == Progress::Done {
            return if value_left == 0 { Ok(builder) } else { Err(SaveError::ValueBytes) };
        }
        rest(SLICE_BYTES).await;
    }
}

/// The image, and what it does not cover of the files below it.
async fn merge<D: Disk>(
    disk: &D,
    builder: Builder<D>,
    image: &mut dyn Frozen,
    below: &Below,
    rest: &Rest,
) -> Result<Builder<D>, SaveError> {
    let mut scans = Vec::with_capacity(below.merged.len());
    for merged in &below.merged {
        let run = FileRun::open(disk, &merged.path).await.map_err(SaveError::Below)?;
        run.expect(&merged.reference).map_err(SaveError::Below)?;
        scans.push(run.scan().await.map_err(SaveError::Below)?);
    }
    let older = Merge::new(scans).await.map_err(SaveError::Below)?;
    let is_all = below.kept.is_empty() || runtime::mutant!("save.merge_forgets_deletes");
    let drops = below.is_deleted.filter(|_| is_all);
    let mut merging = Merging { builder, older, drops, slice_bytes: 0, rest };
    let (mut value_left, mut gathered) = (0, Gathered::default());
    loop {
        let progress = image.write(&mut gathered, SLICE_BYTES);
        for step in gathered.steps() {
            match step {
                Step::Entry { key, value } => {
                    merging.go_to(Some(key)).await?;
                    if !merging.is_dropped(value) {
                        value_left = Sink::take(&mut merging.builder, value_left, step)?;
                    }
                }
                Step::Begin { key, .. } => {
                    merging.go_to(Some(key)).await?;
                    value_left = Sink::take(&mut merging.builder, value_left, step)?;
                }
                Step::Part(_) => value_left = Sink::take(&mut merging.builder, value_left, step)?,
            }
        }
        gathered.clear();
        merging.rest().await?;
        if progress == Progress::Done {
            break;
        }
    }
    if value_left > 0 {
        return Err(SaveError::ValueBytes);
    }
    merging.go_to(None).await?;
    Ok(merging.builder)
}

/// The older items on their way into the new file.
struct Merging<'a, D: Disk> {
    builder: Builder<D>,
    older: Merge<D::File>,
    /// Nothing lies below the new file: what is deleted leaves no trace.
    drops: Option<IsDeleted>,
    /// What was moved since the last rest.
    slice_bytes: usize,
    rest: &'a Rest,
}

impl<D: Disk> Merging<'_, D> {
    fn is_dropped(&self, value: &[u8]) -> bool {
        self.drops.is_some_and(|is_deleted| is_deleted(value))
    }

    /// Moves all older items below `key`, and passes the one that it covers; with None all that are left.
    async fn go_to(&mut self, key: Option<&[u8]>) -> Result<(), SaveError> {
        while let Some(item) = self.older.peek().await.map_err(SaveError::Below)? {
            if key.is_some_and(|key| item.key > key) {
                break;
            }
            let is_covered = key.is_some_and(|key| item.key == key);
            let is_dropped = self.drops.is_some_and(|is_deleted| is_deleted(item.value));
            let mut room = Room::More;
            if !is_covered && !is_dropped {
                room = self.builder.push(item.key, item.value)?;
            }
            self.slice_bytes += item.key.len() + item.value.len();
            self.older.pass();
            if room == Room::Flush || self.slice_bytes >= SLICE_BYTES {
                self.rest().await?;
            }
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), SaveError> {
        let bytes = std::mem::take(&mut self.slice_bytes);
        self.builder.flush().await?;
        (self.rest)(bytes).await;
        Ok(())
    }
}
