//! Mapping a complete snapshot file: the only unsafe code of this crate.
#![expect(unsafe_code, reason = "a mapping is only as safe as the file is still")]

use std::fs;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

use crate::format::PAGE_BYTES;
use memmap2::{Advice, Mmap, UncheckedAdvice};

const EIO: i32 = 5;
const EFAULT: i32 = 14;

/// A complete snapshot file in the address space.
///
/// Bytes that are not resident are read when they are touched, and the touching thread waits for the disk; if the
/// disk fails it dies of SIGBUS. So [`Map::populate`] is called on a thread that may wait, before a shard reads.
#[derive(Debug)]
pub struct Map {
    map: Mmap,
}

impl Map {
    /// Maps the whole file at `path` read-only, for access in random order. Opens files, so not on a shard's thread.
    ///
    /// The caller holds the file's [`Guard`](crate::Guard) for as long as the map lives.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Map> {
        let file = fs::File::open(path)?;
        // SAFETY: the bytes under a `&[u8]` must not change. Complete snapshot files are never written again: they
        // are made under another name, synced, then renamed, and while a guard is held not deleted. Nobody else
        // writes in the data directory, which is locked.
        let map = unsafe { Mmap::map(&file)? };
        map.advise(Advice::Random)?;
        Ok(Map { map })
    }

    /// Reads the pages of `range` into memory and waits until they are there, without the risk of a SIGBUS: run on a
    /// thread that may block. They may be evicted again under memory pressure.
    ///
    /// # Errors
    ///
    /// What the system says: EIO when the disk cannot read them, or the file has become shorter; EINVAL before Linux 5.14.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        // For pages that are read in random order the system reads none ahead: asked for one by one they would come one by one.
        self.map.advise_range(Advice::WillNeed, range.start, range.len())?;
        let populated = self.map.advise_range(Advice::PopulateRead, range.start, range.len());
        // Where a read would be a SIGBUS, the system speaks of a bad address (EFAULT), which says nothing to a reader.
        populated.map_err(|error| match error.raw_os_error() {
            Some(EFAULT) => io::Error::from_raw_os_error(EIO),
            _ => error,
        })
    }

    /// Begins to read the pages of `range`, and waits for nothing.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read_ahead(&self, range: Range<usize>) -> io::Result<()> {
        self.map.advise_range(Advice::WillNeed, range.start, range.len())
    }

    /// Takes the pages that are wholly in `range` out of the address space, as far as the system lets it. They are counted
    /// as this process's memory no more, and read again when they are touched.
    pub fn give_back(&self, range: Range<usize>) {
        let (start, end) = (range.start.next_multiple_of(PAGE_BYTES), range.end / PAGE_BYTES * PAGE_BYTES);
        if start >= end {
            return;
        }
        // SAFETY: pages of a shared mapping of a file that does not change come back with the same bytes.
        let given = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        let _as_far_as_it_lets = given;
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
