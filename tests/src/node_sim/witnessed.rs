//! The production state machine with a witness beside it, who writes down what is applied, saved and restored, and
//! sees at once when two replicas differ. Neither the machine nor the engine notices.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ringraft::{
    Applied, EntryId, Frozen, GroupId, Index, Progress, RestoreError, SaveSink, StateMachine, Term,
};

use crate::core_sim::violation::require;

const CHECK: &str = "state_machine_safety";

/// What all replicas of a life did, by group.
#[derive(Default)]
struct Ledger {
    /// What was applied at each index: term, command, reply.
    applied: BTreeMap<(GroupId, Index), (Term, u64, u64)>,
    /// The states that were saved, by the last command in them.
    saved: BTreeMap<(GroupId, Index), u64>,
    /// All digests of saved states.
    digests: BTreeSet<(GroupId, u64)>,
}

thread_local! {
    /// Machines are made by a function that any thread may call, so they find their ledger here; a life stays on its thread.
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

/// A new life begins.
pub fn forget() {
    LEDGER.take();
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A machine with its witness.
pub struct Witnessed<S> {
    group: GroupId,
    machine: S,
    /// The last command in the state; unknown after a restore until the next.
    last: Option<Index>,
    restoring: Digest,
}

/// A digest over items in their order, however their values are cut.
#[derive(Clone, Default)]
struct Digest {
    items: u64,
    hasher: crc32fast::Hasher,
}

impl Digest {
    fn key(&mut self, key: &[u8], value_bytes: usize) {
        self.items += 1;
        for part in [&key.len().to_le_bytes(), key, &value_bytes.to_le_bytes()] {
            self.hasher.update(part);
        }
    }

    fn value(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn end(&self) -> u64 {
        self.items << 32 | u64::from(self.hasher.clone().finalize())
    }
}

impl<S: StateMachine> Witnessed<S> {
    /// The machine of `group`, which begins empty.
    pub fn new(group: GroupId, machine: S) -> Self {
        Witnessed { group, machine, last: Some(Index(0)), restoring: Digest::default() }
    }
}

impl<S: StateMachine> StateMachine for Witnessed<S> {
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        require!(
            self.last.is_none_or(|last| last < entry.index),
            CHECK,
            "group {}: {entry} is applied after {:?}",
            self.group,
            self.last
        );
        self.last = Some(entry.index);
        let start = reply.len();
        let applied = self.machine.apply(entry, command, reply);
        let now = (entry.term, hash_of(command), hash_of(&reply[start..]));
        let first =
            LEDGER.with_borrow_mut(|ledger| *ledger.applied.entry((self.group, entry.index)).or_insert(now));
        require!(
            first == now,
            CHECK,
            "group {}: two replicas apply {entry} in two ways: {first:?}, {now:?}",
            self.group
        );
        applied
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        self.machine.query(query, reply);
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let image = self.machine.freeze();
        Box::new(Image { group: self.group, last: self.last, image, digest: Digest::default() })
    }

    fn wants_thaw(&self) -> bool {
        self.machine.wants_thaw()
    }

    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        self.machine.thaw(budget_bytes)
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.last = None;
        self.restoring.key(key, value.len());
        self.restoring.value(value);
        self.machine.restore_entry(key, value)
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        self.last = None;
        let digest = self.restoring.end();
        let known = LEDGER.with_borrow(|ledger| ledger.digests.contains(&(self.group, digest)));
        require!(known, CHECK, "group {}: a state is restored that nobody saved", self.group);
        self.machine.restore_end()
    }

    fn state_bytes(&self) -> u64 {
        self.machine.state_bytes()
    }
}

/// An image whose content is looked at while it is written.
struct Image {
    group: GroupId,
    last: Option<Index>,
    image: Box<dyn Frozen>,
    digest: Digest,
}

struct Copying<'a> {
    sink: &'a mut dyn SaveSink,
    digest: &'a mut Digest,
}

impl SaveSink for Copying<'_> {
    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.digest.key(key, value_bytes);
        self.sink.begin(key, value_bytes);
    }

    fn part(&mut self, bytes: &[u8]) {
        self.digest.value(bytes);
        self.sink.part(bytes);
    }
}

impl Frozen for Image {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut copying = Copying { sink, digest: &mut self.digest };
        let progress = self.image.write(&mut copying, budget_bytes);
        if progress == Progress::Done {
            let digest = self.digest.end();
            LEDGER.with_borrow_mut(|ledger| {
                ledger.digests.insert((self.group, digest));
                let Some(last) = self.last else { return };
                let first = *ledger.saved.entry((self.group, last)).or_insert(digest);
                require!(
                    first == digest,
                    "replicas_equal",
                    "group {}: two states after {last} differ",
                    self.group
                );
            });
        }
        progress
    }
}
