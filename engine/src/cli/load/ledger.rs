//! The record against which a server is judged: what was written, what was acknowledged.
//!
//! Every key belongs to one thread, and has at most one write under way. Its values carry a sequence that
//! only rises. So at any time the key must hold a value from the last acknowledged to the last attempted:
//!
//! - an older value, or none: an acknowledged write was lost (or a read was stale),
//! - a newer or a foreign one: the server made it up.
//!
//! A write whose outcome is unknown (broken link, time ran out, `-TIMEOUT`) may take effect at any later time,
//! even after the connection is gone. Its key is therefore *in doubt* and written no more: so the rule above
//! stays exact without a guess how late such a write can come.
//!
//! Not checked: the order of writes to different keys, and anything another client does to these keys.

use super::encode;
use super::verdict::{Finding, Verdict, Wrong};
use std::ops::Range;

/// The smallest value that can be verified: run, key and sequence with their separators.
pub const VALUE_BYTES_MIN: usize = SEQUENCE_AT.end + 1;
const RUN_AT: Range<usize> = 0..10;
const KEY_AT: Range<usize> = 11..23;
const SEQUENCE_AT: Range<usize> = 24..34;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server promised it.
    Acknowledged,
    /// It certainly did not and will not take effect.
    Refused,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// The keys of one thread: `key % threads == thread`.
#[derive(Debug, Clone)]
pub struct Ledger {
    run: u32,
    thread: u64,
    threads: u64,
    keys: Vec<Key>,
    filler: Vec<u8>,
    acknowledged: u64,
    reads: Finding,
    read_back: Finding,
}

#[derive(Debug, Clone, Copy, Default)]
struct Key {
    acknowledged: u32,
    attempted: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Writing,
    InDoubt,
}

impl Ledger {
    /// A ledger for thread `thread` of `threads` and its part of `keys` keys. Values bear `run`; `filler` is
    /// what stands in every value beyond [`VALUE_BYTES_MIN`], and has the length of a whole value.
    pub fn new(run: u32, thread: u64, threads: u64, keys: u64, filler: &[u8]) -> Ledger {
        assert!(filler.len() >= VALUE_BYTES_MIN, "the workload was checked");
        let own = (keys + threads - 1 - thread) / threads;
        let own = usize::try_from(own).expect("keys fit into memory");
        Ledger {
            run,
            thread,
            threads,
            keys: vec![Key::default(); own],
            filler: filler.to_vec(),
            acknowledged: 0,
            reads: Finding::default(),
            read_back: Finding::default(),
        }
    }

    /// The own key nearest to `key`: how a thread draws from its own part of a common distribution.
    pub fn own(&self, key: u64) -> u64 {
        let own = key - key % self.threads + self.thread;
        if self.place(own) < self.keys.len() { own } else { self.thread }
    }

    /// A key that may be written now, `key` if possible; none if the few after it cannot either.
    pub fn writable(&self, key: u64) -> Option<u64> {
        const TRIES: usize = 64;
        let start = self.place(key);
        let places = (start..start + TRIES).map(|place| place % self.keys.len());
        let mut free = places.filter(|place| self.keys[*place].state == State::Free);
        free.next().map(|place| place as u64 * self.threads + self.thread)
    }

    /// A write of `key` begins: its sequence.
    pub fn attempt(&mut self, key: u64) -> u32 {
        let key = self.key(key);
        assert_eq!(key.state, State::Free, "one write per key at a time");
        key.state = State::Writing;
        key.attempted += 1;
        key.attempted
    }

    /// Turns `value`, which holds the filler or any other value of this run, into that of `key` at `sequence`.
    pub fn fill(&self, key: u64, sequence: u32, value: &mut [u8]) {
        value[..VALUE_BYTES_MIN].copy_from_slice(&self.head(key, sequence));
    }

    fn head(&self, key: u64, sequence: u32) -> [u8; VALUE_BYTES_MIN] {
        let mut head = [b':'; VALUE_BYTES_MIN];
        encode::digits(&mut head[RUN_AT], u64::from(self.run));
        encode::digits(&mut head[KEY_AT], key);
        encode::digits(&mut head[SEQUENCE_AT], u64::from(sequence));
        head
    }

