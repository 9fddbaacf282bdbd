//! The table of chunk checksums in a file.

use std::ops::Range;

use crate::error::Damage;
use crate::format::{CHUNK_BYTES, FOOTER_BYTES, FileHeader, PAGE_BYTES, read_pod};
use crate::layout::Layout;
use crate::run::usize_range;

/// The checksum table and the zeros behind it, up to the footer.
pub(crate) fn table_range(layout: &Layout) -> Range<usize> {
    usize_range(layout.footer.table_offset..layout.footer.file_bytes - FOOTER_BYTES as u64)
}

/// The checksum table, its own checksum verified.
pub(crate) struct ChecksumTable<'a> {
    checksums: &'a [u8],
}

impl<'a> ChecksumTable<'a> {
    /// `bytes` reach from the table to the footer.
    pub fn new(layout: &Layout, bytes: &'a [u8]) -> Result<ChecksumTable<'a>, Damage> {
        let at = layout.footer.table_offset;
        let damage = Damage::new(at, "the checksum table's checksum does not match");
        if crc32fast::hash(bytes) != layout.footer.table_checksum {
            return Err(damage);
        }
        let table_bytes = usize::try_from(layout.footer.table_bytes).map_err(|_| damage)?;
        Ok(ChecksumTable { checksums: bytes.get(..table_bytes).ok_or(damage)? })
    }

    /// Checks chunk `number`.
    pub fn check(&self, layout: &Layout, number: u64, chunk: &[u8]) -> Result<(), Damage> {
        let at = layout.chunk_range(number).start;
        let start = usize::try_from(number).expect("within the table") * 4;
        let expected: Option<u32> = self.checksums.get(start..).and_then(read_pod);
        if expected != Some(crc32fast::hash(chunk)) {
            return Err(Damage::new(at, "the chunk's checksum does not match"));
        }
        let padding = at == 0 && chunk[size_of::<FileHeader>()..PAGE_BYTES].iter().any(|byte| *byte != 0);
        if padding { Err(Damage::new(64, "the header's padding is not zero")) } else { Ok(()) }
    }
}

const _: () = assert!(CHUNK_BYTES >= PAGE_BYTES);
