//! The keys of one group in one layer or two: a save freezes what there is and later writes go above it.

use super::entry::Entry;
use super::hash::Position;
use super::table::{Item, Table};
use smallvec::SmallVec;
use std::iter::Peekable;
use std::ops::RangeFrom;
use std::rc::Rc;

/// The layers. What is above hides what is below; tombstones stand only above.
#[derive(Debug)]
pub(super) enum Layers {
    /// Everything in one table.
    One(Table),
    /// A save reads `image`; what was written since stands in `above`.
    Frozen { image: Rc<Table>, above: Table },
    /// The save is over and `above` moves down into `base`, item by item. `above` takes no new keys.
    Merging { base: Table, above: Table },
}

impl Default for Layers {
    fn default() -> Self {
        Self::One(Table::default())
    }
}

impl Layers {
    fn both(&self) -> (Option<&Table>, &Table) {
        match self {
            Self::One(table) => (None, table),
            Self::Frozen { image, above } => (Some(above), image),
            Self::Merging { base, above } => (Some(above), base),
        }
    }

    /// What stands under a key that exists.
    pub(super) fn get(&self, position: Position, key: &[u8]) -> Option<&Entry> {
        let (above, below) = self.both();
        above
            .and_then(|above| above.get(position, key))
            .or_else(|| below.get(position, key))
            .filter(|entry| entry.is_live())
    }

    /// Puts a string under a key. Answers whether the key existed.
    pub(super) fn put(&mut self, position: Position, key: &[u8], value: &[u8]) -> bool {
        let overwrite = |entry: &mut Entry| {
            let existed = entry.is_live();
            entry.set_string(value);
            existed
        };
        let new = || Item { position, key: key.into(), entry: Entry::string(value) };
        match self {
            Self::One(table) => table.edit(position, key, overwrite).unwrap_or_else(|| {
                table.insert(new());
                false
            }),
            Self::Frozen { image, above } => above.edit(position, key, overwrite).unwrap_or_else(|| {
                above.insert(new());
                image.get(position, key).is_some()
            }),
            Self::Merging { base, above } => above
                .edit(position, key, overwrite)
                .or_else(|| base.edit(position, key, overwrite))
                .unwrap_or_else(|| {
                    base.insert(new());
                    false
                }),
        }
    }

    /// Changes the string under a key that exists. A frozen one is copied up first.
    pub(super) fn edit<R>(
        &mut self,
        position: Position,
        key: &[u8],
        edit: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Option<R> {
        let edit = |entry: &mut Entry| entry.is_live().then(|| edit(&mut entry.value));
        match self {
            Self::One(table) => table.edit(position, key, edit)?,
            Self::Frozen { image, above } => {
                if above.get(position, key).is_none() {
                    let entry = image.get(position, key)?.clone();
                    above.insert(Item { position, key: key.into(), entry });
                }
                above.edit(position, key, edit)?
            }
            Self::Merging { base, above } => {
                let table = if above.get(position, key).is_some() { above } else { base };
                table.edit(position, key, edit)?
            }
        }
    }

    /// Takes a key away. Answers whether it existed.
    pub(super) fn remove(&mut self, position: Position, key: &[u8]) -> bool {
        match self {
            Self::One(table) => table.remove(position, key).is_some(),
            Self::Frozen { image, above } => {
                let below = image.get(position, key).is_some();
                let hide = |entry: &mut Entry| {
                    let existed = entry.is_live();
                    *entry = Entry::tombstone();
                    existed
                };
                if !below {
                    return above.remove(position, key).is_some();
                }
                above.edit(position, key, hide).unwrap_or_else(|| {
                    if runtime::mutant!("kv.deleted_while_saving_stays") {
                        return true;
                    }
                    above.insert(Item { position, key: key.into(), entry: Entry::tombstone() });
                    true
                })
            }
            Self::Merging { base, above } => {
                let below = base.remove(position, key).is_some();
                above.remove(position, key).map_or(below, |item| item.entry.is_live())
            }
        }
    }

    /// Takes every key away and answers the tables that held them, for the caller to free little by little.
    pub(super) fn clear(&mut self) -> SmallVec<[Rc<Table>; 2]> {
        match std::mem::take(self) {
            Self::One(table) => [Rc::new(table)].into_iter().collect(),
            Self::Frozen { image, above } => [image, Rc::new(above)].into_iter().collect(),
            Self::Merging { base, above } => [Rc::new(base), Rc::new(above)].into_iter().collect(),
        }
    }

    /// Freezes everything into an image that no later write changes. An earlier image must be dropped; if its
    /// layer is not merged yet, that is finished at once.
    ///
    /// # Panics
    /// If the earlier image still exists.
    pub(super) fn freeze(&mut self) -> Rc<Table> {
        while self.merge(u64::MAX) {}
        let Self::One(table) = std::mem::take(self) else {
            panic!("a second image was asked for before the first was dropped");
        };
        let image = Rc::new(table);
        *self = Self::Frozen { image: Rc::clone(&image), above: Table::default() };
        image
    }

    /// Whether [`merge`](Self::merge) has something to do.
    pub(super) fn wants_merge(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Frozen { image, .. } => Rc::strong_count(image) == 1,
            Self::Merging { .. } => true,
        }
    }

    /// Moves about `budget_bytes` of the upper layer down once its image is dropped. Answers whether more is left.
    pub(super) fn merge(&mut self, budget_bytes: u64) -> bool {
        if !self.wants_merge() {
            return false;
        }
        *self = match std::mem::take(self) {
            Self::Frozen { image, above } => {
                let base = Rc::into_inner(image).expect("the image has one owner: checked above");
                Self::Merging { base, above }
            }
            other => other,
        };
        let Self::Merging { base, above } = self else { return false };
        let goal = above.bytes().saturating_sub(budget_bytes.max(1));
        while above.bytes() > goal {
            let Some(item) = above.pop_first() else { break };
            base.remove(item.position, &item.key);
            if item.entry.is_live() && !runtime::mutant!("kv.merge_drops_writes") {
                base.insert(item);
            }
        }
        if above.is_empty() {
            *self = Self::One(std::mem::take(base));
        }
        matches!(self, Self::Merging { .. })
    }

    /// The positions at which keys exist or did when the image was taken, ascending.
    pub(super) fn positions(&self, from: RangeFrom<Position>) -> impl Iterator<Item = Position> {
        let (above, below) = self.both();
        let above = above.map(|table| table.positions(from.clone())).into_iter().flatten().copied();
        Merged { a: above.peekable(), b: below.positions(from).copied().peekable() }
    }

    /// The keys that exist at one position, sorted.
    pub(super) fn at(&self, position: Position) -> SmallVec<[&Item; 1]> {
        let (above, below) = self.both();
        let Some(above) = above else { return below.at(position) };
        let mut items = above.at(position);
        let hidden: SmallVec<[&[u8]; 1]> = items.iter().map(|item| &*item.key).collect();
        let below = below.at(position).into_iter().filter(|item| !hidden.contains(&&*item.key));
        items.extend(below);
        items.retain(|item| item.entry.is_live());
        items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        items
    }

    /// About how much memory the layers take.
    pub(super) fn bytes(&self) -> u64 {
        let (above, below) = self.both();
        above.map_or(0, Table::bytes) + below.bytes()
    }
}

/// Two ascending sequences as one, each position once.
struct Merged<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
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
