//! What the reading commands answer.

use super::command::Command;
use super::glob;
use super::hash::Position;
use super::machine::Kv;
use net::resp::{Proto, reply};

/// How many keys one SCAN looks at, whatever COUNT it asks for, so that no scan holds up the shard.
const SCAN_COUNT_MAX: u32 = 16_384;

/// The longest result of one command on one group: what a frame between nodes carries, and above the longest value.
pub(super) const RESULT_BYTES_MAX: usize = raft::COMMAND_BYTES_MAX;
const _: () = assert!(RESULT_BYTES_MAX > super::command::VALUE_BYTES_MAX + 64);

const TOO_MUCH: &str = "ERR the result is longer than 32 MiB: ask for fewer keys at a time";

impl Kv {
    /// Answers a reading command. A writing one is refused and changes nothing.
    pub fn read(&self, command: &Command<'_>, out: &mut Vec<u8>) {
        match *command {
            Command::Get { key } => get(self.get(key), out),
            Command::MGet { ref keys } => {
                let start = out.len();
                reply::array_header(out, keys.len());
                for key in keys.iter() {
                    get(self.get(key), out);
                    if out.len() - start > RESULT_BYTES_MAX {
                        out.truncate(start);
                        return reply::error(out, format_args!("{TOO_MUCH}"));
                    }
                }
            }
            Command::Exists { ref keys } => {
                count(out, keys.iter().filter(|key| self.get(key).is_some()).count());
            }
            Command::Type { key } => {
                reply::simple(out, if self.get(key).is_some() { "string" } else { "none" });
            }
            Command::StrLen { key } => count(out, self.get(key).map_or(0, <[u8]>::len)),
            Command::GetRange { key, start, end } => {
                let value = self.get(key).unwrap_or_default();
                reply::bulk(out, range(value, start, end));
            }
            Command::Scan { cursor, then, count, pattern, kind } => {
                self.scan(cursor, then, count, (pattern, kind), out);
            }
            Command::Keys { pattern } => self.keys(pattern, out),
            Command::RandomKey { seed } => self.random_key(seed, out),
            Command::DbSize => count(out, self.len()),
            Command::SlotLen { slot } => count(out, self.slot_len(slot)),
            Command::SlotKeys { slot, count } => self.slot_keys(slot, count, out),
            _ => reply::error(out, format_args!("ERR a write was sent as a query")),
        }
    }

    fn scan(
        &self,
        cursor: u64,
        then: u64,
        count: u32,
        (pattern, kind): (Option<&[u8]>, Option<&[u8]>),
        out: &mut Vec<u8>,
    ) {
        let pattern = pattern.filter(|pattern| pattern != b"*");
        let all_of_kind = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(b"string"));
        let mut left = count.clamp(1, SCAN_COUNT_MAX) as usize;
        let mut next = then;
        let mut found = Array::default();
        for position in self.layers().positions(Position::from_cursor(cursor)..) {
            if left == 0 {
                next = position.cursor();
                break;
            }
            let keys = self.layers().at(position);
            left = left.saturating_sub(keys.len().max(1));
            for key in keys {
                if all_of_kind && pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                    found.push(key);
                }
            }
        }
        reply::array_header(out, 2);
        reply::bulk(out, next.to_string().as_bytes());
        found.write(out);
    }

    fn keys(&self, pattern: &[u8], out: &mut Vec<u8>) {
        let all = pattern == b"*";
        let mut found = Array::default();
        for position in self.layers().positions(Position::slot_start(0)..) {
            for key in self.layers().at(position) {
                if all || glob::matches(pattern, key) {
                    found.push(key);
                }
            }
        }
        found.write(out);
    }

    fn slot_keys(&self, slot: u16, count: u32, out: &mut Vec<u8>) {
        let mut found = Array::default();
        for position in self.layers().positions(Position::slot_start(slot)..) {
            if position.slot() != slot || found.len >= count as usize {
                break;
            }
            for key in self.layers().at(position) {
                if found.len < count as usize {
                    found.push(key);
                }
            }
        }
        found.write(out);
    }

    /// Picks a slot by how many keys it has, then the first key from a random hash on. So every key can come,
    /// though not all equally often.
    fn random_key(&self, seed: u64, out: &mut Vec<u8>) {
        if self.is_empty() {
            reply::array_header(out, 1);
            return reply::integer(out, 0);
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut nth = rng.usize(..self.len());
        let mut slot = self.slots().start;
        for candidate in self.slots() {
            slot = candidate;
            match nth.checked_sub(self.slot_len(candidate)) {
                None => break,
                Some(rest) => nth = rest,
            }
        }
        let start = Position::slot_start(slot);
        let from = Position::from_cursor(start.cursor() | u64::from(rng.u32(..)));
        let in_slot = self.layers().positions(from..).take_while(|position| position.slot() == slot);
        let keys = in_slot
            .chain(self.layers().positions(start..))
            .chain(self.layers().positions(Position::slot_start(0)..))
            .map(|position| self.layers().at(position))
            .find(|keys| !keys.is_empty());
        // A key exists, so some position has it; but what is not in memory seems not to be there, and then this is asked again.
        let Some(keys) = keys else {
            reply::array_header(out, 1);
            return reply::integer(out, 0);
        };
        reply::array_header(out, 2);
        count(out, self.len());
        reply::bulk(out, keys[rng.usize(..keys.len())]);
    }
}

fn get(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => reply::bulk(out, value),
        None => reply::null(out, Proto::Resp2),
    }
}

/// Answers a count of things in memory.
pub(super) fn count(out: &mut Vec<u8>, count: usize) {
    reply::integer(out, i64::try_from(count).expect("memory holds less than 2^63 of anything"));
}

/// The bytes `start..=end` of a value; negative numbers count from its end, and what lies outside is cut.
fn range(value: &[u8], start: i64, end: i64) -> &[u8] {
    let len = i64::try_from(value.len()).expect("a value is far below 2^63 bytes");
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_front = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (from_front(start.max(-len)), from_front(end.max(-len)).min(len - 1));
    if start > end {
        return &[];
    }
    let at = |at: i64| usize::try_from(at).expect("within the value");
    &value[at(start)..=at(end)]
}

/// An array reply whose length is known at its end.
#[derive(Default)]
struct Array {
    len: usize,
    body: Vec<u8>,
}

impl Array {
    fn push(&mut self, bulk: &[u8]) {
        self.len += 1;
        if self.body.len() <= RESULT_BYTES_MAX {
            reply::bulk(&mut self.body, bulk);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.body.len() > RESULT_BYTES_MAX - 64 {
            return reply::error(out, format_args!("{TOO_MUCH}"));
        }
        reply::array_header(out, self.len);
        out.extend_from_slice(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_value() {
        let cases: [(i64, i64, &[u8]); 12] = [
            (0, 3, b"This"),
            (0, -1, b"This is"),
            (-2, -1, b"is"),
            (5, 100, b"is"),
            (7, 100, b""),
            (3, 2, b""),
            (-1, -2, b""),
            (-100, 3, b"This"),
            (-100, -100, b"T"),
            (i64::MIN, i64::MAX, b"This is"),
            (i64::MAX, i64::MIN, b""),
            (0, i64::MIN, b"T"),
        ];
        for (start, end, expected) in cases {
            assert_eq!(range(b"This is", start, end), expected, "{start}..={end}");
            assert_eq!(range(b"", start, end), b"");
        }
    }
}
