//! Snapshot files in the address space: mapped, brought to memory and checked on a thread that may wait for the disk.

use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use runtime::Context;
use snapshot::{Bytes, CheckPass, Map, PAGE_BYTES, Run, SnapshotError};

use super::loader::{OpenRun, check_some};
use crate::state_machine::CheckEntry;

/// What is checked in one go. Some milliseconds, as others wait for the same thread.
const CHECKED_BYTES: usize = 4 << 20;

/// Files up to this size are read into memory: of many groups most files are small, and a process has 65,530 mappings.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// A file on its way.
struct Opening {
    run: Run<Bytes>,
    pass: CheckPass,
    more: bool,
}

/// Opens files by mapping them.
pub(super) fn map_runs(context: Context) -> OpenRun {
    Rc::new(move |path, check, pause| {
        let context = context.clone();
        Box::pin(async move {
            let mut opening = context.blocking(move || open(&path)).await?;
            while opening.more {
                opening = context.blocking(move || opening.go_on(check)).await?;
                pause().await;
            }
            Ok(opening.run)
        })
    })
}

fn open(path: &Path) -> Result<Opening, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.to_path_buf(), action: "read", source };
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
    Ok(Bytes::Mapped(map))
}

fn populate(run: &Run<Bytes>, range: std::ops::Range<usize>) -> io::Result<()> {
    match run.bytes() {
        Bytes::Mapped(map) => map.populate(range),
        Bytes::Held(_) => Ok(()),
    }
}

impl Opening {
    fn go_on(mut self, check: CheckEntry) -> Result<Opening, SnapshotError> {
        let range = self.run.next_checked(&self.pass, CHECKED_BYTES)?;
        let failed =
            |source| SnapshotError::Io { path: self.run.path().to_path_buf(), action: "read", source };
        populate(&self.run, range).map_err(failed)?;
        self.more = check_some(&self.run, &mut self.pass, CHECKED_BYTES, check)?;
        Ok(self)
    }
}
