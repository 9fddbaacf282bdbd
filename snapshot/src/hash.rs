//! The hash by which a file finds keys. It is part of the format.

/// Odd numbers with about half of their bits set: the first decimals of pi and e.
const SEED: u64 = 0x2437_0d53_1415_9265;
const FACTOR: u64 = 0xb7e1_5162_8aed_2a6b;

/// A 64-bit hash: each eight bytes of the key as a little-endian number, the last with zeros behind, are mixed in by a product
/// of 128 bits whose halves are combined; the length is the start. Not for keys that an adversary may choose at will: who
/// finds many of one hash makes lookups of them slower, not wrong.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    let mut hash = SEED ^ key.len() as u64;
    let mut words = key.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        hash = fold(hash ^ word);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = fold(hash ^ u64::from_le_bytes(word));
    }
    fold(hash)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
fn fold(value: u64) -> u64 {
    let product = u128::from(value) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
}

/// What a block's directory keeps of a key's hash.
pub(crate) fn tag(hash: u64) -> u8 {
    hash.to_le_bytes()[7]
}

/// The first eight bytes of a key as a number that compares as they do; zeros behind a shorter key.
#[expect(clippy::big_endian_bytes, reason = "numbers compare as the bytes do")]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_pinned() {
        let hashes = [&b""[..], b"a", b"a\0", b"12345678", b"123456789"].map(key_hash);
        // Computed by a few lines of Python from FORMAT.md.
        let expected = [
            0xb14b_51fd_9dd8_6ddd,
            0x84ed_45f3_6eb2_9318,
            0x1642_6aac_888d_3cb1,
            0xa2fa_c7ea_16a0_f070,
            0xc65c_a907_82a9_621e,
        ];
        assert_eq!(hashes, expected, "{hashes:#018x?}");
    }

    #[test]
    fn hashes_spread_and_lengths_count() {
        let mut tags = [0u32; 256];
        for number in 0..25_600u32 {
            tags[usize::from(tag(key_hash(format!("key:{number}").as_bytes())))] += 1;
        }
        assert!(tags.iter().all(|count| (40..180).contains(count)), "{tags:?}");
        assert_ne!(key_hash(b"a"), key_hash(b"a\0"));
    }

    #[test]
    fn prefixes_compare_as_keys_do() {
        let mut keys = [&b""[..], b"a", b"a\0", b"ab", b"abcdefgh", b"abcdefghi", b"b", &[0xff; 12]];
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| prefix(pair[0]) <= prefix(pair[1])));
        assert!(prefix(b"a") < prefix(b"b"));
    }
}
