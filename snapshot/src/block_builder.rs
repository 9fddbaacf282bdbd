//! A data block in the making.

use crate::filter::add_filter;
use crate::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_TRAILER_BYTES, BlockHeader, DIRECTORY_ITEM_BYTES,
    ITEM_HEADER_BYTES,
};
use crate::hash::{key_hash, tag};

/// The items of the block being filled, and what its directory and its filter will say of them.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    payload: Vec<u8>,
    offsets: Vec<u16>,
    hashes: Vec<u64>,
}

impl BlockBuilder {
    /// What an item alone in its block makes it.
    pub fn bytes_of_one(key_bytes: usize, value_bytes: usize) -> usize {
        let frame = BLOCK_HEADER_BYTES + DIRECTORY_ITEM_BYTES + BLOCK_TRAILER_BYTES;
        frame + ITEM_HEADER_BYTES + key_bytes + value_bytes
    }

    /// Whether an item fits beside those that are there.
    pub fn fits(&self, key_bytes: usize, value_bytes: usize) -> bool {
        let before = self.payload.len() + self.offsets.len() * DIRECTORY_ITEM_BYTES;
        before + BlockBuilder::bytes_of_one(key_bytes, value_bytes) <= BLOCK_BYTES
    }

    pub fn items(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("a block is small")
    }

    pub fn held_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Adds an item, which fits.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.offsets.push(u16::try_from(self.payload.len()).expect("a block of several items is small"));
        self.hashes.push(key_hash(key));
        self.payload.extend_from_slice(&length(key.len()));
        self.payload.extend_from_slice(&length(value.len()));
        self.payload.extend_from_slice(key);
        self.payload.extend_from_slice(value);
    }

    /// Ends the block: hands its bytes out in pieces, adds its filter to `filter`, and is empty again.
    pub fn close(&mut self, filter: &mut Vec<u8>, mut out: impl FnMut(&[u8])) {
        let header = BlockHeader { payload_bytes: to_u32(self.payload.len()), items: self.items() };
        let tags: Vec<u8> = self.hashes.iter().map(|hash| tag(*hash)).collect();
        let mut hasher = crc32fast::Hasher::new();
        for piece in [bytemuck::bytes_of(&header), bytemuck::cast_slice(&self.offsets), &tags, &self.payload]
        {
            hasher.update(piece);
            out(piece);
        }
        out(&hasher.finalize().to_le_bytes());
        add_filter(&self.hashes, filter);
        self.payload.clear();
        self.offsets.clear();
        self.hashes.clear();
    }
}

/// What stands in front of the value in a block of one item whose value is written as it comes; its filter is added.
pub(crate) fn front_of_one(key: &[u8], value_bytes: usize, filter: &mut Vec<u8>) -> Vec<u8> {
    let payload_bytes = to_u32(ITEM_HEADER_BYTES + key.len() + value_bytes);
    let hash = key_hash(key);
    add_filter(&[hash], filter);
    let mut front = bytemuck::bytes_of(&BlockHeader { payload_bytes, items: 1 }).to_vec();
    front.extend_from_slice(&[0, 0, tag(hash)]);
    front.extend_from_slice(&length(key.len()));
    front.extend_from_slice(&length(value_bytes));
    front.extend_from_slice(key);
    front
}

pub(crate) fn to_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("checked against the format's bounds")
}

fn length(bytes: usize) -> [u8; 4] {
    to_u32(bytes).to_le_bytes()
}
