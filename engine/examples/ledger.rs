//! Accounts whose saves write only those that changed: an image takes no longer than the last few changes, however many
//! accounts there are. `cargo run --example ledger`

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::rc::Rc;

use ringraft::{
    Applied, Engine, EntryId, Frozen, GroupId, IsDeleted, Progress, RestoreError, SaveSink, StateMachine,
};

/// What changed, by account; `None` if it was closed.
type Changes = BTreeMap<Vec<u8>, Option<u64>>;

#[derive(Default)]
struct Ledger {
    accounts: BTreeMap<Vec<u8>, u64>,
    /// Since the newest image.
    changed: Changes,
    /// The newest image, until it is known that its save is part of the snapshot.
    image: Rc<Changes>,
    /// The next image is of all accounts.
    whole: bool,
}

impl StateMachine for Ledger {
    /// `+name` puts one more into an account, `-name` closes it.
    fn apply(&mut self, _entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        let Some((verb, name)) = command.split_first() else { return Applied::Unknown };
        let now = match verb {
            b'+' => Some(self.accounts.get(name).map_or(1, |balance| balance + 1)),
            b'-' => None,
            _ => return Applied::Unknown,
        };
        match now {
            Some(balance) => self.accounts.insert(name.to_vec(), balance),
            None => self.accounts.remove(name),
        };
        self.changed.insert(name.to_vec(), now);
        reply.extend(now.unwrap_or(0).to_le_bytes());
        Applied::Done
    }

    fn query(&self, name: &[u8], reply: &mut Vec<u8>) {
        reply.extend(self.accounts.get(name).copied().unwrap_or(0).to_le_bytes());
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let mut changed = std::mem::take(&mut self.changed);
        let whole = std::mem::take(&mut self.whole);
        if whole {
            changed = self.accounts.iter().map(|(name, balance)| (name.clone(), Some(*balance))).collect();
        }
        self.image = Rc::new(changed);
        Box::new(Image { changes: Rc::clone(&self.image), whole, written: Bound::Unbounded })
    }

    fn saved(&mut self, kept: bool) {
        for (name, balance) in Rc::unwrap_or_clone(std::mem::take(&mut self.image)) {
            if !kept && let btree_map::Entry::Vacant(place) = self.changed.entry(name) {
                place.insert(balance); // the next image has it, unless it has something newer
            }
        }
    }

    fn forget_saved(&mut self) {
        self.whole = true;
    }

    fn restore_entry(&mut self, name: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if is_closed(value) {
            self.accounts.remove(name);
        } else {
            let balance = value.try_into().map_err(|_| RestoreError::new("a balance has eight bytes"))?;
            self.accounts.insert(name.to_vec(), u64::from_le_bytes(balance));
        }
        Ok(())
    }
}

fn is_closed(value: &[u8]) -> bool {
    value.is_empty()
}

struct Image {
    changes: Rc<Changes>,
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
        // Of the first image, too: everything has changed since there was nothing.
        if self.whole { None } else { Some(is_closed) }
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
    let dir = tempfile::TempDir::with_prefix("ringraft-ledger-")?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let start = || {
        Engine::builder(1, dir.path()).peer(1, address).shards(1).groups(1).start(|_group| Ledger::default())
    };
    let files = || std::fs::read_dir(dir.path().join("shard-000/snapshots")).map_or(0, Iterator::count);
    let engine = start()?;
    let ledger = engine.group(GroupId(1)).ok_or("there is a group 1")?;
    for accounts in [1000, 20] {
        for account in ["ada", "grace"] {
            ledger.propose_blocking(format!("+{account}"))?;
        }
        for number in 0..accounts {
            ledger.propose_blocking(format!("+account {number}"))?;
        }
        let before = files();
        engine.take_snapshots();
        while files() == before {
            std::thread::yield_now();
        }
    }
    ledger.propose_blocking("-ada")?;
    engine.shutdown()?;

    let engine = start()?;
    let ledger = engine.group(GroupId(1)).ok_or("there is a group 1")?;
    for (account, expected) in [("ada", 0), ("grace", 2), ("account 7", 2)] {
        let balance = u64::from_le_bytes(ledger.query_blocking(account)?[..8].try_into()?);
        assert_eq!(balance, expected, "what is saved in two files, and in the log behind them, is all there");
        println!("{account} has {balance}");
    }
    Ok(engine.shutdown()?)
}
