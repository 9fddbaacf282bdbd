//! The keys of one group in up to three layers: what changed since the last save began, what that save holds, and what the
//! snapshot before it holds. So a save writes what changed, and no more.

use super::entry::Entry;
use super::hash::Position;
use super::table::{Item, Table};
use smallvec::SmallVec;
use std::iter::Peekable;
use std::ops::RangeFrom;
use std::rc::Rc;

/// The layers. What is above hides what is below; tombstones stand only above the lowest.
#[derive(Debug)]
pub(super) struct Layers {
    /// What changed since the newest image was taken.
    above: Table,
    /// What a save holds, until that has come to its end and its items are moved.
    image: Option<Image>,
    /// What the group's snapshot holds.
    saved: Table,
    /// The snapshot is of no use any more, or there is none: the next image is the whole state. `saved` is empty then.
    whole: bool,
    /// There may be tombstones in `above`.
    hides: bool,
}

/// A layer that does not change.
#[derive(Debug)]
struct Image {
    table: Rc<Table>,
    whole: bool,
    hides: bool,
    fate: Fate,
}

/// What became of the save of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Open,
    /// It is part of the group's snapshot: its items move down.
    Kept,
    /// The next image must have its items: they move up.
    Lost,
}

impl Default for Layers {
    fn default() -> Self {
        Self { above: Table::default(), image: None, saved: Table::default(), whole: true, hides: false }
    }
}

impl Layers {
    fn image(&self) -> Option<&Table> {
        self.image.as_ref().map(|image| &*image.table)
    }

