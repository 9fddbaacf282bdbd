//! The key-value machine: commands in entries, items in snapshots.

use raft::EntryId;
use ringraft::kv::entry::{Entry, restore_key, save_key};
use ringraft::kv::{Command, Condition, Kv, List, Position};
use ringraft::{Applied, SaveSink, StateMachine};

use crate::feed::{Feed, parts};

/// Commands of one input: some write 16 MiB.
const COMMANDS_MAX: usize = 12;

/// Each part is a command in an entry; an empty one freezes the state, another goes on with its thaw.
pub fn commands(data: &[u8]) {
    let mut feed = Feed(data);
    let mut kv = Kv::new(0..16_384);
    let mut frozen = None;
    for _ in 0..COMMANDS_MAX {
        let bytes = feed.part();
        if bytes.is_empty() && !feed.is_empty() {
            match frozen.take() {
                None => frozen = Some(kv.freeze()),
                Some(_) => drop(kv.thaw(50)),
            }
            continue;
        }
        let decoded = Command::decode(bytes);
        if let Ok(command) = &decoded {
            assert_eq!(command.encoded_bytes(), bytes.len());
            assert_eq!(command.to_vec(), bytes, "a command written again");
        }
        let mut reply = Vec::new();
        kv.query(bytes, &mut reply);
        assert_one_reply(&reply);
        reply.clear();
        let applied = kv.apply(EntryId::default(), bytes, &mut reply);
        assert_eq!(applied == Applied::Done, decoded.is_ok());
        assert_one_reply(&reply);
    }
    drop(frozen);
    assert_saves(&mut kv, &[]);
}

fn assert_one_reply(reply: &[u8]) {
    let read = net::resp::read_reply(reply);
    let whole = matches!(&read, Ok(Some((_, consumed))) if *consumed == reply.len());
    assert!(whole, "not one whole reply: {}", reply[..reply.len().min(200)].escape_ascii());
}

/// Takes what a save writes.
#[derive(Default)]
struct Saved(Vec<(Vec<u8>, Vec<u8>)>);

impl SaveSink for Saved {
    fn begin(&mut self, key: &[u8], _value_bytes: usize) {
        self.0.push((key.to_vec(), Vec::new()));
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.last_mut().expect("begun before").1.extend_from_slice(bytes);
    }
}

/// What was restored already, and what a save adds to it, are the whole state.
fn assert_saves(kv: &mut Kv, restored: &[(Vec<u8>, Vec<u8>)]) {
    let mut saved = Saved::default();
    let mut frozen = kv.freeze();
    while frozen.write(&mut saved, 1 << 20) == ringraft::Progress::More {}
    let below = if frozen.changes().is_some() { restored } else { &[] };
    let mut again = Kv::new(kv.slots());
    for (key, value) in below.iter().chain(&saved.0) {
        again.restore_entry(key, value).expect("what was saved is restored");
    }
    again.restore_end().expect("all of it");
    assert_eq!(again.len(), kv.len(), "a save restored");
}

/// Seeds of [`commands`].
#[must_use]
pub fn command_seeds() -> Vec<Vec<u8>> {
    let (key, value): (&[u8], &[u8]) = (b"key", b"17");
    let list: [&[u8]; 4] = [b"a", b"1", b"key", b"3"];
    let set = Command::Set { key, value, condition: Condition::Absent, get: true };
    let all = [
        set.clone(),
        Command::SetNx { key, value },
        Command::Append { key, value },
        Command::SetRange { key, offset: 9, value },
        Command::IncrBy { key, by: i64::MAX },
        Command::GetDel { key },
        Command::MSet { pairs: List::slice(&list) },
        Command::Del { keys: List::slice(&list) },
        Command::Flush,
        Command::Get { key },
        Command::MGet { keys: List::slice(&list) },
        Command::Exists { keys: List::slice(&list) },
        Command::Type { key },
        Command::StrLen { key },
        Command::GetRange { key, start: i64::MIN, end: i64::MAX },
        Command::Scan { cursor: 0, then: 5, count: u32::MAX, pattern: Some(b"k*"), kind: Some(b"string") },
        Command::Keys { pattern: b"[a-k]?y*" },
        Command::RandomKey { seed: 3 },
        Command::DbSize,
        Command::SlotLen { slot: 12_539 },
        Command::SlotKeys { slot: u16::MAX, count: u32::MAX },
    ];
    let mut seeds: Vec<Vec<u8>> = all.iter().map(|command| parts([set.to_vec(), command.to_vec()])).collect();
    seeds.push(parts(all[..8].iter().flat_map(|command| [command.to_vec(), Vec::new()])));
    seeds
}

/// Keys and values of a snapshot, by turns. A flag in front of each key has it stand where it belongs.
pub fn items(data: &[u8]) {
    let mut feed = Feed(data);
    let mut kv = Kv::new(0..16_384);
    let mut taken = Vec::new();
    while !feed.is_empty() {
        let in_place = feed.flag();
        let (mut key, value) = (feed.part().to_vec(), feed.part());
        if in_place {
            let bare = std::mem::take(&mut key);
            save_key(Position::of(&bare), &bare, &mut key);
        }
        if let Ok((position, bare)) = restore_key(&key) {
            let mut again = Vec::new();
            save_key(position, bare, &mut again);
            assert_eq!(again, key, "a key written again");
        }
        if let Ok(entry) = Entry::restore(value) {
            let mut again = Vec::new();
            entry.save(&mut again);
            assert_eq!(again, value, "a value written again");
        }
        if kv.restore_entry(&key, value).is_ok() {
            taken.push((key, value.to_vec()));
        }
    }
    assert_saves(&mut kv, &taken);
}

/// Seeds of [`items`].
#[must_use]
pub fn item_seeds() -> Vec<Vec<u8>> {
    let item = |key: &[u8], value: &[u8]| [&[1], &*parts([key, value])].concat();
    vec![
        item(b"key", b"\x01\x00value"),
        [item(b"key", b"\x01\x00v"), item(b"key", b"\x00\x00")].concat(),
        item(b"", b"\x01\x01\x07\0\0\0\0\0\0\0v"),
        [&[0], &*parts([&b"\0\0\0\0\0\0key"[..], b"\x02\x00"])].concat(),
    ]
}
