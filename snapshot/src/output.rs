//! The bytes of a file in the making, cut into pieces to be written.

use std::collections::VecDeque;

use runtime::{Buffer, BufferMut};

use crate::checksums::Rolling;
use crate::format::{CHUNK_BYTES, PAGE_BYTES};

/// What is written at once. A device that others wait for too is not theirs until the write has ended, and on many the flush of
/// their write takes this one along: so it is short.
pub(crate) const WRITE_BYTES: usize = 128 << 10;

/// Collects bytes in buffers that are written one by one, each at a multiple of its size.
pub(crate) struct Output {
    filling: BufferMut,
    filled: usize,
    full: VecDeque<BufferMut>,
    /// Offset of the first byte not yet taken, in the file.
    taken_bytes: u64,
    /// Checksums of the chunks that were taken, for the table.
    checksums: Rolling,
}

impl Output {
    pub fn new() -> Output {
        let filling = BufferMut::zeroed(WRITE_BYTES);
        Output { filling, filled: 0, full: VecDeque::new(), taken_bytes: 0, checksums: Rolling::default() }
    }

    /// Offset in the file of the next byte added.
    pub fn position(&self) -> u64 {
        self.taken_bytes + (self.full.len() * WRITE_BYTES + self.filled) as u64
    }

    /// Bytes held here.
    pub fn held_bytes(&self) -> usize {
        self.full.len() * WRITE_BYTES + self.filled
    }

    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = bytes.len().min(WRITE_BYTES - self.filled);
            let (now, later) = bytes.split_at(count);
            self.filling[self.filled..self.filled + count].copy_from_slice(now);
            self.advance(count);
            bytes = later;
        }
    }

    /// Adds zeros up to a multiple of `align`, which divides the size of a write.
    pub fn pad(&mut self, align: usize) {
        let count = self.filled.next_multiple_of(align) - self.filled;
        self.advance(count);
    }

    fn advance(&mut self, count: usize) {
        self.filled += count;
        if self.filled == WRITE_BYTES {
            self.full.push_back(std::mem::replace(&mut self.filling, BufferMut::zeroed(WRITE_BYTES)));
            self.filled = 0;
        }
    }

    /// Takes the oldest full buffer and where it goes. Its bytes join the table.
    pub fn take_full(&mut self) -> Option<(u64, Buffer)> {
        let piece = self.full.pop_front()?;
        self.checksums.compute(&piece);
        let offset = self.taken_bytes;
        self.taken_bytes += WRITE_BYTES as u64;
        Some((offset, piece.freeze()))
    }

    /// Ends what the table covers: the checksums of its chunks, the last of one that may not be full. Every full buffer has
    /// been taken before; what comes later has no part in the table.
    pub fn end_table(&mut self) -> Vec<u32> {
        assert!(self.full.is_empty(), "full buffers are taken before the table ends");
        let mut checksums = std::mem::take(&mut self.checksums);
        checksums.compute(&self.filling[..self.filled]);
        checksums.end()
    }

    /// Takes what is left once the file ends on a page boundary.
    pub fn take_last(&mut self) -> Option<(u64, Buffer)> {
        assert!(self.full.is_empty() && self.filled.is_multiple_of(PAGE_BYTES), "the file ends on a page");
        if self.filled == 0 {
            return None;
        }
        let offset = self.taken_bytes;
        let count = std::mem::take(&mut self.filled);
        self.taken_bytes += count as u64;
        let piece = std::mem::replace(&mut self.filling, BufferMut::zeroed(0));
        Some((offset, piece.freeze().slice(0..count)))
    }
}

const _: () = assert!(CHUNK_BYTES.is_multiple_of(WRITE_BYTES) && WRITE_BYTES.is_multiple_of(PAGE_BYTES));