    /// A write of `key` ended.
    pub fn settle(&mut self, key: u64, sequence: u32, outcome: Outcome) {
        self.acknowledged += u64::from(outcome == Outcome::Acknowledged);
        let key = self.key(key);
        assert_eq!((key.state, key.attempted), (State::Writing, sequence), "one write per key at a time");
        key.state = if outcome == Outcome::Unknown { State::InDoubt } else { State::Free };
        if outcome == Outcome::Acknowledged {
            key.acknowledged = sequence;
        }
    }

    /// What a read of `key` that begins now must at least return.
    pub fn floor(&self, key: u64) -> u32 {
        self.keys[self.place(key)].acknowledged
    }

    /// A read of `key` that began when `floor` was acknowledged returned `value`.
    pub fn read(&mut self, key: u64, floor: u32, value: Option<&[u8]>) {
        let wrong = self.judge(key, floor, value);
        self.reads.add(wrong);
    }

    /// The final read of `key` returned `value`.
    pub fn read_back(&mut self, key: u64, value: Option<&[u8]>) {
        let wrong = self.judge(key, self.floor(key), value);
        self.read_back.add(wrong);
    }

    fn judge(&self, key: u64, at_least: u32, value: Option<&[u8]>) -> Option<Wrong> {
        let at_most = self.keys[self.place(key)].attempted;
        let found = match value {
            None => Some(0),
            Some(value) => self.sequence(key, value),
        };
        let right = found.is_some_and(|found| (at_least..=at_most).contains(&found));
        (!right).then_some(Wrong { key, found, at_least, at_most })
    }

    /// The sequence in `value`, if every other byte is as this run writes it for `key`.
    fn sequence(&self, key: u64, value: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(value.get(SEQUENCE_AT)?).ok()?;
        let sequence = text.parse().ok().filter(|sequence| *sequence > 0)?;
        let same = value.len() == self.filler.len()
            && value[..VALUE_BYTES_MIN] == self.head(key, sequence)
            && value[VALUE_BYTES_MIN..] == self.filler[VALUE_BYTES_MIN..];
        same.then_some(sequence)
    }

