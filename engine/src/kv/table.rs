//! One layer of the key space: a hash table for single keys beside a sorted set of their positions.
//!
//! Measured with a million keys of 16 bytes (two slow shared cores, so only the ratios count): a lookup takes
//! 280 ns here and 1100 ns in a `BTreeMap` by position and key, which was the alternative; an ordered walk takes
//! 300 ns per key. A new key costs both structures, an overwritten one only the table. One big table would stop
//! the shard for 460 ms when it grows at 917,504 keys; so it is many small ones ("linear hashing"): with every
//! thousand keys one of them is split in two, which takes some tens of microseconds, and none ever grows large.

use super::entry::Entry;
use super::hash::Position;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::collections::{BTreeSet, btree_set};
use std::hash::BuildHasher;
use std::ops::RangeFrom;

/// A key and what stands under it.
#[derive(Debug)]
pub struct Item {
    /// Where the key stands.
    pub position: Position,
    /// The key.
    pub key: Box<[u8]>,
    /// What stands under it.
    pub entry: Entry,
}

impl Item {
    fn bytes(&self) -> u64 {
        ITEM_BYTES + self.key.len() as u64 + self.entry.value.len() as u64
    }
}

/// What an item takes beside its key and value, about: its place in table and set, and two allocations.
const ITEM_BYTES: u64 = 128;

/// What an item takes in a file beside its key and value, about.
const SAVED_ITEM_BYTES: u64 = 24;

/// Above this many items per segment on average, a segment is split.
const SEGMENT_LEN_MAX: usize = 1024;

/// Items by key, and their positions in order. Its hash is seeded per process and shows nowhere.
#[derive(Debug, Default)]
pub struct Table {
    segments: Vec<HashTable<Item>>,
    order: BTreeSet<Position>,
    len: usize,
    bytes: u64,
    hash: RandomState,
}

impl Table {
    /// How many items there are, tombstones among them.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About how much memory the items take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About what the items take in a file: keys, values, and what goes with each.
    pub fn saved_bytes(&self) -> u64 {
        self.bytes - self.len as u64 * (ITEM_BYTES - SAVED_ITEM_BYTES)
    }

    /// What stands under a key.
    pub fn get(&self, position: Position, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash.hash_one(position);
        let segment = self.segments.get(self.segment(hash))?;
        segment.find(hash, |item| *item.key == *key && item.position == position).map(|item| &item.entry)
    }

    /// Changes what stands under a key, if something does.
    pub fn edit<R>(
        &mut self,
        position: Position,
        key: &[u8],
        edit: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let hash = self.hash.hash_one(position);
        let at = self.segment(hash);
        let item = self
            .segments
            .get_mut(at)?
            .find_mut(hash, |item| *item.key == *key && item.position == position)?;
        let before = item.bytes();
        let result = edit(&mut item.entry);
        self.bytes = self.bytes - before + item.bytes();
        Some(result)
    }

    /// Adds a key that is not there yet.
    pub fn insert(&mut self, item: Item) {
        debug_assert!(self.get(item.position, &item.key).is_none(), "the key is there already");
        if self.len >= self.segments.len() * SEGMENT_LEN_MAX {
            self.split();
        }
        self.order.insert(item.position);
        self.len += 1;
        self.bytes += item.bytes();
        let hash = self.hash.hash_one(item.position);
        let at = self.segment(hash);
        let seeded = &self.hash;
        self.segments[at].insert_unique(hash, item, |item| seeded.hash_one(item.position));
    }

