//! What the replicated log drives: the state machine of one group.
//!
//! A machine lives on the shard that owns its group and never leaves it, so it need be neither `Send` nor
//! `Sync`. It takes bytes and gives bytes; what they mean is its own business. [`StateMachine`] is the whole
//! contract, with saves in slices so that a large state never stalls its shard; [`SimpleMachine`] is the short
//! way for a state that fits in one buffer:
//!
//! ```
//! use ringraft::state_machine::{RestoreError, Simple, SimpleMachine, StateMachine};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl SimpleMachine for Counter {
//!     fn apply(&mut self, _command: &[u8], reply: &mut Vec<u8>) {
//!         self.0 += 1;
//!         reply.extend_from_slice(self.0.to_string().as_bytes());
//!     }
//!     fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
//!         reply.extend_from_slice(self.0.to_string().as_bytes());
//!     }
//!     fn save(&self, out: &mut Vec<u8>) {
//!         out.extend_from_slice(&self.0.to_le_bytes());
//!     }
//!     fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
//!         let bytes = bytes.try_into().map_err(|_| RestoreError::new("a counter has 8 bytes"))?;
//!         self.0 = u64::from_le_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! let machine: Simple<Counter> = Counter::default().into();
//! let mut reply = Vec::new();
//! machine.query(b"", &mut reply);
//! assert_eq!(reply, b"0");
//! ```

mod saved;
mod simple;

use raft::EntryId;

pub use saved::Saved;
pub(crate) use saved::{Lookups, Wanted};
pub use simple::{Simple, SimpleMachine};

/// What [`StateMachine::apply`] did with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a command this machine does not know must stop the group"]
pub enum Applied {
    /// The command took effect, or was refused in its reply; either way alike on every replica.
    Done,
    /// The machine does not know this command: a newer version proposed it. Nothing changed and the reply is an
    /// error. The engine stops the group on this node, for skipping the command would fork the replicas.
    Unknown,
}

/// Whether sliced work goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "sliced work must be called again until it is done"]
pub enum Progress {
    /// Call again.
    More,
    /// Nothing is left to do.
    Done,
}

/// Saved bytes do not make a state. The snapshot is damaged or from another machine; the engine then takes one
/// from a peer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot restore: {reason}")]
pub struct RestoreError {
    reason: String,
}

impl RestoreError {
    /// An error that says what is wrong with the bytes.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// The state of one group: changed only by commands of its log, in their order, alike on every replica.
///
/// Everything here must be deterministic: the same entries give the same state and the same replies on every
/// node. No clock, no randomness, no iteration order of a seeded table may show.
pub trait StateMachine: 'static {
    /// Applies one committed command and appends its reply. Cannot fail: what the command's author did wrong is
    /// part of the reply. The reply is dropped where nobody waits for it. Commands arrive once each and in log
    /// order, but an entry may be applied again after a restart from an older save.
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied;

    /// Applies consecutive committed commands, one reply each, and stops behind the first unknown one. Override
    /// it when a batch can be cheaper than its commands one by one.
    fn apply_batch(&mut self, batch: &[(EntryId, &[u8])], replies: &mut Replies) -> Applied {
        for &(entry, command) in batch {
            let applied = self.apply(entry, command, replies.buffer());
            replies.seal();
            if applied == Applied::Unknown {
                return Applied::Unknown;
            }
        }
        Applied::Done
    }

    /// Reads what [`apply`](Self::apply) would read for this command, and forgets it: for machines that answer from
    /// [files](Self::serve). What of those is not in memory is brought there before the command is applied; without this,
    /// `apply` waits for the disk, and all groups of the shard with it.
    fn look_ahead(&self, command: &[u8]) {
        let _ = command;
    }

    /// Answers a question about the state as it is. May be asked again, where what it read of files was not in memory.
    fn query(&self, query: &[u8], reply: &mut Vec<u8>);

    /// Takes a stable image for a save, in constant or very little time: of the state, or of what
    /// [changed](Frozen::changes). The machine goes on applying beside it. One image exists at a time: the engine
    /// drops it, tells the machine what became of it ([`saved`](Self::saved)), and calls [`thaw`](Self::thaw) until
    /// that is done, before it freezes again.
    fn freeze(&mut self) -> Box<dyn Frozen>;

    /// What became of the newest image, which is dropped by now: `kept` says that it is part of the group's snapshot
    /// for good. If not, the next image must have its changes too. For machines whose images are changes; others need
    /// not know.
    fn saved(&mut self, kept: bool) {
        let _ = kept;
    }

