//! The machine against a sorted map, through freezes, merges, flushes, saves and restores.

use super::*;
use crate::kv::{Condition, List, SLOT_COUNT, key_slot};
use crate::state_machine::SaveSink;
use std::collections::BTreeMap;

type Model = BTreeMap<(Position, Vec<u8>), Vec<u8>>;

fn run(kv: &mut Kv, command: &Command<'_>) -> Vec<u8> {
    let mut reply = Vec::new();
    assert_eq!(kv.apply(EntryId::default(), &command.to_vec(), &mut reply), Applied::Done);
    reply
}

fn read(kv: &Kv, command: &Command<'_>) -> Vec<u8> {
    let mut reply = Vec::new();
    kv.query(&command.to_vec(), &mut reply);
    reply
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    reply::bulk(&mut out, bytes);
    out
}

/// The keys that a whole SCAN finds, in the order found.
fn scan_all(kv: &Kv, count: u32) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut cursor = 0;
    loop {
        let scan = Command::Scan { cursor, then: 0, count, pattern: None, kind: None };
        let (next, found) = split_scan(&read(kv, &scan));
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            return keys;
        }
    }
}

fn split_scan(reply: &[u8]) -> (u64, Vec<Vec<u8>>) {
    let text = String::from_utf8(reply.to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some("*2"));
    lines.next();
    let cursor = lines.next().unwrap().parse().unwrap();
    let len: usize = lines.next().unwrap()[1..].parse().unwrap();
    let keys: Vec<Vec<u8>> = lines.skip(1).step_by(2).map(|key| key.as_bytes().to_vec()).collect();
    assert_eq!(keys.len(), len);
    (cursor, keys)
}

fn check_all(kv: &Kv, model: &Model) {
    assert_eq!(kv.len(), model.len());
    assert_eq!(read(kv, &Command::DbSize), format!(":{}\r\n", model.len()).into_bytes());
    for count in [1, 7, 1000] {
        assert!(scan_all(kv, count).iter().eq(model.keys().map(|(_, key)| key)), "scan by {count}");
    }
    let mut slots: BTreeMap<u16, usize> = BTreeMap::new();
    for (position, _) in model.keys() {
        *slots.entry(position.slot()).or_default() += 1;
    }
    assert!(slots.iter().all(|(&slot, &len)| kv.slot_len(slot) == len));
    assert_eq!((0..SLOT_COUNT).map(|slot| kv.slot_len(slot)).sum::<usize>(), model.len());
}

fn saved_model(saved: &[(Vec<u8>, Vec<u8>)]) -> Model {
    let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let (position, key) = restore_key(key).unwrap();
        ((position, key.to_vec()), Entry::restore(value).unwrap().value)
    };
    entries_of(saved).map(entry).collect()
}

/// Without the counts.
fn entries_of(saved: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    saved.iter().filter(|(key, _)| key != COUNTS_KEY)
}

/// What one image hands out.
type Saved = Vec<(Vec<u8>, Vec<u8>)>;

/// A save that is under way: what it must make of the snapshot before it, and what it has so far.
struct Save {
    frozen: Box<dyn Frozen>,
    expected: Model,
    saved: Saved,
}

impl Save {
    fn step(&mut self, budget_bytes: usize) -> Progress {
        self.frozen.write(&mut self.saved, budget_bytes)
    }

    /// Adds what was saved to the files of a snapshot, oldest first.
    fn end(self, snapshot: &[Saved]) -> Vec<Saved> {
        assert!(self.saved.is_sorted_by(|a, b| a.0 < b.0), "saved keys ascend as bytes");
        let is_deleted = self.frozen.changes();
        let deletes = entries_of(&self.saved).any(|(_, value)| !Entry::restore(value).unwrap().is_live());
        assert!(is_deleted.is_some() || !deletes, "a whole state has no deleted keys");
        for (_, value) in entries_of(&self.saved) {
            let is_live = Entry::restore(value).unwrap().is_live();
            assert!(is_deleted.is_none_or(|is_deleted| is_deleted(value) != is_live));
        }
        let below = if is_deleted.is_some() { snapshot } else { &[] };
        let files: Vec<Saved> = below.iter().cloned().chain([self.saved]).collect();
        check_all(&restored(&files), &self.expected);
        files
    }
}

