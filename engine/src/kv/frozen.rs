//! An image of the key space being saved.

use super::counts::COUNTS_KEY;
use super::entry::{Kind, save_key};
use super::hash::Position;
use super::table::{Item, Table};
use crate::state_machine::{Frozen, IsDeleted, Progress, SaveSink};
use std::rc::Rc;

/// Longer values are handed out in parts.
const PART_BYTES_MAX: usize = 64 * 1024;

/// Walks through a frozen table in order of (slot, hash, key).
pub(super) struct FrozenTable {
    table: Rc<Table>,
    /// It is the whole state, in which deleted keys leave no trace.
    whole: bool,
    /// The saved form of the counts, until they are handed out.
    counts: Option<Vec<u8>>,
    /// Where the walk goes on: at this position,
    position: Position,
    /// behind so many items of it,
    items: usize,
    /// and behind so many bytes of the next one's value.
    offset: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl FrozenTable {
    pub(super) fn new(table: Rc<Table>, whole: bool, counts: Vec<u8>) -> Self {
        Self {
            table,
            whole,
            counts: Some(counts),
            position: Position::slot_start(0),
            items: 0,
            offset: 0,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Writes the next item, or some parts of its value, for about `budget_bytes`. Answers how much that was, and
    /// whether the item is done.
    fn write_item(&mut self, item: &Item, sink: &mut dyn SaveSink, budget_bytes: usize) -> (usize, bool) {
        let value = &item.entry.value;
        let mut written = 0;
        if self.offset == 0 {
            self.key.clear();
            save_key(item.position, &item.key, &mut self.key);
            self.value.clear();
            if value.len() <= PART_BYTES_MAX {
                item.entry.save(&mut self.value);
                sink.entry(&self.key, &self.value);
                return (self.key.len() + self.value.len(), true);
            }
            item.entry.save_head(&mut self.value);
            sink.begin(&self.key, self.value.len() + value.len());
            sink.part(&self.value);
            written = self.key.len() + self.value.len();
        }
        while self.offset < value.len() {
            let part_bytes = budget_bytes.saturating_sub(written).clamp(1, PART_BYTES_MAX);
            let part = &value[self.offset..value.len().min(self.offset + part_bytes)];
            sink.part(part);
            self.offset += part.len();
            written += part.len();
            if written >= budget_bytes {
                break;
            }
        }
        let done = self.offset == value.len();
        if done {
            self.offset = 0;
        }
        (written, done)
    }
}

impl Frozen for FrozenTable {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut left = budget_bytes.max(1);
        if let Some(counts) = self.counts.take() {
            sink.entry(COUNTS_KEY, &counts);
            left = left.saturating_sub(counts.len());
        }
        let table = Rc::clone(&self.table);
        for &position in table.positions(self.position..) {
            if position != self.position {
                self.position = position;
                self.items = 0;
            }
            for item in table.at(position).into_iter().skip(self.items) {
                if left == 0 {
                    return Progress::More;
                }
                let is_left_out =
                    !item.entry.is_live() && (self.whole || runtime::mutant!("kv.delta_forgets_deletes"));
                let (written, done) = if is_left_out { (1, true) } else { self.write_item(item, sink, left) };
                left = left.saturating_sub(written);
                if !done {
                    return Progress::More;
                }
                self.items += 1;
            }
        }
        Progress::Done
    }

    fn changes(&self) -> Option<IsDeleted> {
        (!self.whole).then_some(is_tombstone)
    }

    fn bytes(&self) -> u64 {
        self.table.saved_bytes()
    }
}

fn is_tombstone(value: &[u8]) -> bool {
    value.first() == Some(&(Kind::Tombstone as u8))
}
