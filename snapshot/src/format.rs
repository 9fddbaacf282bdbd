//! The fixed-layout parts of a snapshot file. `FORMAT.md` says what each field means.

use bytemuck::{Pod, Zeroable};

/// The version this code writes, and the only one it reads so far.
pub const VERSION: u32 = 1;
/// First bytes of a file.
pub const HEADER_MAGIC: [u8; 8] = *b"RINGSNAP";
/// First bytes of the footer.
pub const FOOTER_MAGIC: [u8; 8] = *b"RINGTAIL";
/// Data blocks start on multiples of this, and a file's size is one.
pub const PAGE_BYTES: usize = 4096;
/// What the checksum table counts in, and the unit in which a builder writes.
pub const CHUNK_BYTES: usize = 1 << 20;
/// A data block is closed before an item would take it over this, four pages; a larger item has a block alone.
pub const BLOCK_BYTES: usize = 4 * PAGE_BYTES;
/// The longest key: 64 KiB of a client's key and room for what the state machine sorts by.
pub const KEY_BYTES_MAX: usize = 64 * 1024 + 256;
/// The longest value: 16 MiB of a client's value and room for the state machine's own fields.
pub const VALUE_BYTES_MAX: usize = (16 << 20) + 64 * 1024;
/// The longest membership.
pub const MEMBERSHIP_BYTES_MAX: usize = 64 * 1024;

/// Lengths of the key and the value in front of each item.
pub(crate) const ITEM_HEADER_BYTES: usize = 8;
pub(crate) const BLOCK_HEADER_BYTES: usize = size_of::<BlockHeader>();
/// What an item takes in its block's directory: an offset of two bytes, and a tag.
pub(crate) const DIRECTORY_ITEM_BYTES: usize = 3;
/// The checksum behind a block's payload.
pub(crate) const BLOCK_TRAILER_BYTES: usize = 4;
pub(crate) const BLOCK_PAYLOAD_BYTES_MAX: usize = ITEM_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;
/// The largest block: of one item, the largest.
pub(crate) const BLOCK_BYTES_MAX: usize =
    BLOCK_HEADER_BYTES + DIRECTORY_ITEM_BYTES + BLOCK_PAYLOAD_BYTES_MAX + BLOCK_TRAILER_BYTES;
pub(crate) const HEADER_BYTES: usize = size_of::<FileHeader>();
pub(crate) const FOOTER_BYTES: usize = size_of::<Footer>();
pub(crate) const META_HEADER_BYTES: usize = size_of::<MetaHeader>();
/// The front of a block's first key in the index.
pub(crate) const PREFIX_BYTES: usize = 8;
pub(crate) const INDEX_ENTRY_BYTES: usize = size_of::<IndexEntry>();
/// The filter section starts on a multiple of this, so that none of its blocks lies in two cache lines.
pub(crate) const FILTER_ALIGN: u64 = 64;
/// Filter and meta end, and the checksum table starts, on a multiple of this.
pub(crate) const SECTION_ALIGN: u64 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct FileHeader {
    pub magic: [u8; 8],
    pub version: u32,
    pub shard: u32,
    pub store: [u8; 16],
    pub group: u32,
    pub zero_a: u32,
    pub index: u64,
    pub term: u64,
    pub zero_b: u32,
    pub checksum: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockHeader {
    pub payload_bytes: u32,
    pub items: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct IndexEntry {
    pub block_offset: u64,
    pub key_offset: u64,
    pub block_bytes: u32,
    pub key_bytes: u32,
    pub items: u32,
    /// Where the block's filter begins, in blocks of 32 bytes.
    pub filter_start: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct MetaHeader {
    pub index: u64,
    pub term: u64,
    pub items: u64,
    pub keys_bytes: u64,
    pub values_bytes: u64,
    pub membership_bytes: u32,
    pub first_key_bytes: u32,
    pub last_key_bytes: u32,
    pub zero_a: u32,
    pub zero_b: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Footer {
    pub magic: [u8; 8],
    pub version: u32,
    pub header_checksum: u32,
    pub index_offset: u64,
    pub index_bytes: u64,
    pub filter_bytes: u64,
    pub meta_offset: u64,
    pub meta_bytes: u64,
    pub table_offset: u64,
    pub table_bytes: u64,
    pub file_bytes: u64,
    pub blocks: u64,
    pub items: u64,
    pub index_checksum: u32,
    pub filter_checksum: u32,
    pub meta_checksum: u32,
    pub table_checksum: u32,
    pub zero: [u32; 3],
    pub checksum: u32,
}

const _: () = {
    assert!(size_of::<FileHeader>() == 64);
    assert!(std::mem::offset_of!(FileHeader, store) == 16);
    assert!(std::mem::offset_of!(FileHeader, index) == 40);
    assert!(std::mem::offset_of!(FileHeader, checksum) == 60);
    assert!(size_of::<BlockHeader>() == 8);
    assert!(size_of::<IndexEntry>() == 32);
    assert!(std::mem::offset_of!(IndexEntry, block_bytes) == 16);
    assert!(size_of::<MetaHeader>() == 64);
    assert!(std::mem::offset_of!(MetaHeader, membership_bytes) == 40);
    assert!(size_of::<Footer>() == 128);
    assert!(std::mem::offset_of!(Footer, index_offset) == 16);
    assert!(std::mem::offset_of!(Footer, file_bytes) == 72);
    assert!(std::mem::offset_of!(Footer, index_checksum) == 96);
    assert!(std::mem::offset_of!(Footer, checksum) == 124);
    // A block's length is a u32 in the index, an item's lengths are u32.
    assert!(BLOCK_BYTES_MAX < u32::MAX as usize);
    // Offsets in a block's directory have two bytes.
    assert!(BLOCK_BYTES <= u16::MAX as usize + 1);
    assert!(CHUNK_BYTES.is_multiple_of(PAGE_BYTES));
};

impl FileHeader {
    pub fn sealed(mut self) -> FileHeader {
        self.checksum = self.sum();
        self
    }

    pub fn sum(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32fast::hash(&bytes[..HEADER_BYTES - 4])
    }
}

impl Footer {
    pub fn sealed(mut self) -> Footer {
        self.checksum = self.sum();
        self
    }

    pub fn sum(&self) -> u32 {
        let bytes = bytemuck::bytes_of(self);
        crc32fast::hash(&bytes[..FOOTER_BYTES - 4])
    }
}

/// Reads a fixed-layout struct from the front of `bytes`, wherever they lie in memory; None if too short.
pub(crate) fn read_pod<T: Pod>(bytes: &[u8]) -> Option<T> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

/// `value` rounded up to a multiple of `align`, a power of two; None on overflow.
pub(crate) fn align_up(value: u64, align: u64) -> Option<u64> {
    value.checked_next_multiple_of(align)
}
