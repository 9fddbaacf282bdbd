//! Requests as bytes, without an allocation per request.

use crate::cli::resp;
use std::ops::Range;

/// Fills `out` with the digits of `number`, leading zeros included.
///
/// # Panics
/// When `number` has more digits than there is room for.
pub(super) fn digits(out: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    assert_eq!(rest, 0, "{number} has more than {} digits", out.len());
}

/// Builds GET and SET of keys that all have one length, with values that all have one length.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    get: Vec<u8>,
    set: Vec<u8>,
    /// From the end of a SET's key to the end of the request: the value with its frame.
    value: Vec<u8>,
    /// Where in `value` the value itself stands.
    body: Range<usize>,
}

impl Encoder {
    pub(super) fn new(key_bytes: usize, value_bytes: usize, seed: u64) -> Encoder {
        let mut get = b"*2\r\n$3\r\nGET\r\n".to_vec();
        resp::header(&mut get, b'$', key_bytes);
        let mut set = b"*3\r\n$3\r\nSET\r\n".to_vec();
        resp::header(&mut set, b'$', key_bytes);
        let mut value = b"\r\n".to_vec();
        resp::header(&mut value, b'$', value_bytes);
        let start = value.len();
        let mut rng = fastrand::Rng::with_seed(seed);
        value.extend((0..value_bytes).map(|_| u8::try_from(rng.alphanumeric()).expect("ASCII")));
        let body = start..value.len();
        value.extend_from_slice(b"\r\n");
        Encoder { get, set, value, body }
    }

    pub(super) fn get(&self, out: &mut Vec<u8>, key: &[u8]) {
        out.extend_from_slice(&self.get);
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn set(&self, out: &mut Vec<u8>, key: &[u8]) {
        out.extend_from_slice(&self.set);
        out.extend_from_slice(key);
        out.extend_from_slice(&self.value);
    }

    /// The value that the next [`set`](Encoder::set) writes.
    pub(super) fn value_mut(&mut self) -> &mut [u8] {
        &mut self.value[self.body.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_codec_says() {
        let mut encoder = Encoder::new(5, 3, 1);
        encoder.value_mut().copy_from_slice(b"abc");
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        encoder.set(&mut out, b"key:7");
        encoder.get(&mut out, b"key:7");
        resp::encode(&mut expected, &[b"SET", b"key:7", b"abc"]);
        resp::encode(&mut expected, &[b"GET", b"key:7"]);
        assert_eq!(out, expected);
    }

    #[test]
    fn digits_are_padded() {
        let mut out = [b'x'; 5];
        digits(&mut out, 120);
        assert_eq!(&out, b"00120");
    }

    #[test]
    #[should_panic(expected = "more than 2 digits")]
    fn too_many_digits_are_a_bug() {
        digits(&mut [0; 2], 100);
    }
}
