//! An image of the key space being saved.

use super::entry::save_key;
use super::hash::Position;
use super::table::Table;
use crate::state_machine::{Frozen, Progress, SaveSink};
use std::rc::Rc;

/// Walks through a frozen table in order of (slot, hash, key).
pub(super) struct FrozenTable {
    table: Rc<Table>,
    next: Position,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl FrozenTable {
    pub(super) fn new(table: Rc<Table>) -> Self {
        Self { table, next: Position::slot_start(0), key: Vec::new(), value: Vec::new() }
    }
}

impl Frozen for FrozenTable {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut written = 0;
        for &position in self.table.positions(self.next..) {
            if written > 0 && written >= budget_bytes {
                self.next = position;
                return Progress::More;
            }
            for item in self.table.at(position) {
                self.key.clear();
                save_key(position, &item.key, &mut self.key);
                self.value.clear();
                item.entry.save(&mut self.value);
                sink.entry(&self.key, &self.value);
                written += self.key.len() + self.value.len();
            }
        }
        self.next = Position::from_cursor(u64::MAX);
        Progress::Done
    }
}
