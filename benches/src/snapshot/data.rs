//! Keys and values, the same for all sides.

/// Bytes of a value.
pub(super) const VALUE_BYTES: usize = 128;

/// Key number `number`: 16 bytes whose order is not that of the numbers.
pub(super) fn key(number: u32) -> [u8; 16] {
    let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = *b"key:000000000000";
    for (place, digit) in key[4..].iter_mut().enumerate() {
        let nibble = (mixed >> (60 - 4 * place)) & 15;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).expect("below 16")];
    }
    // Twelve digits of a number of sixteen are not unique by themselves.
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

/// The value that key number `number` has after so many overwrites.
pub(super) fn value(number: u32, overwrites: u8) -> [u8; VALUE_BYTES] {
    let mut value = [b'v'; VALUE_BYTES];
    value[..4].copy_from_slice(&number.to_le_bytes());
    value[4] = overwrites;
    value
}

/// Which key a value belongs to, and after how many overwrites.
pub(super) fn stamp_of(value: &[u8]) -> (u32, u8) {
    let stamp: Option<&[u8; 5]> = value.first_chunk();
    stamp
        .map_or((u32::MAX, 0), |[a, b, c, d, overwrites]| (u32::from_le_bytes([*a, *b, *c, *d]), *overwrites))
}

/// The numbers below `keys` whose values are overwritten where half of them are.
pub(super) fn overwritten(keys: u32) -> impl Iterator<Item = u32> {
    (1..keys).step_by(2)
}

/// How often key number `number` is overwritten there.
pub(super) fn overwrites(number: u32) -> u8 {
    u8::from(number % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_unique_and_values_say_whose_they_are() {
        let keys: BTreeSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        assert!((0..100).all(|number| stamp_of(&value(number, 3)) == (number, 3)));
    }

    #[test]
    fn half_of_the_keys_are_overwritten() {
        assert!(overwritten(100).eq((0..100).filter(|number| overwrites(*number) == 1)));
        assert_eq!(overwritten(100).count(), 50);
    }
}