    /// The group's snapshot cannot be read, and no image exists: the next one must be the whole state. For machines whose
    /// images are changes.
    fn forget_saved(&mut self) {}

    /// Whether the machine answers from its group's snapshot files ([`serve`](Self::serve)) instead of holding all of their
    /// entries itself, and how an entry is checked before. Asked of a fresh machine, and whenever an image was frozen.
    fn serves(&self) -> Option<CheckEntry> {
        None
    }

    /// The files of the group's snapshot: what is read of them was checked before, and the first kilobytes of each file are in
    /// memory, as a machine may say there how to take the rest. On a fresh machine they come in place of
    /// their entries, later in the place of the files before, once an image was [kept](Self::saved). What the machine
    /// changed since goes above. False: it cannot use them, and a fresh machine is to be [given](Self::restore_entry) their entries.
    fn serve(&mut self, saved: Saved) -> bool {
        let _ = saved;
        false
    }

    /// Whether [`thaw`](Self::thaw) has something to do. Cheap: the engine asks after every batch and whenever it
    /// drops an image.
    fn wants_thaw(&self) -> bool {
        false
    }

    /// Background work, such as merging what was written beside an image that is now dropped, or freeing memory:
    /// about `budget_bytes` of it per call, which at 64 KiB takes far less than a millisecond.
    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        let _ = budget_bytes;
        Progress::Done
    }

    /// Takes back one saved entry. Called on a fresh machine with every entry of one save, in the order saved. Where
    /// images are [changes](Frozen::changes), those of several saves follow each other, from the oldest on: a later
    /// entry takes the place of an earlier one with its key. After an error the machine is thrown away.
    ///
    /// # Errors
    /// The entry is not one of this machine's.
    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError>;

    /// Ends a restore: no entry follows.
    ///
    /// # Errors
    /// The entries do not make a whole state.
    fn restore_end(&mut self) -> Result<(), RestoreError> {
        Ok(())
    }

    /// About how many bytes of memory the state takes, for budgets and `status`.
    fn state_bytes(&self) -> u64 {
        0
    }
}

/// A stable image of a state, written out slice by slice beside the machine that goes on.
pub trait Frozen {
    /// Hands the next entries to `sink`, about `budget_bytes` of them, at least some. A long value may be spread
    /// over several calls. Keys ascend strictly, as bytes, over the whole save, which is what a sorted snapshot
    /// file is built from.
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress;

    /// `None`: the image is the whole state, and the snapshots before it are history. Else it has only what changed
    /// since the image before it that was [kept](StateMachine::saved), of each key the newest entry, and of a deleted
    /// one an entry that the function tells from others by its value: entries of older images that are covered by such
    /// ones are dropped when files are merged, and these themselves where there is nothing left to cover.
    fn changes(&self) -> Option<IsDeleted> {
        None
    }

    /// About how many bytes it will write in all: of an image of changes, to choose which files to merge it with.
    fn bytes(&self) -> u64 {
        0
    }
}

/// Says what is wrong with a saved entry.
pub type CheckEntry = fn(key: &[u8], value: &[u8]) -> Result<(), RestoreError>;

/// Whether an entry with this value says that its key was deleted.
pub type IsDeleted = fn(value: &[u8]) -> bool;

/// Where saved entries go; keys ascend strictly.
pub trait SaveSink {
    /// Takes one entry of moderate size.
    fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.begin(key, value.len());
        self.part(value);
    }

    /// Begins an entry whose value comes in [parts](Self::part) that add up to `value_bytes`, before any other
    /// entry and in one slice or several.
    fn begin(&mut self, key: &[u8], value_bytes: usize);

    /// Takes the next part of the value that was begun.
    fn part(&mut self, bytes: &[u8]);
}

impl SaveSink for Vec<(Vec<u8>, Vec<u8>)> {
    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.push((key.to_vec(), Vec::with_capacity(value_bytes)));
    }

    fn part(&mut self, bytes: &[u8]) {
        let (_, value) = self.last_mut().expect("a part belongs to the value begun before");
        value.extend_from_slice(bytes);
    }
}

/// The replies of a batch: their bytes end to end, and where each one ends.
#[derive(Default, Debug)]
pub struct Replies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Replies {
    /// Where the reply being written goes. Only append to it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the reply being written.
    pub fn seal(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// How many replies are sealed.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no reply is sealed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The reply of the batch's command number `at`.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.bytes[start..end])
    }

    /// Forgets all replies and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
