//! The files of a group's snapshot, as a machine sees them.

use std::cell::RefCell;
use std::rc::Rc;

use snapshot::{Files, SnapshotError};

/// What was found damaged while it was served. Shared by all machines of a shard, which ends at the end of the turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Rc<RefCell<Option<SnapshotError>>>);

impl Damage {
    fn found(&self, error: SnapshotError) {
        self.0.borrow_mut().get_or_insert(error);
    }

    /// What was found first.
    pub(crate) fn take(&self) -> Option<SnapshotError> {
        self.0.take()
    }
}

/// The entries of a group's snapshot, read where they lie in its files: of each key the newest. Every byte was checked before
/// a machine gets it. Should the files be found damaged all the same, what is asked for seems not to be there, and the node ends before
/// anybody hears of that.
#[derive(Clone, Debug)]
pub struct Saved {
    files: Files,
    damage: Damage,
}

impl Saved {
    pub(crate) fn new(files: Files, damage: Damage) -> Saved {
        Saved { files, damage }
    }

    /// The newest value under a key, which may say that it [was deleted](super::Frozen::changes).
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.files.get(key) {
            Ok(value) => value,
            Err(error) => {
                self.damage.found(error);
                None
            }
        }
    }

    /// All keys from `key` on, ascending, each with its newest value.
    pub fn entries_from<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let found = |error| self.damage.found(error);
        let items = self.files.items_from(key).map_err(found).ok().into_iter().flatten();
        items.map_while(move |item| item.map_err(found).ok()).map(|item| (item.key, item.value))
    }

    /// How long the files are, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }
}
