//! SETs that are repeated until they are acknowledged, without the connections that carry them.

use crate::cli::resp::{self, Reply};
use crate::kv::key_slot;

/// A batch is full once it has so many keys: half of what a node takes of one connection at a time.
const BATCH_KEYS_MAX: usize = 512;
/// Or once it has so many bytes: what a node takes of one connection at a time. One key may go beyond it.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An encoded SET.
struct Set {
    slot: u16,
    request: Vec<u8>,
    /// Of key and value.
    bytes: u64,
}

/// What became of a SET.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum Answer {
    /// It is acknowledged.
    Stored,
    /// Not, or perhaps not: as it may be given twice, it is given again.
    Again(String),
    /// It never will be.
    Refused(String),
}

/// SETs that are not acknowledged so far.
#[derive(Default)]
pub(in crate::cli) struct Batch {
    sets: Vec<Set>,
    bytes: usize,
}

impl Batch {
    /// Adds a key. Whether the batch is full.
    pub(in crate::cli) fn add(&mut self, key: &[u8], value: &[u8]) -> bool {
        let mut request = Vec::with_capacity(key.len() + value.len() + 64);
        resp::encode(&mut request, &[b"SET", key, value]);
        self.bytes += request.len();
        self.sets.push(Set { slot: key_slot(key), request, bytes: (key.len() + value.len()) as u64 });
        self.sets.len() >= BATCH_KEYS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// How many are left.
    pub(in crate::cli) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The hash slot of the key at a place.
    pub(in crate::cli) fn slot(&self, place: usize) -> u16 {
        self.sets[place].slot
    }

    /// The requests at these places, in this order.
    pub(in crate::cli) fn requests(&self, places: &[usize]) -> Vec<u8> {
        let requests: Vec<&[u8]> = places.iter().map(|place| &self.sets[*place].request[..]).collect();
        requests.concat()
    }

    /// Keeps what is not `stored`, by its place. Answers the bytes of keys and values that are.
    pub(in crate::cli) fn keep_unstored(&mut self, stored: &[bool]) -> u64 {
        let (mut place, mut done) = (0, 0);
        self.sets.retain(|set| {
            let is_stored = stored.get(place).copied().unwrap_or(false);
            place += 1;
            done += if is_stored { set.bytes } else { 0 };
            !is_stored
        });
        if self.sets.is_empty() {
            self.bytes = 0;
        }
        done
    }
}

/// Reads the answer to a SET.
pub(in crate::cli) fn answer(reply: Reply<'_>) -> Answer {
    let Reply::Error(text) = reply else {
        return match reply {
            Reply::Simple(b"OK") => Answer::Stored,
            other => Answer::Refused(format!("OK was expected, not {other:?}")),
        };
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let passes = ["TIMEOUT", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "LOADING"];
    if passes.iter().any(|word| text.starts_with(word)) { Answer::Again(text) } else { Answer::Refused(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stored_stays_and_in_its_order() {
        let mut batch = Batch::default();
        for key in [b"a", b"b", b"c"] {
            assert!(!batch.add(key, b"12"));
        }
        assert_eq!(batch.keep_unstored(&[false, true]), 3);
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.requests(&[1]), b"*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$2\r\n12\r\n");
        assert_eq!(batch.keep_unstored(&[true, true]), 6);
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn what_may_not_have_been_stored_is_given_again() {
        assert_eq!(answer(Reply::Simple(b"OK")), Answer::Stored);
        assert!(matches!(answer(Reply::Error(b"TIMEOUT outcome unknown")), Answer::Again(_)));
        assert!(matches!(answer(Reply::Error(b"ERR no")), Answer::Refused(_)));
        assert!(matches!(answer(Reply::Null), Answer::Refused(_)));
    }
}