    /// What was found so far.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            keys: self.keys.len() as u64,
            acknowledged: self.acknowledged,
            in_doubt: self.keys.iter().filter(|key| key.state == State::InDoubt).count() as u64,
            reads: self.reads.clone(),
            read_back: self.read_back.clone(),
        }
    }

    fn key(&mut self, key: u64) -> &mut Key {
        let place = self.place(key);
        &mut self.keys[place]
    }

    fn place(&self, key: u64) -> usize {
        usize::try_from(key / self.threads).expect("keys fit into memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const FILLER: &[u8] = &[b'x'; 50];

    /// A server that can misbehave on purpose.
    struct Fake {
        ledger: Ledger,
        values: HashMap<u64, Vec<u8>>,
    }

    impl Fake {
        fn new(keys: u64) -> Fake {
            Fake { ledger: Ledger::new(77, 0, 1, keys, FILLER), values: HashMap::new() }
        }

        fn write(&mut self, key: u64, takes_effect: bool, outcome: Outcome) {
            let sequence = self.ledger.attempt(key);
            let mut value = FILLER.to_vec();
            self.ledger.fill(key, sequence, &mut value);
            if takes_effect {
                self.values.insert(key, value);
            }
            self.ledger.settle(key, sequence, outcome);
        }

        fn verdict(mut self) -> Verdict {
            for key in 0..self.ledger.keys.len() as u64 {
                self.ledger.read_back(key, self.values.get(&key).map(Vec::as_slice));
            }
            self.ledger.verdict()
        }
    }

    #[test]
    fn an_honest_server_is_clean() {
        let mut fake = Fake::new(4);
        for _ in 0..3 {
            fake.write(0, true, Outcome::Acknowledged);
        }
        fake.write(1, true, Outcome::Unknown);
        fake.write(2, true, Outcome::Acknowledged);
        fake.write(2, false, Outcome::Refused);
        fake.write(2, false, Outcome::Unknown);
        let verdict = fake.verdict();
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.keys, verdict.acknowledged, verdict.in_doubt), (4, 4, 2));
        assert_eq!(verdict.read_back.checked, 4);
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut fake = Fake::new(2);
        fake.write(0, true, Outcome::Acknowledged);
        fake.write(0, false, Outcome::Acknowledged);
        fake.write(1, false, Outcome::Acknowledged);
        let verdict = fake.verdict();
        assert!(!verdict.is_clean());
        let wrong = |key, found, last| Wrong { key, found: Some(found), at_least: last, at_most: last };
        assert_eq!(verdict.read_back.examples, [wrong(0, 1, 2), wrong(1, 0, 1)]);
    }

    #[test]
    fn a_value_from_elsewhere_is_found() {
        let mut other = Fake::new(2);
        other.write(1, true, Outcome::Acknowledged);
        let mut fake = Fake::new(2);
        fake.write(0, true, Outcome::Acknowledged);
        fake.write(1, true, Outcome::Acknowledged);
        fake.values.insert(0, other.values.remove(&1).unwrap());
        fake.values.get_mut(&1).unwrap()[45] ^= 1;
        let verdict = fake.verdict();
        assert_eq!(verdict.read_back.wrong, 2);
        assert!(verdict.read_back.examples.iter().all(|wrong| wrong.found.is_none()));
    }

    #[test]
    fn a_value_never_written_is_found() {
        let mut fake = Fake::new(1);
        fake.write(0, true, Outcome::Acknowledged);
        let mut value = FILLER.to_vec();
        fake.ledger.fill(0, 2, &mut value);
        fake.values.insert(0, value);
        assert_eq!(fake.verdict().read_back.examples[0].found, Some(2));
    }

    #[test]
    fn a_stale_read_is_found_by_what_was_acknowledged_when_it_began() {
        let mut fake = Fake::new(1);
        fake.write(0, true, Outcome::Acknowledged);
        let (old, floor) = (fake.values[&0].clone(), fake.ledger.floor(0));
        fake.write(0, true, Outcome::Acknowledged);
        fake.ledger.read(0, floor, Some(&old));
        assert_eq!(
            fake.ledger.verdict().reads.wrong,
            0,
            "the read began before the second write was acknowledged"
        );
        fake.ledger.read(0, fake.ledger.floor(0), Some(&old));
        assert_eq!(fake.ledger.verdict().reads.wrong, 1);
        assert!(!fake.verdict().is_clean());
    }

    #[test]
    fn keys_in_doubt_or_under_way_are_not_written() {
        let mut ledger = Ledger::new(1, 1, 3, 8, FILLER); // keys 1, 4, 7
        assert_eq!(ledger.keys.len(), 3);
        assert_eq!([0, 1, 2, 5, 7].map(|key| ledger.own(key)), [1, 1, 1, 4, 7]);
        let sequence = ledger.attempt(4);
        assert_eq!(ledger.writable(4), Some(7));
        ledger.settle(4, sequence, Outcome::Unknown);
        assert_eq!(ledger.writable(4), Some(7));
        for key in [7, 1] {
            ledger.attempt(key);
        }
        assert_eq!(ledger.writable(4), None);
    }

    #[test]
    fn every_key_has_one_owner() {
        let ledgers: Vec<Ledger> = (0..3).map(|thread| Ledger::new(1, thread, 3, 10, FILLER)).collect();
        assert_eq!(ledgers.iter().map(|ledger| ledger.keys.len()).sum::<usize>(), 10);
        for ledger in &ledgers {
            for key in 0..10 {
                assert!(ledger.place(ledger.own(key)) < ledger.keys.len());
                assert!(ledger.own(key) < 10);
            }
        }
    }

    #[test]
    fn a_run_that_could_not_read_everything_is_not_clean() {
        let mut ledger = Ledger::new(1, 0, 1, 2, FILLER);
        ledger.read_back(0, None);
        assert!(!ledger.verdict().is_clean());
    }
}
