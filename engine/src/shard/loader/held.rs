//! Files in memory of their own, for disks that no system maps.

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use runtime::{Buffer, Disk, File};
use snapshot::{BlockPlace, Bytes, CheckPass, PAGE_BYTES, Run, SnapshotError};

use super::{BringBlocks, OpenRun, Opener, SLICE_BYTES, check_first, check_some, entry_check};
use crate::state_machine::CheckEntry;

const EIO: i32 = 5;

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
            let FileBytes { bytes, unreadable } = read_file(&file).await.map_err(failed("read"))?;
            if let Some(error) = unreadable.as_ref().filter(|_| reading.whole) {
                return Err(failed("read")(copy_of(error)));
            }
            // A map says so of the pages that are looked at first, and nothing yet of the others.
            let seen = |error: SnapshotError| match &unreadable {
                Some(unreadable) if error.is_corrupt() => failed("read")(copy_of(unreadable)),
                _ => error,
            };
            let run = Run::open(Bytes::Held(bytes), &path).map_err(seen)?;
            if !reading.whole {
                check_first(&run, reading.check).map_err(seen)?;
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

/// What could be read of a file.
#[derive(Default)]
struct FileBytes {
    /// All of it; where it could not be read, what is no block.
    bytes: Vec<u8>,
    /// Why some of it could not.
    unreadable: Option<io::Error>,
}

/// Reads a file; page by page where the disk cannot read some of it.
async fn read_file(file: &impl File) -> io::Result<FileBytes> {
    let mut read = FileBytes::default();
    while (read.bytes.len() as u64) < file.file_bytes() {
        let len = if read.unreadable.is_some() { PAGE_BYTES } else { READ_BYTES };
        match read_twice(file, read.bytes.len() as u64, len).await {
            Ok(some) if some.is_empty() => break, // cut short: what is missing is found missing
            Ok(some) => read.bytes.extend_from_slice(&some),
            Err(error) if is_unreadable(&error) => {
                if read.unreadable.replace(error).is_some() {
                    read.bytes.resize(read.bytes.len() + PAGE_BYTES, 0);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// As a system does that was told to read ahead: where that came to nothing, it reads again when the page is asked for.
async fn read_twice(file: &impl File, offset: u64, bytes: usize) -> io::Result<Buffer> {
    match file.read_at(offset, bytes).await {
        Err(error) if is_unreadable(&error) => file.read_at(offset, bytes).await,
        read => read,
    }
}

/// Whether it is these bytes that the disk cannot read, not the disk that does not answer.
fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
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
                let (path, served) = (piece.served.run().path().to_path_buf(), Rc::clone(&piece.served));
                reads.push(Box::pin(async move {
                    read_block(&disk, &path, place, check).await?;
                    // Could it not be read when the file was opened, it is taken for damaged for good.
                    place.check(&served.run().bytes()[place.range()], &path, entry_check(check))
                }));
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
    disk: &D,
    path: &Path,
    place: BlockPlace,
    check: CheckEntry,
) -> Result<(), SnapshotError> {
    let failed = |action| move |source| SnapshotError::Io { path: path.to_path_buf(), action, source };
    let file = disk.open(path).await.map_err(failed("open"))?;
    let range = place.range();
    let start = range.start / PAGE_BYTES * PAGE_BYTES;
    let end = range.end.next_multiple_of(PAGE_BYTES);
    let read = read_twice(&file, start as u64, end - start).await.map_err(failed("read"))?;
    let block = read.get(range.start - start..range.end - start).unwrap_or_default();
    place.check(block, path, entry_check(check))
}
