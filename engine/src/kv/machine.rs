//! [`Kv`]: the state of one group, and how the log, saves and background work reach it.

use super::codec::DecodeError;
use super::command::Command;
use super::counts::{COUNTS_KEY, Counts};
use super::entry::{self, Entry, restore_key};
use super::frozen::FrozenTable;
use super::hash::Position;
use super::layers::Layers;
use super::table::Table;
use crate::state_machine::{Applied, CheckEntry, Frozen, Progress, RestoreError, Saved, StateMachine};
use net::resp::reply;
use raft::EntryId;
use std::ops::Range;
use std::rc::Rc;

/// The keys of one group.
#[derive(Debug)]
pub struct Kv {
    layers: Layers,
    counts: Counts,
    /// What a restored snapshot says of its counts.
    counts_restored: Option<Counts>,
    /// Nothing was restored, and no image was taken.
    is_fresh: bool,
    /// Tables whose keys are gone, freed little by little.
    garbage: Vec<Rc<Table>>,
}

impl Kv {
    /// An empty key space for a group that owns `slots`, all of which is held in memory.
    pub fn new(slots: Range<u16>) -> Self {
        Self::with_memory(slots, u64::MAX)
    }

    /// An empty key space for a group that owns `slots`. Of what is saved, about `saved_bytes_max` are held in memory; the rest is read
    /// where it lies in the snapshot's files.
    pub fn with_memory(slots: Range<u16>, saved_bytes_max: u64) -> Self {
        Self {
            layers: Layers::new(saved_bytes_max),
            counts: Counts::new(slots),
            counts_restored: None,
            is_fresh: true,
            garbage: Vec::new(),
        }
    }

    /// How many keys exist.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no key exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots whose keys stand here.
    pub fn slots(&self) -> Range<u16> {
        self.counts.slots()
    }

    /// How many keys a slot has.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.counts.slot_len(slot)
    }

    /// Runs a command that has been agreed on: writes change the state, reads do not.
    pub fn execute(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        if command.is_write() { self.write(command, out) } else { self.read(command, out) }
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.layers.get(Position::of(key), key)
    }

    /// Puts a string under a key. Answers whether the key existed.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let position = Position::of(key);
        let existed = self.layers.put(position, key, value);
        self.counts.count(position, existed, true);
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
        self.counts.count(position, existed, false);
        existed
    }

    /// Takes every key away, in constant time.
    pub(super) fn clear(&mut self) {
        let garbage = self.layers.clear();
        self.garbage.extend(garbage.filter(|table| !table.is_empty()));
        self.counts.clear();
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

    fn look_ahead(&self, command: &[u8]) {
        if let Ok(command) = Command::decode(command) {
            command.for_each_written(|key, removes| self.layers.look_ahead(Position::of(key), key, removes));
        }
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        match Command::decode(query) {
            Ok(command) => self.read(&command, reply),
            Err(error) => refuse(error, reply),
        }
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        self.is_fresh = false;
        let (table, whole) = self.layers.freeze();
        Box::new(FrozenTable::new(table, whole, self.counts.save()))
    }

    fn saved(&mut self, kept: bool) {
        self.layers.image_is_kept(kept);
    }

    fn forget_saved(&mut self) {
        self.layers.forget_saved();
    }

    fn serves(&self) -> Option<CheckEntry> {
        let check: CheckEntry = check_entry;
        self.layers.wants_files().then_some(check)
    }

    fn serve(&mut self, saved: Saved) -> bool {
        if !self.is_fresh {
            // What was cleared since is in no file.
            if !self.layers.is_whole() {
                self.layers.serve(saved);
            }
            return true;
        }
        let Some(counts) = saved.get(COUNTS_KEY).and_then(|counts| Counts::restore(counts).ok()) else {
            return false; // files of an earlier version
        };
        if counts.slots() != self.slots() {
            return false;
        }
        (self.counts, self.is_fresh) = (counts, false);
        self.layers.serve(saved);
        true
    }

    fn wants_thaw(&self) -> bool {
        self.layers.wants_tending() || self.garbage.iter().any(|table| Rc::strong_count(table) == 1)
    }

    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        let budget_bytes = budget_bytes as u64;
        let more = self.layers.tend(budget_bytes) || self.free(budget_bytes);
        if more || self.wants_thaw() { Progress::More } else { Progress::Done }
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.is_fresh = false;
        if key == COUNTS_KEY {
            self.counts_restored = Some(Counts::restore(value)?);
            return Ok(());
        }
        let (_, key) = restore_key(key)?;
        let entry = Entry::restore(value)?;
        if entry.expires_ms.is_some() {
            return Err(RestoreError::new(HAS_EXPIRY));
        }
        let exists = entry.is_live();
        let position = Position::of(key);
        let existed = self.layers.restore(position, key, entry);
        self.counts.count(position, existed, exists);
        Ok(())
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        match self.counts_restored.take() {
            Some(counts) if !counts.agree(&self.counts) => {
                let (said, found) = (counts.len(), self.len());
                Err(RestoreError::new(format!("{found} keys came back, not {said}, or in other slots")))
            }
            _ => Ok(()),
        }
    }

    fn state_bytes(&self) -> u64 {
        self.layers.bytes() + self.garbage.iter().map(|table| table.bytes()).sum::<u64>()
    }
}

/// Says what is wrong with a saved entry.
pub(super) fn check_entry(key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
    if key == COUNTS_KEY {
        return Counts::restore(value).map(|_| ());
    }
    restore_key(key)?;
    match entry::parse(value)? {
        (_, None, _) => Ok(()),
        _ => Err(RestoreError::new(HAS_EXPIRY)),
    }
}

const HAS_EXPIRY: &str = "entry with an expiry, which this version does not have";

fn refuse(error: DecodeError, out: &mut Vec<u8>) {
    reply::error(out, format_args!("ERR this node is too old for the command: {error}"));
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "metamorphic_tests.rs"]
mod metamorphic_tests;
