//! The files of a group's snapshot, as a machine sees them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use snapshot::{Access, Files, Miss, Served, SnapshotError};

/// So many blocks are asked for at a time: some milliseconds' reading. What is missing besides is asked for in the next round.
const WANTED_MAX: usize = 256;

/// How the machines of a shard look into their files, and what they met there. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookups(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Not all blocks of all files are at hand.
    some_are_away: Cell<bool>,
    /// Only blocks that are at hand are read; of a walk that lacks one, so many are asked for.
    at_hand_only: Cell<Option<usize>>,
    /// A block was not at hand.
    has_missed: Cell<bool>,
    wanted: RefCell<Vec<Wanted>>,
    damage: RefCell<Option<SnapshotError>>,
}

/// A block that is to be brought.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) served: Weak<Served>,
    pub(crate) block: usize,
}

impl Lookups {
    /// Looks at what is at hand and nothing else. `Err`: something was not, which is asked for now, so what `look` came to means
    /// nothing. Of walks it asks for `ahead_blocks` at a time.
    pub(crate) fn at_hand<R>(&self, ahead_blocks: usize, look: impl FnOnce() -> R) -> Result<R, R> {
        let Inner { some_are_away, at_hand_only, has_missed, .. } = &*self.0;
        has_missed.set(false);
        if !some_are_away.get() {
            return Ok(look());
        }
        let before = at_hand_only.replace(Some(ahead_blocks.max(1)));
        let result = look();
        at_hand_only.set(before);
        if has_missed.get() { Err(result) } else { Ok(result) }
    }

    /// Whether a machine that looks at what is at hand of its own accord missed something.
    pub(crate) fn noting<R>(&self, work: impl FnOnce() -> R) -> (R, bool) {
        self.0.has_missed.set(false);
        let result = work();
        (result, self.0.has_missed.get())
    }

    /// Whether there is anything that is not at hand.
    pub(crate) fn some_are_away(&self) -> bool {
        self.0.some_are_away.get()
    }

    pub(crate) fn set_some_are_away(&self, some_are_away: bool) {
        self.0.some_are_away.set(some_are_away);
    }

    /// What was asked for since this was called last, some of it more than once.
    pub(crate) fn take_wanted(&self) -> Vec<Wanted> {
        self.0.wanted.take()
    }

    /// A file is damaged; the shard ends at the end of the turn.
    pub(crate) fn found_damage(&self, error: SnapshotError) {
        self.0.damage.borrow_mut().get_or_insert(error);
    }

    /// What was found damaged first.
    pub(crate) fn take_damage(&self) -> Option<SnapshotError> {
        self.0.damage.take()
    }

    fn access(&self) -> Access {
        if self.0.at_hand_only.get().is_some() { Access::AtHand } else { Access::Wait }
    }

    /// A lookup stopped at a block; a walk wants those behind it, too.
    fn missed(&self, miss: Miss, is_walk: bool) {
        let (served, block) = match miss {
            Miss::Damaged(_) if runtime::mutant!("blocks.unreadable_is_empty") => return,
            Miss::Damaged(error) => return self.found_damage(error),
            Miss::NotAtHand(served, block) => (served, block),
        };
        runtime::mark!("kv.block_away");
        self.0.has_missed.set(true);
        let ahead = self.0.at_hand_only.get().filter(|_| is_walk).unwrap_or(1);
        let mut wanted = self.0.wanted.borrow_mut();
        let mut next = Some(block);
        for _ in 0..ahead {
            let Some(block) = next.filter(|_| wanted.len() < WANTED_MAX) else { return };
            wanted.push(Wanted { served: Rc::downgrade(&served), block });
            next = served.next_away(block + 1);
        }
    }
}

/// The entries of a group's snapshot, read where they lie in its files: of each key the newest. What is not in memory yet seems not
/// to be there while a machine [looks ahead](super::StateMachine::look_ahead) or answers a query: the engine brings it, drops what the
/// machine said, and asks again. In all other calls it is waited for. Should the files be found damaged, what is asked for seems not
/// to be there, and the node ends before anybody hears of that.
#[derive(Clone, Debug)]
pub struct Saved {
    files: Files,
    lookups: Lookups,
}

impl Saved {
    pub(crate) fn new(files: Files, lookups: Lookups) -> Saved {
        Saved { files, lookups }
    }

    /// The newest value under a key, which may say that it [was deleted](super::Frozen::changes).
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.files.get(key, self.lookups.access()) {
            Ok(value) => value,
            Err(miss) => {
                self.lookups.missed(miss, false);
                None
            }
        }
    }

    /// All keys from `key` on, ascending, each with its newest value.
    pub fn entries_from<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let missed = |miss| self.lookups.missed(miss, true);
        let items = self.files.items_from(key, self.lookups.access());
        let items = items.map_err(missed).ok().into_iter().flatten();
        items.map_while(move |item| item.map_err(missed).ok()).map(|item| (item.key, item.value))
    }

    /// Says whether what was looked at last was not all in memory. Does not keep the files.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub fn has_missed(&self) -> impl Fn() -> bool + use<> {
        let lookups = self.lookups.clone();
        move || lookups.0.has_missed.get()
    }

    /// All entries as they are, and nothing is noted; `None` if some are damaged. Of tests, which watch.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub fn peek(&self) -> Option<Vec<(&[u8], &[u8])>> {
        let items = self.files.items_from(b"", Access::Peek).ok()?;
        items.map(|item| item.ok().map(|item| (item.key, item.value))).collect()
    }

    /// The entry that the newest file stands at.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub fn id(&self) -> Option<raft::EntryId> {
        self.files.served().first().map(|served| served.reference().name.id)
    }

    /// How long the files are, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// Looks at what is in memory and nothing else, for background work that can go on later. `Err`: something was missing, which
    /// the engine brings now; what `look` came to then is to be taken for an attempt that stopped there.
    pub fn at_hand<R>(&self, look: impl FnOnce() -> R) -> Result<R, R> {
        self.lookups.at_hand(WANTED_MAX, look)
    }
}
