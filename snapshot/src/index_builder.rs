//! The index and the filters of a file in the making.

use crate::block_builder::to_u32;
use crate::filter::FILTER_BLOCK_BYTES;
use crate::format::IndexEntry;
use crate::hash::prefix;

/// What is known of the blocks so far. A block is begun with its first key and ended when it is whole; its filter is added in
/// between.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    prefixes: Vec<u64>,
    entries: Vec<IndexEntry>,
    keys: Vec<u8>,
    filters: Vec<u8>,
    /// Of the block that was begun.
    key_bytes: usize,
    filter_start: u32,
}

impl IndexBuilder {
    /// A block begins with this key.
    pub fn begin(&mut self, key: &[u8]) {
        self.prefixes.push(prefix(key));
        self.keys.extend_from_slice(key);
        self.key_bytes = key.len();
        self.filter_start = to_u32(self.filters.len() / FILTER_BLOCK_BYTES);
    }

    /// Where the block's filter goes.
    pub fn filters(&mut self) -> &mut Vec<u8> {
        &mut self.filters
    }

    /// The block that was begun is whole.
    pub fn end(&mut self, block_offset: u64, block_end: u64, items: u32) {
        self.entries.push(IndexEntry {
            block_offset,
            key_offset: (self.keys.len() - self.key_bytes) as u64,
            block_bytes: u32::try_from(block_end - block_offset).expect("a block's length is a u32"),
            key_bytes: to_u32(self.key_bytes),
            items,
            filter_start: self.filter_start,
        });
    }

    pub fn blocks(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The parts of the index section.
    pub fn sections(&self) -> [&[u8]; 3] {
        [bytemuck::cast_slice(&self.prefixes), bytemuck::cast_slice(&self.entries), &self.keys]
    }

    /// The filter section.
    pub fn into_filters(self) -> Vec<u8> {
        self.filters
    }
}
