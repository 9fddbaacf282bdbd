//! Data blocks: runs of whole items behind one checksum.

use crate::error::{Damage, ensure};
use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCK_TRAILER_BYTES, BlockHeader, DIRECTORY_ITEM_BYTES,
    ITEM_HEADER_BYTES, IndexEntry, KEY_BYTES_MAX, VALUE_BYTES_MAX, read_pod,
};
use crate::hash::{key_hash, tag};

/// One key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What the items are sorted by, byte by byte.
    pub key: &'a [u8],
    /// Opaque.
    pub value: &'a [u8],
}

/// The payload of a data block whose shape, and checksum unless it was checked before, is proven.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Where each item begins in the payload, two bytes each.
    offsets: &'a [u8],
    /// A byte of each key's hash.
    tags: &'a [u8],
    payload: &'a [u8],
    items: u32,
    /// Offset of the payload in the file, for errors.
    payload_offset: u64,
}

/// Whether a block's checksum is to be computed or was found right before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Check,
    CheckedBefore,
}

impl<'a> Block<'a> {
    /// Decodes the block that `entry` of the index points at; `bytes` are exactly its bytes.
    pub(crate) fn decode(bytes: &'a [u8], entry: &IndexEntry, trust: Trust) -> Result<Block<'a>, Damage> {
        Block::decode_at_zero(bytes, entry, trust).map_err(|damage| damage.shift(entry.block_offset))
    }

    fn decode_at_zero(bytes: &'a [u8], entry: &IndexEntry, trust: Trust) -> Result<Block<'a>, Damage> {
        // Where things are follows from the index, which is at hand: what is in the block is loaded at once, and the header, which
        // must agree, is not waited for.
        let items = usize::try_from(entry.items).unwrap_or(usize::MAX);
        let directory_bytes = items.saturating_mul(DIRECTORY_ITEM_BYTES);
        let frame_bytes = directory_bytes.saturating_add(BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES);
        let payload_bytes = bytes.len().checked_sub(frame_bytes);
        let payload_bytes = payload_bytes.ok_or(Damage::new(0, "the block is too small for its items"))?;
        ensure(payload_bytes <= BLOCK_PAYLOAD_BYTES_MAX, 0, "the block's length is out of bounds")?;
        ensure(items > 0, 4, "the block is empty")?;
        let header: BlockHeader = read_pod(bytes).expect("more bytes than its header and trailer have");
        let is_its = usize::try_from(header.payload_bytes) == Ok(payload_bytes);
        ensure(is_its, 0, "the block's length is not the one in the index")?;
        ensure(header.items == entry.items, 4, "the block's count of items is not the one in the index")?;
        let (covered, trailer) = bytes.split_at(bytes.len() - BLOCK_TRAILER_BYTES);
        if trust == Trust::Check && !runtime::mutant!("snapshot.block_unverified") {
            let checksum: u32 = read_pod(trailer).expect("split off as four bytes");
            ensure(checksum == crc32fast::hash(covered), 0, "the block's checksum does not match")?;
        }
        let (directory, payload) = covered[BLOCK_HEADER_BYTES..].split_at(directory_bytes);
        let (offsets, tags) = directory.split_at(items * 2);
        let payload_offset = entry.block_offset + (BLOCK_HEADER_BYTES + directory_bytes) as u64;
        Ok(Block { offsets, tags, payload, items: entry.items, payload_offset })
    }

    /// How many items it holds, at least one.
    pub fn len(&self) -> u32 {
        self.items
    }

    /// Never true: a block holds at least one item.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    pub(crate) fn items(&self) -> Items<'a> {
        Items { rest: self.payload, left: self.items, offset: self.payload_offset }
    }

    /// The first item with exactly this key, which has this hash.
    pub(crate) fn find(&self, key: &[u8], hash: u64) -> Result<Option<Item<'a>>, Damage> {
        for number in memchr::memchr_iter(tag(hash), self.tags) {
            let item = self.item(number)?;
            if item.key == key {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Item `number`, below `len`.
    fn item(&self, number: usize) -> Result<Item<'a>, Damage> {
        let offset: u16 = read_pod(&self.offsets[2 * number..]).expect("two bytes for each item");
        let rest = self.payload.get(usize::from(offset)..);
        let rest = rest.ok_or(Damage::new(self.payload_offset, "an item's offset is out of its block"))?;
        let mut items = Items { rest, left: 1, offset: self.payload_offset + u64::from(offset) };
        items.decode()
    }

    /// Proves what lookups count on: that the directory names each item, and its hash.
    pub(crate) fn check_directory(&self) -> Result<(), Damage> {
        let mut items = self.items();
        let offsets = self.offsets.chunks_exact(2).map(|offset| read_pod::<u16>(offset).expect("two bytes"));
        for (offset, known) in offsets.zip(self.tags) {
            let at = items.offset;
            let begins = at == self.payload_offset + u64::from(offset);
            ensure(begins, at, "the block's directory says that an item begins elsewhere")?;
            let Some(item) = items.next() else { break };
            let is_tag = tag(key_hash(item?.key)) == *known;
            ensure(is_tag, at, "the block's directory has another tag of a key")?;
        }
        Ok(())
    }
}

/// The items of a block, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
    left: u32,
    offset: u64,
}

impl<'a> Items<'a> {
    fn decode(&mut self) -> Result<Item<'a>, Damage> {
        let offset = self.offset;
        let damage = |problem| Damage::new(offset, problem);
        let lengths: [u32; 2] = read_pod(self.rest).ok_or(damage("an item is cut off"))?;
        let [key_bytes, value_bytes] = lengths.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let bounded = key_bytes <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_MAX;
        ensure(bounded, offset, "an item's length is out of bounds")?;
        let end = ITEM_HEADER_BYTES + key_bytes + value_bytes;
        let item = self.rest.get(ITEM_HEADER_BYTES..end).ok_or(damage("an item is cut off"))?;
        self.rest = &self.rest[end..];
        self.offset += end as u64;
        let (key, value) = item.split_at(key_bytes);
        Ok(Item { key, value })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let stray = !std::mem::take(&mut self.rest).is_empty();
            return stray.then(|| Err(Damage::new(self.offset, "bytes follow the last item of a block")));
        }
        self.left -= 1;
        let item = self.decode();
        if item.is_err() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(item)
    }
}
