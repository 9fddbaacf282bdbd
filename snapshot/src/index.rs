//! The index: where each data block is, its first key and its filter.

use crate::error::{Damage, ensure};
use crate::filter::{FILTER_BLOCK_BYTES, filter_blocks, may_hold};
use crate::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCK_TRAILER_BYTES, Footer, INDEX_ENTRY_BYTES, IndexEntry,
    PAGE_BYTES, PREFIX_BYTES, align_up, read_pod,
};
use crate::hash::prefix;

/// The bytes of the index section, read in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexView<'a> {
    /// The first keys' prefixes: what a search goes through first.
    prefixes: &'a [u8],
    entries: &'a [u8],
    keys: &'a [u8],
}

impl<'a> IndexView<'a> {
    /// Splits `bytes`, the whole section, without looking at its content; None if it is cut off.
    pub fn new(bytes: &'a [u8], footer: &Footer) -> Option<IndexView<'a>> {
        if u64::try_from(bytes.len()).ok()? != footer.index_bytes {
            return None;
        }
        let blocks = usize::try_from(footer.blocks).ok()?;
        let (prefixes, rest) = bytes.split_at_checked(blocks.checked_mul(PREFIX_BYTES)?)?;
        let (entries, keys) = rest.split_at_checked(blocks.checked_mul(INDEX_ENTRY_BYTES)?)?;
        Some(IndexView { prefixes, entries, keys })
    }

    /// Proves checksum, order and that the blocks follow each other without a gap: O(blocks), done once per
    /// opened file.
    pub fn check(&self, footer: &Footer) -> Result<(), Damage> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.prefixes);
        hasher.update(self.entries);
        hasher.update(self.keys);
        let sum = hasher.finalize();
        ensure(sum == footer.index_checksum, footer.index_offset, "the index's checksum does not match")?;
        let mut block_offset = PAGE_BYTES as u64;
        let mut key_offset = 0;
        let mut items = 0u64;
        let mut filter_start = 0;
        let mut previous: &[u8] = &[];
        for number in 0..self.len() {
            let at = footer.index_offset + (self.prefixes.len() + number * INDEX_ENTRY_BYTES) as u64;
            let entry = self.entry(number);
            let block_bytes = u64::from(entry.block_bytes);
            let overhead = BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES;
            let bounds = overhead as u64..=BLOCK_BYTES_MAX as u64;
            let is_next = u64::from(entry.filter_start) == filter_start;
            ensure(is_next, at, "the index's filters do not follow each other")?;
            filter_start += u64::from(filter_blocks(entry.items));
            ensure(bounds.contains(&block_bytes), at, "a block's length in the index is out of bounds")?;
            ensure(entry.block_offset == block_offset, at, "the index's blocks do not follow each other")?;
            ensure(entry.key_offset == key_offset, at, "the index's keys do not follow each other")?;
            let key = self.checked_key(&entry).ok_or(Damage::new(at, "a key of the index is cut off"))?;
            ensure(previous <= key, at, "the index's keys are not in order")?;
            ensure(self.prefix(number) == prefix(key), at, "a prefix in the index is not that of its key")?;
            previous = key;
            key_offset += u64::from(entry.key_bytes);
            items += u64::from(entry.items);
            let next = align_up(block_offset + block_bytes, PAGE_BYTES as u64);
            block_offset = next.ok_or(Damage::new(at, "the index's blocks do not fit the file"))?;
        }
        let at = footer.index_offset;
        ensure(block_offset == footer.index_offset, at, "the index's blocks do not fill the file")?;
        ensure(key_offset == self.keys.len() as u64, at, "bytes follow the last key of the index")?;
        let filter_bytes = filter_start.checked_mul(FILTER_BLOCK_BYTES as u64);
        ensure(
            filter_bytes == Some(footer.filter_bytes),
            at,
            "the index's filters do not fill their section",
        )?;
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

    fn prefix(&self, number: usize) -> u64 {
        read_pod(&self.prefixes[number * PREFIX_BYTES..]).expect("whole prefixes, number is in range")
    }

    /// The blocks that can hold items with `key`: from the last block that begins below it to the last that
    /// begins with it.
    pub fn candidates(&self, key: &[u8]) -> std::ops::Range<usize> {
        let below = self.below(key);
        let start = below.saturating_sub(1);
        // The keys are looked at where their fronts are equal only: they lie elsewhere.
        let begins = below < self.len() && self.prefix(below) == prefix(key) && self.key(below) == key;
        start..if begins { below + 1 } else { below }
    }

    /// The first block that can hold an item at or above `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.below(key).saturating_sub(1)
    }

    /// How many blocks from the front begin below `key`.
    fn below(&self, key: &[u8]) -> usize {
        let wanted = prefix(key);
        let mut low = partition(0..self.len(), |number| self.prefix(number) < wanted);
        if low < self.len() && self.prefix(low) == wanted {
            let high = partition(low..self.len(), |number| self.prefix(number) == wanted);
            low = partition(low..high, |number| self.key(number) < key);
        }
        low
    }

    /// Whether block `number` may hold the key with this hash; `filters` is the filter section.
    pub fn may_hold(&self, filters: &[u8], number: usize, hash: u64) -> bool {
        let start = |number| {
            let start =
                usize::try_from(self.entry(number).filter_start).expect("checked: within the section");
            start * FILTER_BLOCK_BYTES
        };
        let end = if number + 1 < self.len() { start(number + 1) } else { filters.len() };
        may_hold(&filters[start(number)..end], hash)
    }
}

/// The first number in `range` that does not hold; those that do come before all others.
fn partition(range: std::ops::Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut left) = (range.start, range.len());
    while left > 0 {
        let half = left / 2;
        // Both as values, not as branches: which way it goes cannot be foreseen.
        let up = holds(low + half);
        low = if up { low + half + 1 } else { low };
        left = if up { left - half - 1 } else { half };
    }
    low
}
