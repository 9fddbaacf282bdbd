//! A new segment file, made beside the turns.

use std::path::{Path, PathBuf};

use super::{Slot, slot_name};
use crate::format::BLOCK_U64;

/// Background work that prepares one segment file: run it at low priority, off the turn, and hand the result back to
/// [`Log::prepared`](crate::Log::prepared).
#[derive(Debug)]
#[must_use = "run it and hand the result to Log::prepared, or no segment will be prepared any more"]
pub struct SegmentJob {
    dir: PathBuf,
    number: u64,
    segment_bytes: u64,
}

/// What became of a [`SegmentJob`].
#[must_use = "hand it to Log::prepared"]
pub struct PreparedSegment<F> {
    pub(super) number: u64,
    pub(super) result: std::io::Result<Slot<F>>,
}

impl SegmentJob {
    /// Makes the file: written zeros under a temporary name, synced, renamed, the directory synced. Takes as long as
    /// writing a segment's bytes takes. A failure (a full disk, say) is in the result; the log retries later.
    pub async fn run<D: runtime::Disk>(self, disk: &D) -> PreparedSegment<D::File> {
        PreparedSegment { number: self.number, result: self.make(disk).await }
    }

    pub(crate) fn new(dir: &Path, number: u64, segment_bytes: u64) -> SegmentJob {
        SegmentJob { dir: dir.to_owned(), number, segment_bytes }
    }

    pub(crate) async fn make<D: runtime::Disk>(&self, disk: &D) -> std::io::Result<Slot<D::File>> {
        debug_assert!(self.segment_bytes.is_multiple_of(BLOCK_U64), "checked by Options");
        let path = self.dir.join(slot_name(self.number));
        let temporary = self.dir.join(format!("slot-{:06}.tmp", self.number));
        drop(disk.create(&temporary, self.segment_bytes).await?);
        disk.rename(&temporary, &path).await?;
        disk.sync_dir(&self.dir).await?;
        let file = disk.open(&path).await?;
        Ok(Slot { number: self.number, path, file, file_bytes: self.segment_bytes })
    }
}