    /// From the highest to the lowest.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        [Some(&self.above), self.image(), Some(&self.saved)].into_iter().flatten()
    }

    /// What stands under a key below the highest layer.
    fn below(&self, position: Position, key: &[u8]) -> Option<&Entry> {
        self.tables().skip(1).find_map(|table| table.get(position, key)).filter(|entry| entry.is_live())
    }

    /// What stands under a key that exists.
    pub(super) fn get(&self, position: Position, key: &[u8]) -> Option<&Entry> {
        self.tables().find_map(|table| table.get(position, key)).filter(|entry| entry.is_live())
    }

    /// Puts a string under a key. Answers whether the key existed.
    pub(super) fn put(&mut self, position: Position, key: &[u8], value: &[u8]) -> bool {
        let overwrite = |entry: &mut Entry| {
            let existed = entry.is_live();
            entry.set_string(value);
            existed
        };
        self.above.edit(position, key, overwrite).unwrap_or_else(|| {
            self.above.insert(Item { position, key: key.into(), entry: Entry::string(value) });
            self.below(position, key).is_some()
        })
    }

    /// Changes the string under a key that exists. One that lies lower is copied up first.
    pub(super) fn edit<R>(
        &mut self,
        position: Position,
        key: &[u8],
        edit: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Option<R> {
        if self.above.get(position, key).is_none() {
            let entry = self.below(position, key)?.clone();
            self.above.insert(Item { position, key: key.into(), entry });
        }
        let edit = |entry: &mut Entry| entry.is_live().then(|| edit(&mut entry.value));
        self.above.edit(position, key, edit)?
    }

    /// Takes a key away. Answers whether it existed.
    pub(super) fn remove(&mut self, position: Position, key: &[u8]) -> bool {
        if self.below(position, key).is_none() {
            return self.above.remove(position, key).is_some_and(|item| item.entry.is_live());
        }
        self.hides = true;
        let hide = |entry: &mut Entry| {
            let existed = entry.is_live();
            *entry = Entry::tombstone();
            existed
        };
        self.above.edit(position, key, hide).unwrap_or_else(|| {
            if !runtime::mutant!("kv.deleted_after_save_stays") {
                self.above.insert(Item { position, key: key.into(), entry: Entry::tombstone() });
            }
            true
        })
    }

    /// Takes every key away and answers the tables that held them, for the caller to free little by little. The snapshot
    /// does not help any more: no tombstones are left for what it holds.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Rc<Table>> + use<> {
        let Self { above, image, saved, .. } = std::mem::take(self);
        [Some(Rc::new(above)), image.map(|image| image.table), Some(Rc::new(saved))].into_iter().flatten()
    }

    /// Takes back an entry of a snapshot, above those taken back before it. Answers whether the key existed.
    pub(super) fn restore(&mut self, position: Position, key: &[u8], entry: Entry) -> bool {
        self.whole = false;
        lower(&mut self.saved, Item { position, key: key.into(), entry })
    }

    /// Freezes what changed into an image that no later write changes, and says whether that is the whole state. What
    /// became of the image before is known by now; if its items are not moved yet, that is finished at once.
    ///
    /// # Panics
    /// If the earlier image is still read.
    pub(super) fn freeze(&mut self) -> (Rc<Table>, bool) {
        self.image_is_kept(false); // if nobody has said otherwise
        while self.merge(u64::MAX) {}
        assert!(self.image.is_none(), "a second image was asked for before the first was dropped");
        let table = Rc::new(std::mem::take(&mut self.above));
        let (whole, hides) = (std::mem::take(&mut self.whole), std::mem::take(&mut self.hides));
        self.image = Some(Image { table: Rc::clone(&table), whole, hides, fate: Fate::Open });
        (table, whole)
    }

    /// What became of the save of the newest image.
    pub(super) fn image_is_kept(&mut self, kept: bool) {
        if let Some(image) = self.image.as_mut().filter(|image| image.fate == Fate::Open) {
            image.fate = if kept { Fate::Kept } else { Fate::Lost };
            self.whole |= image.whole && !kept;
            self.hides |= image.hides && !kept;
        }
    }

    /// What the snapshot holds must be saved anew. Takes as long as what changed since is much: it is rare.
    pub(super) fn forget_saved(&mut self) {
        self.image_is_kept(false);
        while self.merge(u64::MAX) {}
        let mut above = std::mem::replace(&mut self.above, std::mem::take(&mut self.saved));
        while let Some(item) = above.pop_first() {
            lower(&mut self.above, item);
        }
        (self.whole, self.hides) = (true, false);
    }

    /// Whether [`merge`](Self::merge) has something to do.
    pub(super) fn wants_merge(&self) -> bool {
        let image = self.image.as_ref();
        image.is_some_and(|image| image.fate != Fate::Open && Rc::strong_count(&image.table) == 1)
    }

    /// Moves about `budget_bytes` of an image whose save has ended down, or up. Answers whether more is left.
    pub(super) fn merge(&mut self, budget_bytes: u64) -> bool {
        if !self.wants_merge() {
            return false;
        }
        let image = self.image.as_mut().expect("looked at above");
        let table = Rc::get_mut(&mut image.table).expect("the image has one owner: checked above");
        if image.fate == Fate::Kept && !image.hides && self.saved.is_empty() {
            std::mem::swap(table, &mut self.saved); // it stays as it is
        }
        let goal = table.bytes().saturating_sub(budget_bytes.max(1));
        while table.bytes() > goal {
            let Some(item) = table.pop_first() else { break };
            match image.fate {
                Fate::Lost if self.above.get(item.position, &item.key).is_some() => {}
                Fate::Lost => self.above.insert(item),
                _ if runtime::mutant!("kv.merge_drops_writes") => {}
                _ => drop(lower(&mut self.saved, item)),
            }
        }
        if table.is_empty() {
            self.image = None;
        }
        self.image.is_some()
    }

    /// The positions at which keys exist or did, ascending.
    pub(super) fn positions(&self, from: RangeFrom<Position>) -> impl Iterator<Item = Position> {
        let above = self.above.positions(from.clone()).copied();
        let image = self.image().map(|table| table.positions(from.clone())).into_iter().flatten().copied();
        let saved = self.saved.positions(from).copied();
        merged(above, merged(image, saved))
    }

    /// The keys that exist at one position, sorted.
    pub(super) fn at(&self, position: Position) -> SmallVec<[&Item; 1]> {
        let mut items: SmallVec<[&Item; 1]> = SmallVec::new();
        for table in self.tables().filter(|table| !table.is_empty()) {
            let higher = items.len();
            for item in table.at(position) {
                if items[..higher].iter().all(|other| other.key != item.key) {
                    items.push(item);
                }
            }
        }
        items.retain(|item| item.entry.is_live());
        items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        items
    }

    /// About how much memory the layers take.
    pub(super) fn bytes(&self) -> u64 {
        self.tables().map(Table::bytes).sum()
    }
}

/// Puts an item into the lowest layer, where a tombstone leaves nothing. Answers whether its key existed there.
fn lower(table: &mut Table, item: Item) -> bool {
    let Item { position, key, entry } = item;
    if !entry.is_live() {
        return table.remove(position, &key).is_some();
    }
    let mut entry = Some(entry);
    let replace = |place: &mut Entry| *place = entry.take().expect("replaces once");
    if table.edit(position, &key, replace).is_some() {
        return true;
    }
    let entry = entry.take().expect("it has replaced nothing");
    table.insert(Item { position, key, entry });
    false
}

/// Two ascending sequences as one, each position once.
struct Merged<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
}

fn merged<A: Iterator<Item = Position>, B: Iterator<Item = Position>>(a: A, b: B) -> Merged<A, B> {
    Merged { a: a.peekable(), b: b.peekable() }
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Position>,
    B: Iterator<Item = Position>,
{
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) if a == b => {
                self.a.next();
                self.b.next()
            }
            (Some(a), Some(b)) if a < b => self.a.next(),
            (Some(_), None) => self.a.next(),
            _ => self.b.next(),
        }
    }
}
