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

    /// What chunk `number` must have.
    pub fn get(&self, number: usize) -> Option<u32> {
        self.checksums.get(number * 4..).and_then(read_pod)
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

/// The checksums of chunks of a file that comes in order, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    whole: Vec<u32>,
    /// The chunk that is coming, and how much of it has.
    open: crc32fast::Hasher,
    open_bytes: usize,
}

impl Rolling {
    /// The next piece, which is known to have this checksum.
    pub fn take(&mut self, piece: &[u8], checksum: u32) {
        if self.open_bytes + piece.len() <= CHUNK_BYTES {
            // What was computed to check the piece serves again.
            self.open.combine(&crc32fast::Hasher::new_with_initial_len(checksum, piece.len() as u64));
            self.add(piece.len());
        } else {
            self.compute(piece);
        }
    }

    /// The next piece, whose own checksum nobody has asked for.
    pub fn compute(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let (now, rest) = piece.split_at(piece.len().min(CHUNK_BYTES - self.open_bytes));
            self.open.update(now);
            self.add(now.len());
            piece = rest;
        }
    }

    fn add(&mut self, bytes: usize) {
        self.open_bytes += bytes;
        if self.open_bytes == CHUNK_BYTES {
            self.whole.push(std::mem::take(&mut self.open).finalize());
            self.open_bytes = 0;
        }
    }

    /// All of them, the last of a chunk that may not be full.
    pub fn end(mut self) -> Vec<u32> {
        if self.open_bytes > 0 {
            self.whole.push(self.open.finalize());
        }
        self.whole
    }

    /// Chunk `number`, if all of it has come.
    pub fn get(&self, number: usize) -> Option<u32> {
        self.whole.get(number).copied()
    }
}

const _: () = assert!(CHUNK_BYTES >= PAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_pieces_make_those_of_chunks() {
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 77).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect();
        for piece_bytes in [4096, 300_000, 512 << 10, CHUNK_BYTES, 2 * CHUNK_BYTES + 5] {
            let mut rolling = Rolling::default();
            for piece in bytes.chunks(piece_bytes) {
                rolling.take(piece, crc32fast::hash(piece));
            }
            for number in 0..3 {
                let chunk = &bytes[number * CHUNK_BYTES..(number + 1) * CHUNK_BYTES];
                assert_eq!(rolling.get(number), Some(crc32fast::hash(chunk)), "{piece_bytes}");
            }
            assert_eq!(rolling.get(3), None);
            let mut computed = Rolling::default();
            bytes.chunks(piece_bytes).for_each(|piece| computed.compute(piece));
            let whole: Vec<u32> = bytes.chunks(CHUNK_BYTES).map(crc32fast::hash).collect();
            assert_eq!((rolling.end(), computed.end()), (whole.clone(), whole));
        }
    }
}
