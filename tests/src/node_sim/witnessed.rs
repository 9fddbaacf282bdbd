//! The production state machine with a witness beside it, who writes down what is applied, saved and restored, and
//! sees at once when two replicas differ. Neither the machine nor the engine notices. `by_index` judges the clients by
//! what stands in the ledger.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use ringraft::{
    Applied, CheckEntry, EntryId, Frozen, GroupId, Index, IsDeleted, Progress, RestoreError, SaveSink, Saved,
    StateMachine, Term,
};

use ringraft::kv::entry::Entry as SavedEntry;

use super::told;
use crate::core_sim::violation::{require, violated};

const CHECK: &str = "state_machine_safety";

/// What all replicas of a life did, by group.
#[derive(Default)]
pub struct Ledger {
    /// What was applied at each index.
    pub applied: BTreeMap<(GroupId, Index), Entry>,
    /// The reads that were answered, by whichever replica.
    pub answers: Vec<Answer>,
    /// The states that were saved, by the last command in them.
    saved: BTreeMap<(GroupId, Index), u64>,
    /// All digests of saved states, with the last command that may be in them.
    digests: BTreeMap<(GroupId, u64), Span>,
}

/// A command as it was applied first.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of its entry.
    term: Term,
    /// Its [digest](hash_of).
    pub command: u64,
    /// What was answered.
    pub reply: Vec<u8>,
}

/// A read as a machine answered it.
pub struct Answer {
    /// The group.
    pub group: GroupId,
    /// The last command in the state.
    pub state: Span,
    /// When, by the world's clock.
    pub at_us: u64,
    /// The digest of what was asked.
    pub query: u64,
    /// What was answered.
    pub reply: Vec<u8>,
}

/// The last command in a state: one of these, as different commands may leave the same state behind.
pub type Span = (Index, Index);

thread_local! {
    /// Machines are made by a function that any thread may call, so they find their ledger here; a life stays on its thread.
    static LEDGER: RefCell<Ledger> = RefCell::default();
}

/// A new life begins.
pub fn forget() {
    LEDGER.take();
}

/// Lives another life; then this one goes on.
pub fn aside<T>(live: impl FnOnce() -> T) -> T {
    let ledger = LEDGER.take();
    let result = live();
    LEDGER.set(ledger);
    result
}

/// What was written down in this life.
pub fn ledger<T>(look: impl FnOnce(&Ledger) -> T) -> T {
    LEDGER.with_borrow(look)
}

/// The digest of a command.
pub fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A machine with its witness.
pub struct Witnessed<S> {
    group: GroupId,
    machine: S,
    /// The last command in the state.
    last: Span,
    /// What the group's snapshot holds: what was restored, and then what each save that was kept made of it. None: some of it is
    /// damaged on disk, and the machine has not come by that yet.
    snapshot: Option<Items>,
    /// Says whether what it looked for in files last was not all in memory.
    has_missed: Option<Box<dyn Fn() -> bool>>,
    /// What the newest image makes of it, once that is written.
    image: Rc<RefCell<Option<Items>>>,
    was_frozen: bool,
}

/// A whole state, as saved.
type Items = BTreeMap<Vec<u8>, Vec<u8>>;

/// A digest over items in their order.
fn digest_of(items: &Items) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    for (key, value) in items {
        for part in [&key.len().to_le_bytes(), &key[..], &value.len().to_le_bytes(), &value[..]] {
            hasher.update(part);
        }
    }
    (items.len() as u64) << 32 | u64::from(hasher.finalize())
}

/// Saved entries of the production machine that stand for deleted keys.
fn is_deleted(value: &[u8]) -> bool {
    SavedEntry::restore(value).is_ok_and(|entry| !entry.is_live())
}

impl<S: StateMachine> Witnessed<S> {
    /// The machine of `group`, which begins empty.
    pub fn new(group: GroupId, machine: S) -> Self {
        let image = Rc::default();
        let (last, snapshot) = ((Index(0), Index(0)), Some(Items::new()));
        Witnessed { group, machine, last, snapshot, has_missed: None, image, was_frozen: false }
    }

    /// The last command in the state that was restored.
    fn restored(&self, id: Option<EntryId>) -> Span {
        let Some(items) = &self.snapshot else { return self.last_before(id) };
        let digest = digest_of(items);
        let known = LEDGER.with_borrow(|ledger| ledger.digests.get(&(self.group, digest)).copied());
        known.unwrap_or_else(|| {
            violated(CHECK, format!("group {}: a state is restored that nobody saved", self.group))
        })
    }
}

impl<S: StateMachine> Witnessed<S> {
    /// The last command up to an entry.
    fn last_before(&self, id: Option<EntryId>) -> Span {
        let index = id.map_or(Index(0), |id| id.index);
        let before = (self.group, Index(0))..=(self.group, index);
        let last = LEDGER.with_borrow(|ledger| ledger.applied.range(before).next_back().map(|(at, _)| at.1));
        let last = last.unwrap_or(Index(0));
        (last, last)
    }
}