fn restored(files: &[Saved]) -> Kv {
    let mut restored = Kv::new(0..SLOT_COUNT);
    for (key, value) in files.iter().flatten() {
        restored.restore_entry(key, value).unwrap();
    }
    restored.restore_end().unwrap();
    restored
}

fn random_write(rng: &mut fastrand::Rng, kv: &mut Kv, model: &mut Model) {
    let key = format!("k{}{{{}}}", rng.u32(..400), rng.u32(..50)).into_bytes();
    let place = (Position::of(&key), key.clone());
    let value = vec![rng.u8(b'a'..=b'z'); rng.usize(..40)];
    match rng.u32(..12) {
        0..=4 => {
            let set = Command::Set { key: &key, value: &value, condition: Condition::Always, get: false };
            assert_eq!(run(kv, &set), b"+OK\r\n");
            model.insert(place, value);
        }
        5..=7 => {
            let existed = model.remove(&place).is_some();
            let twice: [&[u8]; 2] = [&key, &key];
            let del = Command::Del { keys: List::slice(&twice) };
            assert_eq!(run(kv, &del), format!(":{}\r\n", u8::from(existed)).into_bytes());
        }
        8 => {
            let old = model.remove(&place);
            let expected = old.map_or(b"$-1\r\n".to_vec(), |old| bulk(&old));
            assert_eq!(run(kv, &Command::GetDel { key: &key }), expected);
        }
        9 | 10 => {
            let slot = model.entry(place).or_default();
            slot.extend_from_slice(&value);
            let len = slot.len();
            let append = Command::Append { key: &key, value: &value };
            assert_eq!(run(kv, &append), format!(":{len}\r\n").into_bytes());
        }
        _ => {
            let expected = model.get(&place).map_or(b"$-1\r\n".to_vec(), |value| bulk(value));
            assert_eq!(read(kv, &Command::Get { key: &key }), expected);
        }
    }
}

#[test]
fn machine_agrees_with_a_sorted_map_through_saves_merges_and_flushes() {
    for seed in 0..8 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut kv = Kv::new(0..SLOT_COUNT);
        let mut model = Model::new();
        let mut save: Option<Save> = None;
        let (mut snapshot, mut deltas) = (Vec::new(), 0);
        for step in 0..6000 {
            random_write(&mut rng, &mut kv, &mut model);
            if rng.u32(..2000) == 0 {
                assert_eq!(run(&mut kv, &Command::Flush), b"+OK\r\n");
                model.clear();
            }
            if save.is_none() && rng.u32(..300) == 0 {
                // Often while the last merge is unfinished: it is then finished at once.
                save = Some(Save { frozen: kv.freeze(), expected: model.clone(), saved: Vec::new() });
            }
            let done = |going: &mut Save| going.step(rng.usize(..200)) == Progress::Done;
            if let Some(whole) = save.take_if(done) {
                deltas += u32::from(whole.frozen.changes().is_some());
                let files = whole.end(&snapshot);
                // A save may come to nothing; what it had is in the next one.
                let kept = rng.u32(..3) > 0;
                kv.saved(kept);
                if rng.u32(..9) == 0 {
                    kv.forget_saved(); // the files are damaged
                    snapshot = Vec::new();
                    continue;
                }
                if kept {
                    snapshot = files;
                }
            }
            if rng.u32(..1500) == 0 && save.is_none() && !snapshot.is_empty() {
                // A restart: what no save has is applied once more.
                let mut again = restored(&snapshot);
                for (_, key) in model.keys() {
                    let value = model[&(Position::of(key), key.clone())].clone();
                    again.put(key, &value);
                }
                let gone: Vec<Vec<u8>> =
                    scan_all(&again, 1000).into_iter().filter(|key| kv.get(key).is_none()).collect();
                gone.iter().for_each(|key| assert!(again.remove(key)));
                kv = again;
            }
            if rng.u32(..3) == 0 {
                let _ = kv.thaw(rng.usize(..600));
            }
            if step % 500 == 0 {
                check_all(&kv, &model);
            }
        }
        assert!(deltas > 5, "saves write changes: {deltas}");
        if save.take().is_some() {
            kv.saved(false);
        }
        drop(kv.freeze());
        kv.saved(true);
        while kv.thaw(1 << 16) == Progress::More {}
        assert!(!kv.wants_thaw());
        check_all(&kv, &model);
        let bytes: usize = model.iter().map(|((_, key), value)| key.len() + value.len()).sum();
        assert!(
            kv.state_bytes() >= bytes as u64 && kv.state_bytes() <= bytes as u64 + 200 * model.len() as u64
        );
    }
}

