//! The keys of one group in up to three layers: what changed since the last save began, what that save holds, and what the
//! snapshot before it holds. So a save writes what changed, and no more.

use super::base::{Base, lower};
use super::entry::Entry;
use super::hash::Position;
use super::table::{Item, Table};
use crate::state_machine::Saved;
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
    saved: Base,
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

impl Layers {
    /// Empty ones, where what is saved takes at most `saved_bytes_max` of memory.
    pub(super) fn new(saved_bytes_max: u64) -> Self {
        let saved = Base::new(saved_bytes_max);
        Self { above: Table::default(), image: None, saved, whole: true, hides: false }
    }

    fn image(&self) -> Option<&Table> {
        self.image.as_ref().map(|image| &*image.table)
    }

    /// What stands under a key below the highest layer, if it exists.
    fn below(&self, position: Position, key: &[u8]) -> Option<&[u8]> {
        match self.image().and_then(|table| table.get(position, key)) {
            Some(entry) => entry.live_value(),
            None => self.saved.get(position, key),
        }
    }

    /// The value of a key that exists.
    pub(super) fn get(&self, position: Position, key: &[u8]) -> Option<&[u8]> {
        match self.above.get(position, key) {
            Some(entry) => entry.live_value(),
            None => self.below(position, key),
        }
    }

    /// Looks at what a write to a key will look at: one that takes the key away needs to know whether it must be hidden.
    pub(super) fn look_ahead(&self, position: Position, key: &[u8], removes: bool) {
        if removes || self.above.get(position, key).is_none() {
            self.below(position, key);
        }
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
            let entry = Entry::string(self.below(position, key)?);
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
        let (above, saved) = (std::mem::take(&mut self.above), self.saved.clear());
        let image = self.image.take();
        (self.whole, self.hides) = (true, false);
        [Some(Rc::new(above)), image.map(|image| image.table), Some(Rc::new(saved))].into_iter().flatten()
    }

    /// Whether files are wanted: of a fresh machine, and where the state with its image is more than memory is for.
    pub(super) fn wants_files(&self) -> bool {
        self.image().is_none_or(|image| self.saved.outgrows(image.bytes()))
    }

    /// The snapshot is in these files.
    pub(super) fn serve(&mut self, files: Saved) {
        self.whole = false;
        self.saved.serve(files);
    }

    /// Whether the snapshot is of no use any more.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Takes back an entry of a snapshot, above those taken back before it. Answers whether the key existed.
    pub(super) fn restore(&mut self, position: Position, key: &[u8], entry: Entry) -> bool {
        self.whole = false;
        self.saved.lower(Item { position, key: key.into(), entry })
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
        let mut above = std::mem::replace(&mut self.above, self.saved.take_all());
        while let Some(item) = above.pop_first() {
            lower(&mut self.above, item);
        }
        (self.whole, self.hides) = (true, false);
    }

    /// Whether [`tend`](Self::tend) has something to do.
    pub(super) fn wants_tending(&self) -> bool {
        self.wants_merge() || self.saved.wants_tending()
    }

    /// Moves what has been saved, and keeps memory as it is to be: about `budget_bytes`. Answers whether more is left.
    pub(super) fn tend(&mut self, budget_bytes: u64) -> bool {
        if !self.merge(budget_bytes) {
            self.saved.tend(budget_bytes);
        }
        self.wants_tending()
    }

    fn wants_merge(&self) -> bool {
        let image = self.image.as_ref();
        image.is_some_and(|image| image.fate != Fate::Open && Rc::strong_count(&image.table) == 1)
    }

    /// Moves about `budget_bytes` of an image whose save has ended down, or up. Answers whether more is left.
    fn merge(&mut self, budget_bytes: u64) -> bool {
        if !self.wants_merge() {
            return false;
        }
        let image = self.image.as_mut().expect("looked at above");
        let table = Rc::get_mut(&mut image.table).expect("the image has one owner: checked above");
        if image.fate == Fate::Kept && !image.hides {
            self.saved.adopt(table); // as it is, if nothing is there
        }
        let goal = table.bytes().saturating_sub(budget_bytes.max(1));
        while table.bytes() > goal {
            let Some(item) = table.pop_first() else { break };
            match image.fate {
                Fate::Lost if self.above.get(item.position, &item.key).is_some() => {}
                Fate::Lost => self.above.insert(item),
                _ if runtime::mutant!("kv.merge_drops_writes") => {}
                _ => drop(self.saved.lower(item)),
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
        merged(above, merged(image, self.saved.positions(from)))
    }

    /// The keys that exist at one position, sorted.
    pub(super) fn at(&self, position: Position) -> SmallVec<[&[u8]; 1]> {
        let mut keys: SmallVec<[&[u8]; 1]> = SmallVec::new();
        let mut hidden: SmallVec<[&[u8]; 1]> = SmallVec::new();
        for table in [Some(&self.above), self.image()].into_iter().flatten() {
            for item in table.at(position) {
                if !keys.contains(&&*item.key) && !hidden.contains(&&*item.key) {
                    if item.entry.is_live() { &mut keys } else { &mut hidden }.push(&item.key);
                }
            }
        }
        let seen = keys.len();
        for key in self.saved.at(position) {
            if !keys[..seen].contains(&key) && !hidden.contains(&key) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys
    }

    /// About how much memory the layers take.
    pub(super) fn bytes(&self) -> u64 {
        self.above.bytes() + self.image().map_or(0, Table::bytes) + self.saved.bytes()
    }
}

/// Two ascending sequences as one, each position once.
pub(super) struct Merged<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
}

pub(super) fn merged<A: Iterator<Item = Position>, B: Iterator<Item = Position>>(a: A, b: B) -> Merged<A, B> {
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