impl<S: StateMachine> StateMachine for Witnessed<S> {
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        require!(
            self.last.0 < entry.index,
            CHECK,
            "group {}: {entry} is applied after {:?}",
            self.group,
            self.last
        );
        self.last = (entry.index, entry.index);
        let start = reply.len();
        let applied = self.machine.apply(entry, command, reply);
        let (command, reply) = (hash_of(command), &reply[start..]);
        LEDGER.with_borrow_mut(|ledger| {
            let first = ledger.applied.entry((self.group, entry.index)).or_insert_with(|| Entry {
                term: entry.term,
                command,
                reply: reply.to_vec(),
            });
            require!(
                (first.term, first.command, &*first.reply) == (entry.term, command, reply),
                CHECK,
                "group {}: two replicas apply {entry} in two ways: {first:?}, {command} {reply:?}",
                self.group
            );
        });
        applied
    }

    fn look_ahead(&self, command: &[u8]) {
        self.machine.look_ahead(command);
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        let start = reply.len();
        self.machine.query(query, reply);
        if self.has_missed.as_ref().is_some_and(|has_missed| has_missed()) {
            return; // nobody will hear of it
        }
        let (group, state, at_us, query) = (self.group, self.last, told::now_us(), hash_of(query));
        let answer = Answer { group, state, at_us, query, reply: reply[start..].to_vec() };
        LEDGER.with_borrow_mut(|ledger| ledger.answers.push(answer));
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        self.was_frozen = true;
        let image = self.machine.freeze();
        let items = if image.changes().is_some() { self.snapshot.clone() } else { Some(Items::new()) };
        self.image = Rc::new(RefCell::new(items));
        let (group, last, items) = (self.group, self.last, Rc::clone(&self.image));
        Box::new(Image { group, last, image, items, open: None })
    }

    fn saved(&mut self, kept: bool) {
        if kept {
            self.snapshot = self.image.take();
        }
        self.machine.saved(kept);
    }

    fn forget_saved(&mut self) {
        self.machine.forget_saved();
    }

    fn serves(&self) -> Option<CheckEntry> {
        self.machine.serves()
    }

    fn serve(&mut self, saved: Saved) -> bool {
        let items = saved.peek().map(|entries| {
            let live = entries.into_iter().filter(|(_, value)| !is_deleted(value));
            live.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Items>()
        });
        self.has_missed = Some(Box::new(saved.has_missed()));
        let id = saved.id();
        if self.was_frozen {
            let same = items == self.snapshot || items.is_none() || self.snapshot.is_none();
            require!(same, "replicas_equal", "group {}: what is served is not what was saved", self.group);
            self.snapshot = items;
            return self.machine.serve(saved);
        }
        let served = self.machine.serve(saved);
        if served {
            self.snapshot = items;
            self.last = self.restored(id);
        }
        served
    }

    fn wants_thaw(&self) -> bool {
        self.machine.wants_thaw()
    }

    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        self.machine.thaw(budget_bytes)
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let snapshot = self.snapshot.as_mut().expect("nothing is served");
        if is_deleted(value) {
            snapshot.remove(key);
        } else {
            snapshot.insert(key.to_vec(), value.to_vec());
        }
        self.machine.restore_entry(key, value)
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        self.last = self.restored(None);
        self.machine.restore_end()
    }

    fn state_bytes(&self) -> u64 {
        self.machine.state_bytes()
    }
}

/// An image whose content is looked at while it is written.
struct Image {
    group: GroupId,
    last: Span,
    image: Box<dyn Frozen>,
    /// The state as far as it is written: what lies below the image, and what that has handed out so far.
    items: Rc<RefCell<Option<Items>>>,
    /// A key whose value is being handed out, and how much of it has been.
    open: Option<(Vec<u8>, Vec<u8>)>,
}

struct Copying<'a> {
    sink: &'a mut dyn SaveSink,
    image: &'a RefCell<Option<Items>>,
    open: &'a mut Option<(Vec<u8>, Vec<u8>)>,
}

impl Copying<'_> {
    fn close(&mut self) {
        let Some((key, value)) = self.open.take() else { return };
        let mut items = self.image.borrow_mut();
        let Some(items) = items.as_mut() else { return };
        if is_deleted(&value) {
            items.remove(&key)
        } else {
            items.insert(key, value)
        };
    }
}

impl SaveSink for Copying<'_> {
    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.close();
        *self.open = Some((key.to_vec(), Vec::new()));
        self.sink.begin(key, value_bytes);
    }

    fn part(&mut self, bytes: &[u8]) {
        if let Some((_, value)) = self.open.as_mut() {
            value.extend_from_slice(bytes);
        }
        self.sink.part(bytes);
    }
}

impl Frozen for Image {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut copying = Copying { sink, image: &self.items, open: &mut self.open };
        let progress = self.image.write(&mut copying, budget_bytes);
        if progress == Progress::Done {
            copying.close();
            let Some(digest) = self.items.borrow().as_ref().map(digest_of) else { return progress };
            LEDGER.with_borrow_mut(|ledger| {
                let (earliest, last) = self.last;
                let span = ledger.digests.entry((self.group, digest)).or_insert(self.last);
                *span = (span.0.min(earliest), span.1.max(last));
                if earliest < last {
                    return;
                }
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
    fn changes(&self) -> Option<IsDeleted> {
        self.image.changes()
    }

    fn bytes(&self) -> u64 {
        self.image.bytes()
    }
}
