//! The lowest layer: what the group's snapshot holds. All of it in memory where that has room; else as much as fits, and the
//! rest is read where it lies in the snapshot's files.

use super::entry::{Entry, saved_value, split_key};
use super::hash::Position;
use super::table::{Item, Table};
use crate::state_machine::Saved;
use smallvec::SmallVec;
use std::ops::RangeFrom;

/// What a key takes in a save, in most cases without an allocation.
type SavedKey = SmallVec<[u8; 128]>;

/// The layer.
#[derive(Debug)]
pub(super) struct Base {
    /// Keys that exist and their newest values, as the snapshot has them. All of them, unless there are files.
    table: Table,
    /// What has the keys that `table` lacks.
    files: Option<Saved>,
    /// From here on the table lacks what the files have, as far as it is being filled from them.
    fill: Option<Position>,
    /// Where the next item is put out of the table.
    hand: Position,
    /// What the table may take, once there are files.
    bytes_max: u64,
}

impl Base {
    pub(super) fn new(bytes_max: u64) -> Base {
        let start = Position::slot_start(0);
        Base { table: Table::default(), files: None, fill: None, hand: start, bytes_max }
    }

    /// An empty one in its place, and what its table was.
    pub(super) fn clear(&mut self) -> Table {
        let bytes_max = self.bytes_max;
        std::mem::replace(self, Base::new(bytes_max)).table
    }

    /// The value of a key that exists.
    pub(super) fn get(&self, position: Position, key: &[u8]) -> Option<&[u8]> {
        if let Some(entry) = self.table.get(position, key) {
            return Some(&entry.value);
        }
        let files = self.files.as_ref()?;
        let mut saved = SavedKey::new();
        saved.extend_from_slice(&position.to_sort_bytes());
        saved.extend_from_slice(key);
        runtime::mark!("kv.reads_files");
        files.get(&saved).and_then(saved_value)
    }

    /// Whether the table has all that the files do.
    pub(super) fn is_complete(&self) -> bool {
        self.files.is_none()
    }

    /// What the table takes.
    pub(super) fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// Whether the table is to be read from files, if it has so much to take up besides.
    pub(super) fn outgrows(&self, more_bytes: u64) -> bool {
        !self.is_complete() || self.table.bytes().saturating_add(more_bytes) > self.bytes_max
    }

    /// Takes down what the snapshot holds now. Answers whether the key was in the table.
    pub(super) fn lower(&mut self, item: Item) -> bool {
        lower(&mut self.table, item)
    }

    /// Takes the place of an empty table. False: it is not empty.
    pub(super) fn adopt(&mut self, table: &mut Table) -> bool {
        let is_empty = self.table.is_empty();
        if is_empty {
            std::mem::swap(table, &mut self.table);
        }
        is_empty
    }

    /// These files hold what the snapshot does. Where the table was complete it still is, and stays so if there is room.
    pub(super) fn serve(&mut self, files: Saved) {
        let was_complete = self.is_complete() && !self.table.is_empty();
        if was_complete && self.table.bytes() <= self.bytes_max {
            return;
        }
        // About what its entries would take in a table.
        let has_room = files.bytes() <= self.bytes_max;
        self.fill = (has_room && !was_complete).then_some(Position::slot_start(0));
        self.files = Some(files);
    }

    /// Whether [`tend`](Self::tend) has something to do.
    pub(super) fn wants_tending(&self) -> bool {
        self.files.is_some() && (self.fill.is_some() || self.table.bytes() > self.bytes_max)
    }

    /// Fills the table from the files, or makes it smaller: about `budget_bytes`.
    pub(super) fn tend(&mut self, budget_bytes: u64) {
        let Some(files) = self.files.take() else { return };
        if self.table.bytes() > self.bytes_max {
            runtime::mark!("kv.table_is_full");
            self.fill = None;
            let goal = self.table.bytes().saturating_sub(budget_bytes.max(1)).max(self.bytes_max);
            while self.table.bytes() > goal {
                let Some(item) = self.table.pop_from(self.hand) else {
                    self.hand = Position::slot_start(0); // round again
                    continue;
                };
                self.hand = item.position;
            }
            if runtime::mutant!("kv.full_table_keeps_all") {
                return;
            }
        } else if let Some(from) = self.fill {
            let table = &mut self.table;
            self.fill = match files.at_hand(|| fill(table, &files, from, budget_bytes)) {
                Ok(Filled { next, .. }) => next,
                Err(_) if runtime::mutant!("kv.fill_ends_at_a_gap") => None,
                Err(Filled { last, .. }) => Some(last),
            };
            if self.fill.is_none() {
                runtime::mark!("kv.table_is_complete");
                return; // without the files
            }
        }
        self.files = Some(files);
    }

    /// All keys that exist, with their values, from `from` on.
    fn saved(&self, from: Position) -> impl Iterator<Item = (Position, &[u8], &[u8])> {
        let entries = self.files.iter().flat_map(move |files| files.entries_from(&from.to_sort_bytes()));
        entries.filter_map(|(key, value)| {
            let (position, key) = split_key(key)?;
            Some((position, key, saved_value(value)?))
        })
    }

    /// The positions at which keys exist, ascending.
    pub(super) fn positions(&self, from: RangeFrom<Position>) -> impl Iterator<Item = Position> {
        let start = from.start;
        super::layers::merged(self.table.positions(from).copied(), self.saved(start).map(|entry| entry.0))
    }

    /// The keys that exist at a position.
    pub(super) fn at(&self, position: Position) -> SmallVec<[&[u8]; 1]> {
        let mut keys: SmallVec<[&[u8]; 1]> =
            self.table.at(position).into_iter().map(|item| &*item.key).collect();
        let saved = self.saved(position).take_while(|entry| entry.0 == position);
        for (_, key, _) in saved {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Takes out all that exists, as items: of a large state slowly.
    pub(super) fn take_all(&mut self) -> Table {
        let files = self.files.take();
        let mut table = self.clear();
        if let Some(files) = files {
            let _all = fill(&mut table, &files, Position::slot_start(0), u64::MAX);
        }
        table
    }
}

/// How far a table is filled.
struct Filled {
    /// Where to go on, unless the files had no more.
    next: Option<Position>,
    /// What it came by last, and of which it may not have all.
    last: Position,
}

/// Adds what the files have from a position on, about `budget_bytes`.
fn fill(table: &mut Table, files: &Saved, from: Position, budget_bytes: u64) -> Filled {
    let (mut bytes, mut last) = (0, None);
    for (key, value) in files.entries_from(&from.to_sort_bytes()) {
        let Some((position, bare)) = split_key(key) else { continue }; // counts
        if last != Some(position) && bytes >= budget_bytes.max(1) {
            return Filled { next: Some(position), last: position };
        }
        last = Some(position);
        bytes += (key.len() + value.len()) as u64;
        if let Some(value) = saved_value(value)
            && table.get(position, bare).is_none()
        {
            table.insert(Item { position, key: bare.into(), entry: Entry::string(value) });
        }
    }
    Filled { next: None, last: last.unwrap_or(from) }
}

/// Puts an item into a table that is lowest, where a tombstone leaves nothing. Answers whether its key was there.
pub(super) fn lower(table: &mut Table, item: Item) -> bool {
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