#[test]
fn a_dropped_save_leaves_nothing_behind() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    for number in 0..1000_u32 {
        kv.put(&number.to_le_bytes(), b"value");
    }
    let before = kv.state_bytes();
    let mut frozen = kv.freeze();
    assert!(!kv.wants_thaw(), "nothing can be done while the image is read");
    assert_eq!(kv.thaw(1 << 20), Progress::Done);
    assert_eq!(frozen.write(&mut Vec::new(), 1), Progress::More);
    run(&mut kv, &Command::Flush);
    kv.put(b"one", b"1");
    assert_eq!(frozen.write(&mut Vec::new(), 1 << 20), Progress::Done);
    assert!(kv.state_bytes() > before, "the image counts while it lives");
    drop(frozen);
    kv.saved(true);
    while kv.thaw(1000) == Progress::More {}
    assert_eq!((kv.len(), kv.state_bytes() < 200), (1, true));
}

/// Counts what one slice hands out.
#[derive(Default)]
struct Counting {
    saved: Vec<(Vec<u8>, Vec<u8>)>,
    slice_bytes: usize,
}

impl SaveSink for Counting {
    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.slice_bytes += key.len();
        self.saved.begin(key, value_bytes);
    }

    fn part(&mut self, bytes: &[u8]) {
        self.slice_bytes += bytes.len();
        self.saved.part(bytes);
    }
}

#[test]
fn slices_of_a_save_are_bounded_even_in_the_middle_of_a_value() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    let mut model = Model::new();
    for (number, len) in [0, 5, 65_536, 65_537, 300_000, 1_000_000].into_iter().enumerate() {
        let (key, value) = (vec![b'k'; number], vec![number.to_le_bytes()[0]; len]);
        kv.put(&key, &value);
        model.insert((Position::of(&key), key), value);
    }
    for budget_bytes in [1, 1000, 65_536, 100_000, 1 << 30] {
        // No save is said to be kept: each has everything.
        let mut frozen = kv.freeze();
        let mut sink = Counting::default();
        // The largest key, head and value that are never parted.
        let slice_bytes_max = budget_bytes.max(6 + 5 + 2 + 65_536);
        while frozen.write(&mut sink, budget_bytes) == Progress::More {
            assert!(
                sink.slice_bytes <= slice_bytes_max + 65_536 + 13,
                "{} of {budget_bytes}",
                sink.slice_bytes
            );
            assert!(sink.slice_bytes > 0, "every slice moves on");
            sink.slice_bytes = 0;
        }
        drop(frozen);
        assert_eq!(saved_model(&sink.saved), model, "budget {budget_bytes}");
    }
}

#[test]
#[should_panic(expected = "a second image")]
fn two_images_at_once_are_a_bug() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    let _image = kv.freeze();
    let _second = kv.freeze();
}

#[test]
fn unknown_commands_change_nothing_and_say_so() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    kv.put(b"a", b"1");
    for bytes in [&b"\x3f"[..], b"\x01\x03\x01a\x01b", b"\x03\x05a", b""] {
        let mut reply = Vec::new();
        assert_eq!(kv.apply(EntryId::default(), bytes, &mut reply), Applied::Unknown);
        assert!(reply.starts_with(b"-ERR this node is too old"));
    }
    assert_eq!(read(&kv, &Command::Get { key: b"a" }), bulk(b"1"));
    let write = Command::Del { keys: List::slice(&[b"a"]) };
    assert!(read(&kv, &write).starts_with(b"-ERR"));
    assert_eq!(kv.len(), 1);
}

