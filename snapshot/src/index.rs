//! The index: where each data block is and its first key.

use crate::error::{Damage, ensure};
use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCK_TRAILER_BYTES, Footer, INDEX_ENTRY_BYTES, IndexEntry,
    PAGE_BYTES, align_up, read_pod,
};

/// The index section's bytes, read in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexView<'a> {
    entries: &'a [u8],
    keys: &'a [u8],
}

impl<'a> IndexView<'a> {
    /// Splits `bytes`, the whole section, without looking at its content; None if it is cut off.
    pub fn new(bytes: &'a [u8], footer: &Footer) -> Option<IndexView<'a>> {
        if u64::try_from(bytes.len()).ok()? != footer.index_bytes {
            return None;
        }
        let entries_bytes = usize::try_from(footer.blocks).ok()?.checked_mul(INDEX_ENTRY_BYTES)?;
        let (entries, keys) = bytes.split_at_checked(entries_bytes)?;
        Some(IndexView { entries, keys })
    }

    /// Proves checksum, order and that the blocks follow each other without a gap: O(blocks), done once per
    /// opened file.
    pub fn check(&self, footer: &Footer) -> Result<(), Damage> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.entries);
        hasher.update(self.keys);
        let sum = hasher.finalize();
        ensure(sum == footer.index_checksum, footer.index_offset, "the index's checksum does not match")?;
        let mut block_offset = PAGE_BYTES as u64;
        let mut key_offset = 0;
        let mut items = 0u64;
        let mut previous: &[u8] = &[];
        for number in 0..self.len() {
            let at = footer.index_offset + (number * INDEX_ENTRY_BYTES) as u64;
            let entry = self.entry(number);
            let block_bytes = u64::from(entry.block_bytes);
            let overhead = BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES;
            let bounds = overhead as u64..=(overhead + BLOCK_PAYLOAD_BYTES_MAX) as u64;
            ensure(entry.zero == 0, at, "reserved bytes of the index are not zero")?;
            ensure(bounds.contains(&block_bytes), at, "a block's length in the index is out of bounds")?;
            ensure(entry.block_offset == block_offset, at, "the index's blocks do not follow each other")?;
            ensure(entry.key_offset == key_offset, at, "the index's keys do not follow each other")?;
            let key = self.checked_key(&entry).ok_or(Damage::new(at, "a key of the index is cut off"))?;
            ensure(previous <= key, at, "the index's keys are not in order")?;
            previous = key;
            key_offset += u64::from(entry.key_bytes);
            items += u64::from(entry.items);
            let next = align_up(block_offset + block_bytes, PAGE_BYTES as u64);
            block_offset = next.ok_or(Damage::new(at, "the index's blocks do not fit the file"))?;
        }
        let at = footer.index_offset;
        ensure(block_offset == footer.index_offset, at, "the index's blocks do not fill the file")?;
        ensure(key_offset == self.keys.len() as u64, at, "bytes follow the last key of the index")?;
        ensure(items == footer.items, at, "the index counts other items than the footer")
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.entries.len() / INDEX_ENTRY_BYTES
    }

    pub fn entry(&self, number: usize) -> IndexEntry {
        read_pod(&self.entries[number * INDEX_ENTRY_BYTES..]).expect("whole entries, number is in range")
    }

    fn checked_key(&self, entry: &IndexEntry) -> Option<&'a [u8]> {
        let start = usize::try_from(entry.key_offset).ok()?;
        let bytes = usize::try_from(entry.key_bytes).ok()?;
        self.keys.get(start..start.checked_add(bytes)?)
    }

    /// The first key of a block, of an index that passed `check`.
    pub fn key(&self, number: usize) -> &'a [u8] {
        self.checked_key(&self.entry(number)).expect("checked when the index was loaded")
    }

    /// The blocks that can hold items with `key`: from the last block that begins below it to the last that
    /// begins with it.
    pub fn candidates(&self, key: &[u8]) -> std::ops::Range<usize> {
        let below = self.partition(|first| first < key);
        let start = below.saturating_sub(1);
        let ends_here = below == self.len() || self.key(below) != key;
        start..if ends_here { below } else { below + 1 }
    }

    /// The first block that can hold an item at or above `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.partition(|first| first < key).saturating_sub(1)
    }

    /// How many blocks from the front have a first key that `holds`.
    fn partition(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.key(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}
