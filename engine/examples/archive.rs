//! Accounts that stay in the snapshot's files: in memory is only what changed since the last save, so there may be more of
//! them than memory, and a start reads none. `cargo run --example archive`

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::rc::Rc;

use ringraft::{
    Applied, CheckEntry, Engine, EntryId, Frozen, GroupId, IsDeleted, Progress, RestoreError, SaveSink,
    Saved, StateMachine,
};

/// What changed, by account; `None` if it was closed.
type Changes = BTreeMap<Vec<u8>, Option<u64>>;

#[derive(Default)]
struct Archive {
    /// Since the newest image. What stands here hides what lies below.
    changed: Changes,
    /// The newest image, until its save is part of the snapshot.
    image: Rc<Changes>,
    /// The snapshot. None before the first save, and when it is of no use.
    files: Option<Saved>,
}

impl Archive {
    fn balance(&self, name: &[u8]) -> Option<u64> {
        if let Some(changed) = self.changed.get(name).or_else(|| self.image.get(name)) {
            return *changed;
        }
        balance_of(self.files.as_ref()?.get(name)?)
    }
}

impl StateMachine for Archive {
    /// `+name` puts one more into an account, `-name` closes it.
    fn apply(&mut self, _entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        let Some((verb, name)) = command.split_first() else { return Applied::Unknown };
        let now = match verb {
            b'+' => Some(self.balance(name).map_or(1, |balance| balance + 1)),
            b'-' => None,
            _ => return Applied::Unknown,
        };
        self.changed.insert(name.to_vec(), now);
        reply.extend(now.unwrap_or(0).to_le_bytes());
        Applied::Done
    }

    /// Looks up what `apply` will: if that is not in memory, the engine brings it first, and other groups go on.
    fn look_ahead(&self, command: &[u8]) {
        if let Some((_, name)) = command.split_first() {
            self.balance(name);
        }
    }

    fn query(&self, name: &[u8], reply: &mut Vec<u8>) {
        reply.extend(self.balance(name).unwrap_or(0).to_le_bytes());
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        self.image = Rc::new(std::mem::take(&mut self.changed));
        let (changes, whole) = (Rc::clone(&self.image), self.files.is_none());
        Box::new(Image { changes, whole, written: Bound::Unbounded })
    }

    fn saved(&mut self, kept: bool) {
        for (name, balance) in Rc::unwrap_or_clone(std::mem::take(&mut self.image)) {
            if !kept && let btree_map::Entry::Vacant(place) = self.changed.entry(name) {
                place.insert(balance); // the next image has it, unless it has something newer
            }
        }
    }

    /// All accounts come back to memory; this waits for the disk, and is rare.
    fn forget_saved(&mut self) {
        let Some(files) = self.files.take() else { return };
        for (name, value) in files.entries_from(b"") {
            self.changed.entry(name.to_vec()).or_insert_with(|| balance_of(value));
        }
    }

    fn serves(&self) -> Option<CheckEntry> {
        Some(|_name, value| match value.len() {
            0 | 8 => Ok(()),
            _ => Err(RestoreError::new("a balance has eight bytes")),
        })
    }

    /// Right after [`saved`](StateMachine::saved): these files have what the image had.
    fn serve(&mut self, saved: Saved) -> bool {
        self.files = Some(saved);
        true
    }

    fn restore_entry(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), RestoreError> {
        Err(RestoreError::new("it takes files, always"))
    }
}

/// None of an account that was closed.
fn balance_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

struct Image {
    changes: Rc<Changes>,
    /// Nothing lies below.
    whole: bool,
    /// The last account that was written.
    written: Bound<Vec<u8>>,
}

impl Frozen for Image {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut bytes = 0;
        for (name, balance) in self.changes.range((self.written.clone(), Bound::Unbounded)) {
            if bytes >= budget_bytes {
                return Progress::More;
            }
            match balance {
                Some(balance) => sink.entry(name, &balance.to_le_bytes()),
                None => sink.entry(name, b""),
            }
            self.written = Bound::Excluded(name.clone());
            bytes += name.len() + 8;
        }
        Progress::Done
    }

    fn changes(&self) -> Option<IsDeleted> {
        if self.whole { None } else { Some(|value| value.is_empty()) }
    }

    fn bytes(&self) -> u64 {
        self.changes.keys().map(|name| name.len() as u64 + 24).sum()
    }
}

/// One node that is stopped and started again, with two saves in its directory by then.
///
/// # Errors
/// What the engine says.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::TempDir::with_prefix("ringraft-archive-")?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let start = || {
        let builder = Engine::builder(1, dir.path()).peer(1, address).shards(1).groups(1);
        // A start reads no file whole, however small the example is.
        builder.checked_at_start_bytes(0).start(|_group| Archive::default())
    };
    let files = || std::fs::read_dir(dir.path().join("shard-000/snapshots")).map_or(0, Iterator::count);
    let engine = start()?;
    let archive = engine.group(GroupId(1)).ok_or("there is a group 1")?;
    for accounts in [3000, 20] {
        for account in ["ada", "grace"] {
            archive.propose_blocking(format!("+{account}"))?;
        }
        for number in 0..accounts {
            archive.propose_blocking(format!("+account {number}"))?;
        }
        let before = files();
        engine.take_snapshots();
        while files() == before {
            std::thread::yield_now();
        }
    }
    archive.propose_blocking("-ada")?;
    engine.shutdown()?;

    let engine = start()?;
    let archive = engine.group(GroupId(1)).ok_or("there is a group 1")?;
    archive.propose_blocking("+account 2999")?;
    for (account, expected) in [("ada", 0), ("grace", 2), ("account 7", 2), ("account 2999", 2)] {
        let balance = u64::from_le_bytes(archive.query_blocking(account)?[..8].try_into()?);
        assert_eq!(
            balance, expected,
            "it is read where it lies: in two files, with what changed since above"
        );
        println!("{account} has {balance}");
    }
    Ok(engine.shutdown()?)
}
