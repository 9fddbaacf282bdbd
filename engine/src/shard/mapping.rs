//! Snapshot files in the address space: mapped, brought to memory and checked on a thread that may wait for the disk.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::Context;
use snapshot::{BlockPlace, Bytes, CheckPass, Map, PAGE_BYTES, Run, SnapshotError};

use super::loader::{BringBlocks, OpenRun, Opener, check_first, check_some, entry_check};
use super::residence::{GivenBack, Piece};
use crate::state_machine::CheckEntry;

/// What is checked in one go. Less than a millisecond, as others wait for the same thread, and turns for its core.
const CHECKED_BYTES: usize = 1 << 20;
/// The same where nobody waits, or a save must be done with it: each piece costs a turn of the shard.
const CHECKED_BYTES_HURRIED: usize = 8 << 20;

/// Files up to this size are read into memory: of many groups most files are small, and a process has 65,530 mappings.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// A file on its way.
struct Opening {
    run: Run<Bytes>,
    pass: CheckPass,
    more: bool,
}

/// Files are mapped.
pub(super) fn by_mapping(context: &Context) -> Opener {
    Opener { open_run: map_runs(context.clone()), bring_blocks: bring_mapped(context.clone()) }
}

fn map_runs(context: Context) -> OpenRun {
    Rc::new(move |path, reading, pause| {
        let context = context.clone();
        Box::pin(async move {
            let mut opening = context.blocking(move || open(&path)).await?;
            let is_small = matches!(opening.run.bytes(), Bytes::Held(_));
            if !reading.whole && !is_small {
                return context.blocking(move || opening.first_block(reading.check)).await;
            }
            let (bytes, rest) = match reading.hurries {
                true => (CHECKED_BYTES_HURRIED, Duration::ZERO),
                false => (CHECKED_BYTES, runtime::REST),
            };
            while opening.more {
                opening = context.blocking(move || opening.go_on(reading.check, bytes)).await?;
                pause(rest).await;
            }
            Ok(opening.run)
        })
    })
}

fn open(path: &Path) -> Result<Opening, SnapshotError> {
    let failed = |source| read_error(path, source);
    let run = Run::open(bytes(path).map_err(failed)?, path)?;
    populate(&run, run.index_range()).map_err(failed)?;
    Ok(Opening { run, pass: CheckPass::default(), more: true })
}

/// The bytes of a file, those at hand that are looked at first.
fn bytes(path: &Path) -> io::Result<Bytes> {
    if fs::metadata(path)?.len() <= HELD_BYTES_MAX {
        return fs::read(path).map(Bytes::Held);
    }
    let Ok(map) = Map::open(path) else {
        tracing::warn!(path = %path.display(), "cannot map a snapshot file: it is read into memory");
        return fs::read(path).map(Bytes::Held);
    };
    map.populate(0..PAGE_BYTES)?;
    map.populate(map.len().saturating_sub(2 * PAGE_BYTES)..map.len())?;
    Ok(Bytes::Mapped(Arc::new(map)))
}

fn populate(run: &Run<Bytes>, range: Range<usize>) -> io::Result<()> {
    match run.bytes() {
        Bytes::Mapped(map) => map.populate(range),
        Bytes::Held(_) => Ok(()),
    }
}

impl Opening {
    fn first_block(self, check: CheckEntry) -> Result<Run<Bytes>, SnapshotError> {
        if let Some(place) = self.run.place(0)? {
            populate(&self.run, place.range()).map_err(|source| read_error(self.run.path(), source))?;
        }
        check_first(&self.run, check)?;
        Ok(self.run)
    }

    fn go_on(mut self, check: CheckEntry, bytes: usize) -> Result<Opening, SnapshotError> {
        let range = self.run.next_checked(&self.pass, bytes)?;
        populate(&self.run, range).map_err(|source| read_error(self.run.path(), source))?;
        self.more = check_some(&self.run, &mut self.pass, bytes, check)?;
        Ok(self)
    }
}

fn read_error(path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { path: path.to_path_buf(), action: "read", source }
}

/// Blocks of one mapping, for another thread.
struct Job {
    map: Arc<Map>,
    path: PathBuf,
    check: CheckEntry,
    places: Vec<BlockPlace>,
}

fn bring_mapped(context: Context) -> BringBlocks {
    Rc::new(move |pieces, given_back| {
        let context = context.clone();
        Box::pin(async move {
            let given_back: Vec<_> = given_back.into_iter().filter_map(unmapped).collect();
            let jobs: Vec<Job> = pieces.iter().filter_map(job).collect();
            context.blocking(move || bring(&given_back, &jobs)).await?;
            Ok(pieces)
        })
    })
}

/// Nothing for a file that is in memory anyway.
fn job(piece: &Piece) -> Option<Job> {
    let Bytes::Mapped(map) = piece.served.run().bytes() else { return None };
    let places = piece.blocks.iter().map(|(_, place)| *place).collect();
    let path = piece.served.run().path().to_path_buf();
    Some(Job { map: Arc::clone(map), path, check: piece.check, places })
}

fn unmapped(given_back: GivenBack) -> Option<(Arc<Map>, Vec<Range<usize>>)> {
    let served = given_back.served.upgrade()?;
    let Bytes::Mapped(map) = served.run().bytes() else { return None };
    Some((Arc::clone(map), given_back.ranges))
}

fn bring(given_back: &[(Arc<Map>, Vec<Range<usize>>)], jobs: &[Job]) -> Result<(), SnapshotError> {
    for (map, ranges) in given_back {
        ranges.iter().for_each(|range| map.give_back(range.clone()));
    }
    // All reads are on their way before the first is waited for.
    for job in jobs {
        let begun = job.ranges().try_for_each(|range| job.map.read_ahead(range));
        begun.map_err(|source| read_error(&job.path, source))?;
    }
    for job in jobs {
        let come = job.ranges().try_for_each(|range| job.map.populate(range));
        come.map_err(|source| read_error(&job.path, source))?;
        for place in &job.places {
            place.check(&job.map[place.range()], &job.path, entry_check(job.check))?;
        }
    }
    Ok(())
}

impl Job {
    /// What is to be read, blocks that follow each other as one.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let follow = |one: &BlockPlace, next: &BlockPlace| one.range().end == next.range().start;
        self.places.chunk_by(follow).map(|run| run[0].range().start..run[run.len() - 1].range().end)
    }
}
