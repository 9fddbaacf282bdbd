//! What is near each other on the disk is read at once.
//!
//! A batch holds the entries of many groups, so what one group lacks lies in small pieces between those of others. A read
//! for each piece takes a turn for each: slower than a busy group writes, and whoever lags would never catch up.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use runtime::{Buffer, File};

use crate::{ReadError, salvage};

/// Pieces that are no further apart are read together: to read so much more costs hardly more than another read.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// The longest read of several pieces. One piece may be longer.
const EXTENT_BYTES_MAX: u64 = 256 << 10;
/// All extents of a read together, unless one piece alone is longer: so much a read may take off a disk for few entries.
const EXTENTS_BYTES_MAX: u64 = 1 << 20;

/// A piece of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    extent: usize,
    /// In the file.
    pub(crate) offset: u64,
    bytes: usize,
}

struct Extent<F> {
    file: F,
    path: PathBuf,
    offset: u64,
    end: u64,
    pieces: usize,
    /// Keeps the segment from being reused.
    pin: Rc<()>,
}

/// The extents of a read, in the order of their pieces.
pub(crate) struct Extents<F> {
    list: Vec<Extent<F>>,
    bytes: u64,
    /// The extent that was read last, with its bytes; none if the disk refused it as a whole.
    current: Option<(usize, Option<Buffer>)>,
    /// What the disk gave.
    read_bytes: u64,
}

impl<F> Default for Extents<F> {
    fn default() -> Extents<F> {
        Extents { list: Vec::new(), bytes: 0, current: None, read_bytes: 0 }
    }
}

impl<F: File> Extents<F> {
    /// Adds the piece of `bytes` at `offset` of a file; none if the read is long enough without it.
    pub(crate) fn add(
        &mut self,
        file: &F,
        path: &Path,
        pin: &Rc<()>,
        offset: u64,
        bytes: usize,
    ) -> Option<Spot> {
        let end = offset + bytes as u64;
        if let Some(last) = self.list.last_mut()
            && Rc::ptr_eq(&last.pin, pin)
            && (last.end..=last.end + GAP_BYTES_MAX).contains(&offset)
            && end - last.offset <= EXTENT_BYTES_MAX
            && self.bytes + (end - last.end) <= EXTENTS_BYTES_MAX
        {
            self.bytes += end - last.end;
            last.end = end;
            last.pieces += 1;
        } else {
            if !self.list.is_empty() && self.bytes + bytes as u64 > EXTENTS_BYTES_MAX {
                return None;
            }
            self.bytes += bytes as u64;
            let (file, path, pin) = (file.clone(), path.to_owned(), Rc::clone(pin));
            self.list.push(Extent { file, path, offset, end, pieces: 1, pin });
        }
        Some(Spot { extent: self.list.len() - 1, offset, bytes })
    }

    /// Whether others' entries may be in the same extent.
    pub(crate) fn is_shared(&self, spot: &Spot) -> bool {
        self.list[spot.extent].pieces > 1
    }

    /// The file.
    pub(crate) fn path(&self, spot: &Spot) -> PathBuf {
        self.list[spot.extent].path.clone()
    }

    /// What was read so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Reads a piece, with all of its extent if that has not been read just now.
    ///
    /// Blocks of the piece that the disk cannot give back, for good, are zeros, and so is all behind the first of them: that is
    /// damage, and seen by whoever looks at what is in it.
    ///
    /// # Errors
    /// [`ReadError::Io`], if the disk fails otherwise.
    pub(crate) async fn body(&mut self, spot: &Spot) -> Result<Buffer, ReadError> {
        let extent = &self.list[spot.extent];
        if self.current.as_ref().is_none_or(|(at, _)| *at != spot.extent) {
            let bytes = usize::try_from(extent.end - extent.offset).expect("extents fit memory");
            let read = extent.file.read_at(extent.offset, bytes).await;
            match read {
                // What the disk refuses may be somebody else's: each piece is asked for alone.
                Err(error) if extent.pieces > 1 || salvage::is_refusal(&error) => {
                    self.current = Some((spot.extent, None));
                }
                Err(source) => return Err(extent.refused(extent.offset, source)),
                Ok(buffer) => {
                    self.read_bytes += buffer.len() as u64;
                    self.current = Some((spot.extent, Some(buffer)));
                }
            }
        }
        match &self.current {
            Some((_, Some(buffer))) => {
                let start = usize::try_from(spot.offset - extent.offset).expect("extents fit memory");
                // A file that was cut ends early: then entries are missing, and that is seen.
                let len = buffer.len();
                Ok(buffer.slice(start.min(len)..(start + spot.bytes).min(len)))
            }
            _ => {
                let salvaged = salvage::read(&extent.file, spot.offset, spot.bytes, 1).await;
                let salvaged = salvaged.map_err(|source| extent.refused(spot.offset, source))?;
                if let (Some(offset), Some(error)) = (salvaged.refused.first(), &salvaged.error) {
                    let path = extent.path.display();
                    tracing::error!(%path, offset, %error, "the disk cannot read this block: it counts as damaged");
                }
                self.read_bytes += salvaged.bytes.len() as u64;
                Ok(salvaged.bytes)
            }
        }
    }
}

impl<F> Extent<F> {
    fn refused(&self, offset: u64, source: std::io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), offset, source }
    }
}
