//! What a disk refuses to read, for good and in one place: it counts as damage of that place, as if zeros stood there, which no
//! checksum takes for anything else. What lies beside it is as good as ever.
//!
//! A failure that says nothing about the place (no memory, no descriptors, a disk that went away) stays a failure.

use std::io;

use runtime::{Buffer, BufferMut, File};

use crate::format::BLOCK;

/// What Linux says when the device cannot give back what stands there: EIO; ENODATA, of a medium error; EILSEQ, of a checksum that
/// the device or the file system keeps.
const REFUSALS: [i32; 3] = [5, 61, 84];

/// Bytes that were read, with zeros where the disk refused.
pub(crate) struct Salvaged {
    pub(crate) bytes: Buffer,
    /// The offsets in the file of the blocks that it refused, ascending.
    pub(crate) refused: Vec<u64>,
    /// What it said of the last of them.
    pub(crate) error: Option<io::Error>,
}

/// Whether the disk says that what stands in one place cannot be read.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| REFUSALS.contains(&code))
}

/// What a disk said that refused a block, once more.
pub(crate) fn refusal() -> io::Error {
    io::Error::from_raw_os_error(REFUSALS[0])
}

/// Reads `len` bytes at `offset`, or fewer at the end of the file. If the disk refuses that, block by block: so each block that
/// counts as unreadable was asked for twice. After `refused_max` of them no more are asked for, and zeros stand for the rest.
///
/// # Errors
/// What else the disk says.
pub(crate) async fn read<F: File>(
    file: &F,
    offset: u64,
    len: usize,
    refused_max: usize,
) -> io::Result<Salvaged> {
    match file.read_at(offset, len).await {
        Err(error) if is_refusal(&error) => by_blocks(file, offset, len, refused_max).await,
        read => Ok(Salvaged { bytes: read?, refused: Vec::new(), error: None }),
    }
}

async fn by_blocks<F: File>(file: &F, offset: u64, len: usize, refused_max: usize) -> io::Result<Salvaged> {
    let len = usize::try_from(file.file_bytes().saturating_sub(offset)).map_or(len, |left| left.min(len));
    let mut bytes = BufferMut::zeroed(len);
    let (mut refused, mut error) = (Vec::new(), None);
    let mut done = 0;
    while done < len && refused.len() < refused_max {
        let at = offset + done as u64;
        let block_end = usize::try_from(at % BLOCK as u64).map_or(BLOCK, |into| BLOCK - into);
        let here = block_end.min(len - done);
        match file.read_at(at, here).await {
            Ok(block) => bytes[done..done + block.len()].copy_from_slice(&block),
            Err(refusal) if is_refusal(&refusal) => {
                refused.push(at - at % BLOCK as u64);
                error = Some(refusal);
            }
            Err(other) => return Err(other),
        }
        done += here;
    }
    Ok(Salvaged { bytes: bytes.freeze().slice(0..len), refused, error })
}
