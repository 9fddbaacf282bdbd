//! Where a key stands in the order of the key space: by slot, then by a 32-bit hash, then by the key itself.
//!
//! The hash is part of the snapshot format and of SCAN's cursors, so it is fixed for ever: SipHash-1-3 with a
//! zero key. A keyed-quality hash although the key is public: it has no shortcut to many keys of one hash, so
//! that a client would have to try 2^32 keys for each collision it wants.

use super::slot::key_slot;

/// A key's place in the order of (slot, hash): the slot in bits 32..46, the hash in bits 0..32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(u64);

impl Position {
    /// The place of `key`.
    pub fn of(key: &[u8]) -> Self {
        Self(u64::from(key_slot(key)) << 32 | u64::from(key_hash(key)))
    }

    /// The first place of a slot. `16384` gives the end of the key space.
    pub const fn slot_start(slot: u16) -> Self {
        Self((slot as u64) << 32)
    }

    /// The place that a cursor names. Any number is one; beyond the last slot nothing is found.
    pub const fn from_cursor(cursor: u64) -> Self {
        Self(cursor)
    }

    /// The number of this place, as SCAN's cursor.
    pub const fn cursor(self) -> u64 {
        self.0
    }

    /// The place just behind this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The slot, or 16384 for every place beyond the last slot.
    pub fn slot(self) -> u16 {
        (self.0 >> 32).min(16_384) as u16
    }

    /// Six bytes that compare as the places do.
    #[expect(clippy::big_endian_bytes, reason = "keys of a save are compared as bytes")]
    pub fn to_sort_bytes(self) -> [u8; 6] {
        let [_, _, rest @ ..] = self.0.to_be_bytes();
        rest
    }

    /// The place behind [`to_sort_bytes`](Self::to_sort_bytes).
    #[expect(clippy::big_endian_bytes, reason = "keys of a save are compared as bytes")]
    pub fn from_sort_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

/// The 32-bit hash that orders the keys of a slot.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
pub fn key_hash(key: &[u8]) -> u32 {
    sip13(key) as u32
}

/// SipHash-1-3 of `bytes` under the zero key.
pub fn sip13(bytes: &[u8]) -> u64 {
    // The constants of the algorithm: "somepseudorandomlygeneratedbytes".
    let mut v =
        [0x736f_6d65_7073_6575_u64, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("a chunk has 8 bytes"));
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let last = u64::from_le_bytes(last) | (bytes.len() as u64) << 56;
    v[3] ^= last;
    round(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    #[test]
    fn hash_is_siphash_1_3_as_the_standard_library_computes_it() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&bytes[..len]);
            assert_eq!(sip13(&bytes[..len]), hasher.finish(), "{len} bytes");
        }
    }

    #[test]
    fn hash_is_pinned_because_saved_files_are_ordered_by_it() {
        assert_eq!(sip13(b""), 0xd1fb_a762_150c_532c);
        assert_eq!(key_hash(b"foo"), 0x01c9_73fa);
        assert_eq!(Position::of(b"foo").slot(), 12182);
    }

    #[test]
    fn sort_bytes_order_as_positions_do() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let (a, b) = (Position(rng.u64(..1 << 46)), Position(rng.u64(..1 << 46)));
            assert_eq!(a.cmp(&b), a.to_sort_bytes().cmp(&b.to_sort_bytes()));
            assert_eq!(Position::from_sort_bytes(a.to_sort_bytes()), a);
        }
        assert_eq!(Position::from_cursor(u64::MAX).slot(), 16_384);
    }
}
