//! [`Kv`]: the state of one group, and how the log, saves and background work reach it.

use super::codec::DecodeError;
use super::command::Command;
use super::entry::{Entry, restore_key};
use super::frozen::FrozenTable;
use super::hash::Position;
use super::layers::Layers;
use super::table::Table;
use crate::state_machine::{Applied, Frozen, Progress, RestoreError, StateMachine};
use net::resp::reply;
use raft::EntryId;
use std::ops::Range;
use std::rc::Rc;

/// The keys of one group.
#[derive(Debug)]
pub struct Kv {
    layers: Layers,
    len: usize,
    slots: Range<u16>,
    /// How many keys each slot of `slots` has; empty until there is a key.
    slot_lens: Vec<u32>,
    /// Tables whose keys are gone, freed little by little.
    garbage: Vec<Rc<Table>>,
}

impl Kv {
    /// An empty key space for a group that owns `slots`.
    pub fn new(slots: Range<u16>) -> Self {
        Self { layers: Layers::default(), len: 0, slots, slot_lens: Vec::new(), garbage: Vec::new() }
    }

    /// How many keys exist.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key exists.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slots whose keys stand here.
    pub fn slots(&self) -> Range<u16> {
        self.slots.clone()
    }

    /// How many keys a slot has.
    pub fn slot_len(&self, slot: u16) -> usize {
        slot.checked_sub(self.slots.start)
            .and_then(|at| self.slot_lens.get(usize::from(at)))
            .map_or(0, |&len| len as usize)
    }

    /// Runs a command that has been agreed on: writes change the state, reads do not.
    pub fn execute(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        if command.is_write() { self.write(command, out) } else { self.read(command, out) }
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.layers.get(Position::of(key), key)
    }

    /// Puts a string under a key. Answers whether the key existed.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let position = Position::of(key);
        let existed = self.layers.put(position, key, value);
        self.count(position, existed, true);
        existed
    }

    /// Changes the string under a key that exists.
    pub(super) fn edit<R>(&mut self, key: &[u8], edit: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        self.layers.edit(Position::of(key), key, edit)
    }

    /// Takes a key away. Answers whether it existed.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let position = Position::of(key);
        let existed = self.layers.remove(position, key);
        self.count(position, existed, false);
        existed
    }

    /// A key has come or gone, if it has.
    fn count(&mut self, position: Position, existed: bool, exists: bool) {
        if existed == exists {
            return;
        }
        self.len = if exists { self.len + 1 } else { self.len - 1 };
        if let Some(len) = self.slot_len_mut(position) {
            *len = if exists { *len + 1 } else { *len - 1 };
        }
    }

    /// Takes every key away, in constant time.
    pub(super) fn clear(&mut self) {
        let garbage = self.layers.clear();
        self.garbage.extend(garbage.filter(|table| !table.is_empty()));
        self.len = 0;
        self.slot_lens = Vec::new();
    }

    /// The counter of a slot; none for a slot of another group, whose keys no plan sends here.
    fn slot_len_mut(&mut self, position: Position) -> Option<&mut u32> {
        if self.slot_lens.is_empty() {
            self.slot_lens = vec![0; self.slots.len()];
        }
        let at = position.slot().checked_sub(self.slots.start)?;
        self.slot_lens.get_mut(usize::from(at))
    }

    /// Frees about `budget_bytes` of tables that nobody reads any more. Answers whether more is left.
    fn free(&mut self, budget_bytes: u64) -> bool {
        let Some(at) = self.garbage.iter().position(|table| Rc::strong_count(table) == 1) else {
            return false;
        };
        let table = Rc::get_mut(&mut self.garbage[at]).expect("the table has one owner: checked above");
        let goal = table.bytes().saturating_sub(budget_bytes.max(1));
        while table.bytes() > goal && table.pop_first().is_some() {}
        if table.is_empty() {
            self.garbage.swap_remove(at);
        }
        self.wants_thaw()
    }
}

impl StateMachine for Kv {
    fn apply(&mut self, _entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        match Command::decode(command) {
            Ok(command) => {
                self.execute(&command, reply);
                Applied::Done
            }
            Err(error) => {
                refuse(error, reply);
                Applied::Unknown
            }
        }
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        match Command::decode(query) {
            Ok(command) => self.read(&command, reply),
            Err(error) => refuse(error, reply),
        }
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let (table, whole) = self.layers.freeze();
        Box::new(FrozenTable::new(table, whole))
    }

    fn saved(&mut self, kept: bool) {
        self.layers.image_is_kept(kept);
    }

    fn forget_saved(&mut self) {
        self.layers.forget_saved();
    }

    fn wants_thaw(&self) -> bool {
        self.layers.wants_merge() || self.garbage.iter().any(|table| Rc::strong_count(table) == 1)
    }

    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        let budget_bytes = budget_bytes as u64;
        let more = self.layers.merge(budget_bytes) || self.free(budget_bytes);
        if more || self.wants_thaw() { Progress::More } else { Progress::Done }
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let (_, key) = restore_key(key)?;
        let entry = Entry::restore(value)?;
        if entry.expires_ms.is_some() {
            return Err(RestoreError::new("entry with an expiry, which this version does not have"));
        }
        let exists = entry.is_live();
        let position = Position::of(key);
        let existed = self.layers.restore(position, key, entry);
        self.count(position, existed, exists);
        Ok(())
    }

    fn state_bytes(&self) -> u64 {
        self.layers.bytes() + self.garbage.iter().map(|table| table.bytes()).sum::<u64>()
    }
}

fn refuse(error: DecodeError, out: &mut Vec<u8>) {
    reply::error(out, format_args!("ERR this node is too old for the command: {error}"));
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "metamorphic_tests.rs"]
mod metamorphic_tests;
