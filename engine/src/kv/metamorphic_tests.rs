//! Metamorphic: a machine made from what another has saved, at any entry and over any number of files, and given the entries
//! behind, is the machine that applied all of them. It answers every command alike, for ever after.

use super::*;
use crate::kv::test_files::{Entries, Shelf, shelve};
use crate::kv::{Condition, List, SLOT_COUNT};
use proptest::prelude::*;

/// One save.
type File = Entries;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// An encoded command.
    Apply(Vec<u8>),
    /// A save begins, and is written while so many of the next commands are applied; it may come to nothing.
    Save { beside: usize, kept: bool },
    /// A replica is made from the newest snapshot.
    Install(Memory),
    /// Background work.
    Thaw(usize),
}

/// How a machine holds what is saved.
#[derive(Clone, Copy, Debug)]
enum Memory {
    /// It is given every entry.
    Restored,
    /// It is given the files, and has so much memory for what is in them; of the files themselves, so much is in memory.
    Served(u64, u64),
}

fn memory() -> impl Strategy<Value = Memory> {
    let bytes = prop_oneof![Just(0), 1..4000_u64, Just(u64::MAX)];
    let mapped = prop_oneof![Just(0), 1..4000_u64, Just(u64::MAX)];
    prop_oneof![
        Just(Memory::Restored),
        (bytes, mapped).prop_map(|(bytes, mapped)| Memory::Served(bytes, mapped))
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..24_u8).prop_map(|number| format!("{{{}}}{number}", number % 5).into_bytes())
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let value = prop::collection::vec(prop::sample::select(&b"0123456789x"[..]), 0..6);
    let condition = prop::sample::select(vec![Condition::Always, Condition::Absent, Condition::Present]);
    (0..40_u8, key(), key(), value, condition, any::<bool>()).prop_map(
        |(kind, key, other, value, condition, get)| {
            let (key, other, value): (&[u8], &[u8], &[u8]) = (&key, &other, &value);
            let (pairs, keys) = ([key, value, other, b"7"], [key, other]);
            let command = match kind {
                0..=9 => Command::Set { key, value, condition, get },
                10..=15 => Command::Del { keys: List::slice(&keys) },
                16..=19 => Command::Append { key, value },
                20..=22 => Command::IncrBy { key, by: 3 },
                23..=25 => Command::GetDel { key },
                26 | 27 => Command::SetRange { key, offset: 2, value },
                28 | 29 => Command::MSet { pairs: List::slice(&pairs) },
                30 => Command::Flush,
                31 => Command::SetNx { key, value },
                32 => Command::Scan { cursor: 0, then: 5, count: 100, pattern: None, kind: None },
                33 => Command::Keys { pattern: b"*1*" },
                34 => Command::MGet { keys: List::slice(&keys) },
                35 => Command::RandomKey { seed: u64::from(get) },
                36 => Command::SlotLen { slot: Position::of(key).slot() },
                37 => Command::SlotKeys { slot: Position::of(key).slot(), count: 3 },
                38 => Command::Exists { keys: List::slice(&keys) },
                _ => Command::DbSize,
            };
            command.to_vec()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => command().prop_map(Step::Apply),
        3 => (0..9_usize, any::<bool>()).prop_map(|(beside, kept)| Step::Save { beside, kept }),
        1 => memory().prop_map(Step::Install),
        2 => (0..400_usize).prop_map(Step::Thaw),
    ]
}

fn apply(kv: &mut Kv, command: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    assert_eq!(kv.apply(EntryId::default(), command, &mut reply), Applied::Done);
    reply
}

/// A machine, and the files it answers from.
struct Replica {
    kv: Kv,
    shelf: Option<Shelf>,
    /// Of the files, so much is in memory.
    mapped: u64,
}

impl Replica {
    fn empty(bytes_max: u64, mapped: u64) -> Replica {
        Replica { kv: Kv::with_memory(0..SLOT_COUNT, bytes_max), shelf: None, mapped }
    }

    fn restore(files: &[File], memory: Memory) -> Replica {
        let Memory::Served(bytes_max, mapped) = memory else {
            let mut replica = Replica::empty(u64::MAX, u64::MAX);
            for (key, value) in files.iter().flatten() {
                replica.kv.restore_entry(key, value).unwrap();
            }
            replica.kv.restore_end().unwrap();
            return replica;
        };
        let mut replica = Replica::empty(bytes_max, mapped);
        assert!(replica.kv.serves().is_some(), "it is asked when fresh");
        if files.is_empty() {
            replica.kv.restore_end().unwrap();
        } else {
            replica.serve(files);
        }
        replica
    }

    fn serve(&mut self, files: &[File]) {
        let shelf = shelve(files, self.mapped);
        assert!(self.kv.serve(shelf.saved()));
        self.shelf = Some(shelf);
    }

    /// As a shard does it: no write looks at what was not in memory before, no answer counts that missed something.
    fn apply(&mut self, command: &[u8]) -> Vec<u8> {
        let Some(shelf) = &self.shelf else { return apply(&mut self.kv, command) };
        if !Command::decode(command).unwrap().is_write() {
            let answer = shelf.ready(|| {
                let mut reply = Vec::new();
                self.kv.query(command, &mut reply);
                reply
            });
            return answer.unwrap_or_else(|| apply(&mut self.kv, command));
        }
        let is_ready = shelf.ready(|| self.kv.look_ahead(command)).is_some();
        let before = shelf.bytes();
        let reply = apply(&mut self.kv, command);
        assert!(!is_ready || before == shelf.bytes(), "{} looks elsewhere", command.escape_ascii());
        reply
    }

    fn thaw(&mut self, budget_bytes: usize) {
        let Some(shelf) = &self.shelf else {
            let _more = self.kv.thaw(budget_bytes);
            return;
        };
        let (_more, has_missed) = shelf.noting(|| self.kv.thaw(budget_bytes));
        if has_missed {
            shelf.bring();
        }
    }
}

/// The machine that applied all, the newest snapshot of one of the replicas, and the replicas made from snapshots.
struct Group {
    first: Replica,
    files: Vec<File>,
    /// What was applied behind the snapshot.
    behind: Vec<Vec<u8>>,
    replicas: Vec<Replica>,
}

impl Group {
    fn apply(&mut self, command: &[u8]) {
        let reply = self.first.apply(command);
        for replica in &mut self.replicas {
            assert_eq!(replica.apply(command), reply, "{}", command.escape_ascii());
        }
        self.behind.push(command.to_vec());
    }

    /// The newest replica saves; its files are those of the snapshot it was made from, and what it saved since.
    fn save(&mut self, beside: &[Vec<u8>], kept: bool) {
        let machine = &mut self.replicas.last_mut().unwrap_or(&mut self.first).kv;
        let mut frozen = machine.freeze();
        let serves = machine.serves().is_some();
        let (mut file, behind) = (File::new(), std::mem::take(&mut self.behind));
        let mut rest = beside.iter();
        loop {
            let progress = frozen.write(&mut file, 40);
            rest.next().into_iter().for_each(|command| self.apply(command));
            if progress == Progress::Done {
                break;
            }
        }
        rest.for_each(|command| self.apply(command));
        if frozen.changes().is_none() && kept {
            self.files.clear();
        }
        drop(frozen);
        if kept {
            self.files.push(file);
        }
        let machine = self.replicas.last_mut().unwrap_or(&mut self.first);
        machine.kv.saved(kept);
        if kept && serves {
            machine.serve(&self.files);
        }
        if !kept {
            self.behind.splice(0..0, behind);
        }
    }

    fn install(&mut self, memory: Memory) {
        let mut replica = Replica::restore(&self.files, memory);
        self.behind.iter().for_each(|command| drop(replica.apply(command)));
        self.replicas.push(replica);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_was_installed_and_went_on_is_what_applied_all(steps in prop::collection::vec(step(), 0..150), bytes_max in prop_oneof![0..3000_u64, Just(u64::MAX)]) {
        let mut group = Group { first: Replica::empty(bytes_max, bytes_max), files: Vec::new(), behind: Vec::new(), replicas: Vec::new() };
        let mut at = 0;
        while at < steps.len() {
            match &steps[at] {
                Step::Apply(command) => group.apply(command),
                Step::Save { beside, kept } => {
                    let commands = steps[at + 1..].iter().take(*beside).filter_map(|step| match step {
                        Step::Apply(command) => Some(command.clone()),
                        _ => None,
                    });
                    group.save(&commands.collect::<Vec<_>>(), *kept);
                }
                Step::Install(memory) => group.install(*memory),
                Step::Thaw(budget_bytes) => {
                    let machines = group.replicas.iter_mut().chain([&mut group.first]);
                    machines.for_each(|machine| machine.thaw(*budget_bytes));
                }
            }
            at += 1;
        }
        group.install(Memory::Restored);
        group.install(Memory::Served(500, 0));
        for command in [
            Command::Scan { cursor: 0, then: 0, count: 1000, pattern: None, kind: None }.to_vec(),
            Command::Keys { pattern: b"*" }.to_vec(),
            Command::DbSize.to_vec(),
        ] {
            group.apply(&command);
        }
        let counted = |kv: &Kv| (0..SLOT_COUNT).map(|slot| kv.slot_len(slot)).collect::<Vec<_>>();
        let expected = counted(&group.first.kv);
        prop_assert!(group.replicas.iter().all(|replica| counted(&replica.kv) == expected));
    }
}
