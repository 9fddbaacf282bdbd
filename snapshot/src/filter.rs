//! Which keys a block does not hold: split block Bloom filters as of the Parquet format (Putze, Sanders, Singler 2007; the
//! constants are Parquet's), one for each data block, so that a lookup of a key that is not there touches 32 bytes here and
//! none of the data. One key in a hundred that is not there is taken for one that may be.

/// One block of a filter: eight words, in each of which a key has one bit.
pub(crate) const FILTER_BLOCK_BYTES: usize = 32;
/// What a key has in the filter, in bits.
const KEY_BITS: usize = 10;
const WORDS: usize = FILTER_BLOCK_BYTES / 4;
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// How many blocks the filter of a data block with `items` items has.
pub(crate) fn filter_blocks(items: u32) -> u32 {
    let bits = u64::from(items) * KEY_BITS as u64;
    let blocks = bits.div_ceil(FILTER_BLOCK_BYTES as u64 * 8);
    u32::try_from(blocks).expect("ten bits of 2^32 items are fewer than 2^32 blocks")
}

/// Which of `count` blocks, by the upper half of the hash.
fn place(hash: u64, count: usize) -> usize {
    let scaled = ((hash >> 32) * count as u64) >> 32;
    usize::try_from(scaled).expect("below the count")
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of the hash")]
fn masks(hash: u64) -> [u32; WORDS] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// Appends the filter of a data block whose keys have these hashes.
pub(crate) fn add_filter(hashes: &[u64], out: &mut Vec<u8>) {
    let start = out.len();
    let count = filter_blocks(u32::try_from(hashes.len()).expect("a block's items are counted in 32 bits"));
    let count = usize::try_from(count).expect("far fewer than the bytes of memory");
    out.resize(start + count * FILTER_BLOCK_BYTES, 0);
    for hash in hashes {
        let at = start + place(*hash, count) * FILTER_BLOCK_BYTES;
        for (word, mask) in out[at..at + FILTER_BLOCK_BYTES].chunks_exact_mut(4).zip(masks(*hash)) {
            let bits = u32::from_le_bytes(word.try_into().expect("four bytes")) | mask;
            word.copy_from_slice(&bits.to_le_bytes());
        }
    }
}

/// Whether the key with this hash may be in the data block of `filter`; false only if it is not.
pub(crate) fn may_hold(filter: &[u8], hash: u64) -> bool {
    let at = place(hash, filter.len() / FILTER_BLOCK_BYTES) * FILTER_BLOCK_BYTES;
    let Some(block) = filter.get(at..at + FILTER_BLOCK_BYTES) else { return false }; // of no items
    let words = block.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    // All of them, without a branch for each.
    words.zip(masks(hash)).fold(0, |missing, (word, mask)| missing | (!word & mask)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::key_hash;

    #[test]
    fn a_filter_holds_what_it_was_given_and_little_else() {
        for items in [1u32, 7, 25, 26, 100, 1000] {
            let hashes: Vec<u64> = (0..items).map(|key| key_hash(&key.to_le_bytes())).collect();
            let mut filter = vec![0xff; 3];
            add_filter(&hashes, &mut filter);
            let filter = &filter[3..];
            assert_eq!(filter.len(), filter_blocks(items) as usize * FILTER_BLOCK_BYTES);
            assert!(hashes.iter().all(|hash| may_hold(filter, *hash)));
            let others = (items..items + 20_000).map(|key| key_hash(&key.to_le_bytes()));
            let wrong = others.filter(|hash| may_hold(filter, *hash)).count();
            assert!(wrong < 500, "{wrong} of 20,000 at {items} items");
        }
        assert!(!may_hold(&[], 77), "of no items");
    }
}
