//! Files in memory of their own, for disks that no system maps.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use runtime::{Disk, File as _};
use snapshot::{BlockPlace, Bytes, CheckPass, PAGE_BYTES, Run, SnapshotError};

use super::{BringBlocks, OpenRun, Opener, SLICE_BYTES, check_first, check_some, entry_check};
use crate::state_machine::CheckEntry;

/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;

/// Files are read through the disk seam.
pub(crate) fn by_reading<D: Disk>(disk: &D) -> Opener {
    Opener { open_run: read_runs(disk), bring_blocks: bring_read(disk) }
}

fn read_runs<D: Disk>(disk: &D) -> OpenRun {
    let disk = disk.clone();
    Rc::new(move |path, reading, pause| {
        let disk = disk.clone();
        Box::pin(async move {
            let failed = |action| {
                let path = path.clone();
                move |source| SnapshotError::Io { path, action, source }
            };
            let file = disk.open(&path).await.map_err(failed("open"))?;
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < file.file_bytes() {
                let read = file.read_at(bytes.len() as u64, READ_BYTES).await.map_err(failed("read"))?;
                if read.is_empty() {
                    break; // cut short: what is missing is found missing
                }
                bytes.extend_from_slice(&read);
            }
            let run = Run::open(Bytes::Held(bytes), &path)?;
            if !reading.whole {
                check_first(&run, reading.check)?;
                return Ok(run);
            }
            let mut pass = CheckPass::default();
            while check_some(&run, &mut pass, SLICE_BYTES, reading.check)? {
                pause(runtime::REST).await;
            }
            Ok(run)
        })
    })
}

/// What was read when the file was opened is not looked at again before the disk has said the same once more. All reads are on
/// their way before the first is waited for.
fn bring_read<D: Disk>(disk: &D) -> BringBlocks {
    let disk = disk.clone();
    Rc::new(move |pieces, _given_back| {
        let disk = disk.clone();
        Box::pin(async move {
            let blocks =
                pieces.iter().flat_map(|piece| piece.blocks.iter().map(move |(_, place)| (piece, place)));
            let mut reads: Vec<Read> = Vec::new();
            for (piece, place) in blocks {
                let (disk, place, check) = (disk.clone(), *place, piece.check);
                let path = piece.served.run().path().to_path_buf();
                reads.push(Box::pin(async move { read_block(disk, path, place, check).await }));
            }
            let mut result = Ok(());
            poll_fn(|context| {
                reads.retain_mut(|read| match read.as_mut().poll(context) {
                    Poll::Pending => true,
                    Poll::Ready(read) => {
                        if let (Ok(()), Err(error)) = (&result, read) {
                            result = Err(error);
                        }
                        false
                    }
                });
                if reads.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            result.map(|()| pieces)
        })
    })
}

type Read = Pin<Box<dyn Future<Output = Result<(), SnapshotError>>>>;

async fn read_block<D: Disk>(
    disk: D,
    path: PathBuf,
    place: BlockPlace,
    check: CheckEntry,
) -> Result<(), SnapshotError> {
    let failed = |action| {
        let path = path.clone();
        move |source| SnapshotError::Io { path, action, source }
    };
    let file = disk.open(&path).await.map_err(failed("open"))?;
    let range = place.range();
    let start = range.start / PAGE_BYTES * PAGE_BYTES;
    let end = range.end.next_multiple_of(PAGE_BYTES);
    let read = file.read_at(start as u64, end - start).await.map_err(failed("read"))?;
    place.check(
        read.get(range.start - start..range.end - start).unwrap_or_default(),
        &path,
        entry_check(check),
    )
}
