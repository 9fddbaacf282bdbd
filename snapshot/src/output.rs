//! The bytes of a file in the making, cut into chunks.

use std::collections::VecDeque;

use runtime::{Buffer, BufferMut};

use crate::format::{CHUNK_BYTES, PAGE_BYTES};

/// Collects bytes in chunk-sized buffers that start on chunk boundaries of the file.
pub(crate) struct Output {
    filling: BufferMut,
    filled: usize,
    full: VecDeque<BufferMut>,
    /// Offset of the first byte not yet taken, in the file.
    taken_bytes: u64,
    /// Checksums of the chunks so far, for the table; not of the one being filled.
    checksums: Vec<u32>,
}

impl Output {
    pub fn new() -> Output {
        let filling = BufferMut::zeroed(CHUNK_BYTES);
        Output { filling, filled: 0, full: VecDeque::new(), taken_bytes: 0, checksums: Vec::new() }
    }

    /// Offset in the file of the next byte added.
    pub fn position(&self) -> u64 {
        self.taken_bytes + (self.full.len() * CHUNK_BYTES + self.filled) as u64
    }

    /// Bytes held here.
    pub fn held_bytes(&self) -> usize {
        self.full.len() * CHUNK_BYTES + self.filled
    }

    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = bytes.len().min(CHUNK_BYTES - self.filled);
            let (now, later) = bytes.split_at(count);
            self.filling[self.filled..self.filled + count].copy_from_slice(now);
            self.advance(count);
            bytes = later;
        }
    }

    /// Adds zeros up to a multiple of `align`, which divides the chunk size.
    pub fn pad(&mut self, align: usize) {
        let count = self.filled.next_multiple_of(align) - self.filled;
        self.advance(count);
    }

    fn advance(&mut self, count: usize) {
        self.filled += count;
        if self.filled == CHUNK_BYTES {
            self.full.push_back(std::mem::replace(&mut self.filling, BufferMut::zeroed(CHUNK_BYTES)));
            self.filled = 0;
        }
    }

    /// Takes the oldest full chunk and where it goes. Its checksum joins the table.
    pub fn take_full(&mut self) -> Option<(u64, Buffer)> {
        let chunk = self.full.pop_front()?;
        self.checksums.push(crc32fast::hash(&chunk));
        let offset = self.taken_bytes;
        self.taken_bytes += CHUNK_BYTES as u64;
        Some((offset, chunk.freeze()))
    }

    /// Ends what the table covers: its checksums, the last for a chunk that is not full. Every full chunk has
    /// been taken before; later chunks have no part in the table.
    pub fn end_table(&mut self) -> Vec<u32> {
        assert!(self.full.is_empty(), "full chunks are taken before the table ends");
        let mut checksums = std::mem::take(&mut self.checksums);
        if self.filled > 0 {
            checksums.push(crc32fast::hash(&self.filling[..self.filled]));
        }
        checksums
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
        let chunk = std::mem::replace(&mut self.filling, BufferMut::zeroed(0));
        Some((offset, chunk.freeze().slice(0..count)))
    }
}