    /// Takes a key out.
    pub fn remove(&mut self, position: Position, key: &[u8]) -> Option<Item> {
        let hash = self.hash.hash_one(position);
        let at = self.segment(hash);
        let segment = self.segments.get_mut(at)?;
        let found = segment.find_entry(hash, |item| *item.key == *key && item.position == position).ok()?;
        let (item, _) = found.remove();
        if !segment.iter_hash(hash).any(|other| other.position == position) {
            self.order.remove(&position);
        }
        self.len -= 1;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// Takes out the first item in order of position.
    pub fn pop_first(&mut self) -> Option<Item> {
        self.pop_from(Position::slot_start(0))
    }

    /// Takes out the first item at a position or behind it.
    pub fn pop_from(&mut self, from: Position) -> Option<Item> {
        let position = *self.order.range(from..).next()?;
        let hash = self.hash.hash_one(position);
        let at = self.segment(hash);
        let found = self.segments[at].find_entry(hash, |item| item.position == position);
        let (item, _) = found.expect("every position in the order has an item").remove();
        if !self.segments[at].iter_hash(hash).any(|other| other.position == position) {
            self.order.remove(&position);
        }
        self.len -= 1;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// The positions that hold items, from one on, ascending.
    pub fn positions(&self, from: RangeFrom<Position>) -> btree_set::Range<'_, Position> {
        self.order.range(from)
    }

    /// The items at one position, sorted by key: one, or none, but for colliding hashes.
    pub fn at(&self, position: Position) -> SmallVec<[&Item; 1]> {
        let hash = self.hash.hash_one(position);
        let Some(segment) = self.segments.get(self.segment(hash)) else { return SmallVec::new() };
        let mut items: SmallVec<[&Item; 1]> =
            segment.iter_hash(hash).filter(|item| item.position == position).collect();
        items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        items
    }

    /// Where items of a hash are: by its upper half, for the segments use the ends. With n segments and 2^k <= n
    /// < 2^(k+1), the first n - 2^k of 2^k are split by one more bit already.
    fn segment(&self, hash: u64) -> usize {
        let bits = (hash >> 24) as usize;
        let half = prev_power_of_two(self.segments.len());
        let wide = bits & (half * 2 - 1);
        if wide < self.segments.len() { wide } else { bits & (half - 1) }
    }

    /// Adds a segment and moves half of an older one to it.
    fn split(&mut self) {
        let added = self.segments.len();
        self.segments.push(HashTable::new());
        if added == 0 {
            return;
        }
        let from = added - prev_power_of_two(added);
        let seeded = &self.hash;
        let old = std::mem::take(&mut self.segments[from]);
        self.segments[from].reserve(old.len() / 2, |item| seeded.hash_one(item.position));
        self.segments[added].reserve(old.len() / 2, |item| seeded.hash_one(item.position));
        for item in old {
            let hash = seeded.hash_one(item.position);
            let at = self.segment(hash);
            self.segments[at].insert_unique(hash, item, |item| seeded.hash_one(item.position));
        }
    }
}

/// The largest power of two that is not above `n`; 1 for 0.
fn prev_power_of_two(n: usize) -> usize {
    1 << n.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn item(key: &[u8], value: &[u8]) -> Item {
        Item { position: Position::of(key), key: key.into(), entry: Entry::string(value) }
    }

    fn walk(table: &Table) -> Vec<(Position, Vec<u8>)> {
        let from = Position::slot_start(0)..;
        let items = table.positions(from).flat_map(|&position| table.at(position));
        items.map(|item| (item.position, item.key.to_vec())).collect()
    }

    #[test]
    fn table_agrees_with_a_sorted_map() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut table = Table::default();
        let mut model: BTreeMap<(Position, Vec<u8>), Vec<u8>> = BTreeMap::new();
        for step in 0..30_000_u32 {
            let key = format!("key:{}", rng.u32(..9000)).into_bytes();
            let position = Position::of(&key);
            let value = vec![b'v'; rng.usize(..20)];
            assert_eq!(
                table.get(position, &key).map(|entry| &entry.value),
                model.get(&(position, key.clone())),
                "step {step}"
            );
            if rng.u8(..4) == 0 {
                let removed = table.remove(position, &key).map(|item| item.entry.value);
                assert_eq!(removed, model.remove(&(position, key)));
            } else {
                if table.edit(position, &key, |entry| entry.value.clone_from(&value)).is_none() {
                    table.insert(item(&key, &value));
                }
                model.insert((position, key), value);
            }
        }
        assert_eq!(table.len(), model.len());
        assert!(walk(&table).iter().eq(model.keys()));
        let bytes: usize = model.iter().map(|((_, key), value)| key.len() + value.len()).sum();
        assert_eq!(table.bytes(), bytes as u64 + model.len() as u64 * ITEM_BYTES);
        assert!(table.segments.len() > 4, "segments were split");
        assert!(table.segments.iter().all(|segment| segment.len() < 4 * SEGMENT_LEN_MAX));
    }

    #[test]
    fn keys_of_one_position_live_side_by_side() {
        let mut table = Table::default();
        let position = Position::of(b"x");
        for key in [b"c", b"a", b"b"] {
            table.insert(Item { position, ..item(key, key) });
        }
        let keys: Vec<&[u8]> = table.at(position).iter().map(|item| &*item.key).collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
        assert!(table.remove(position, b"b").is_some() && table.remove(position, b"b").is_none());
        assert_eq!(table.positions(position..).count(), 1);
        while table.pop_first().is_some() {}
        assert_eq!((table.len(), table.bytes(), table.positions(position..).count()), (0, 0, 0));
    }

    #[test]
    fn popping_goes_through_everything_in_order() {
        let mut table = Table::default();
        for number in 0..5000_u32 {
            table.insert(item(&number.to_le_bytes(), b""));
        }
        let mut popped = Vec::new();
        while let Some(item) = table.pop_first() {
            popped.push(item.position);
        }
        assert_eq!(popped.len(), 5000);
        assert!(popped.is_sorted());
    }
}