#[test]
fn restoring_refuses_what_no_save_wrote() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    assert!(kv.restore_entry(b"\0\0\0\0\0\0key", b"\x01\x00v").is_err());
    let key = [&Position::of(b"key").to_sort_bytes()[..], b"key"].concat();
    assert!(kv.restore_entry(&key, b"\x01\x01\x01\0\0\0\0\0\0\0v").is_err(), "expiry is not known yet");
    assert!(kv.restore_entry(&key, b"\x07\x00v").is_err());
    kv.restore_entry(&key, b"\x01\x00v").unwrap();
    assert_eq!(read(&kv, &Command::Get { key: b"key" }), bulk(b"v"));
}

#[test]
fn random_keys_reach_every_key_even_in_one_slot() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    assert_eq!(read(&kv, &Command::RandomKey { seed: 1 }), b"*1\r\n:0\r\n");
    let keys: Vec<String> =
        (0..20).map(|n| if n < 10 { format!("{{t}}{n}") } else { format!("{n}") }).collect();
    keys.iter().for_each(|key| assert!(!kv.put(key.as_bytes(), b"")));
    let _image = kv.freeze();
    kv.remove(b"{t}0");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..4000 {
        let reply = read(&kv, &Command::RandomKey { seed });
        seen.insert(String::from_utf8(reply).unwrap());
    }
    assert_eq!(seen.len(), 19);
    assert!(seen.iter().all(|reply| reply.starts_with("*2\r\n:19\r\n$") && !reply.contains("{t}0")));
}

#[test]
fn scan_goes_on_with_the_cursor_it_was_given_for_the_end() {
    let mut kv = Kv::new(0..100);
    assert_eq!(
        split_scan(&read(&kv, &Command::Scan { cursor: 0, then: 77, count: 5, pattern: None, kind: None })),
        (77, vec![])
    );
    for number in 0..200_000_u32 {
        let key = number.to_string();
        if key_slot(key.as_bytes()) < 100 {
            kv.put(key.as_bytes(), b"");
        }
    }
    let none = Command::Scan { cursor: 0, then: 0, count: 1 << 20, pattern: None, kind: Some(b"list") };
    assert_eq!(split_scan(&read(&kv, &none)), (0, vec![]));
    let pattern =
        Command::Scan { cursor: 0, then: 9, count: 1 << 20, pattern: Some(b"1*"), kind: Some(b"STRING") };
    let (next, keys) = split_scan(&read(&kv, &pattern));
    assert_eq!(next, 9);
    assert!(!keys.is_empty() && keys.iter().all(|key| key[0] == b'1'));
    let slot_keys = read(&kv, &Command::SlotKeys { slot: 50, count: 3 });
    assert!(slot_keys.starts_with(b"*3\r\n") && kv.slot_len(50) > 3);
    assert!(read(&kv, &Command::SlotKeys { slot: 101, count: 3 }).starts_with(b"*0\r\n"));
}

#[test]
fn large_values_come_in_rounds_that_fit_memory() {
    let mut kv = Kv::new(0..SLOT_COUNT);
    let (value, mut reply) = (vec![7; 1 << 20], Vec::new());
    let keys: Vec<Vec<u8>> = (0..40).map(|number| format!("key {number}").into_bytes()).collect();
    for key in &keys {
        kv.execute(
            &Command::Set { key, value: &value, condition: Condition::Always, get: false },
            &mut reply,
        );
    }
    let mut save = crate::kv::test_files::Entries::new();
    let mut frozen = kv.freeze();
    while frozen.write(&mut save, 1 << 20) == Progress::More {}
    drop(frozen);
    let shelf = crate::kv::test_files::shelve(&[save], u64::MAX);
    let mut served = Kv::with_memory(0..SLOT_COUNT, 0);
    assert!(served.serve(shelf.saved()));
    let missing = |served: &Kv| keys.iter().filter(|key| served.get(key).is_none()).count();
    assert_eq!(shelf.look(|| missing(&served)), Err(40), "of a file that was just opened");
    shelf.bring();
    let left = shelf.look(|| missing(&served)).unwrap_err();
    assert!((8..=10).contains(&left) && shelf.bytes() <= 33 << 20, "{left} are left of 40, each of a MiB");
    shelf.bring();
    assert_eq!(shelf.look(|| missing(&served)), Ok(0));
}
