//! The bytes of version 1 do not change.

use std::path::Path;

use super::{Items, file_of};
use crate::{Manifest, Run, SnapshotName};

const GOLDEN: &[u8] = include_bytes!("../../golden/v1.run");

fn items() -> Items {
    let mut items: Items =
        ["ant", "bee", "bee", "cat"].map(|key| (key.into(), key.repeat(3).into())).to_vec();
    items.push((b"dog".to_vec(), vec![0xdd; 17_000]));
    items
}

/// Reads a number the way FORMAT.md says, independent of the code under test.
fn number<const N: usize>(bytes: &[u8], offset: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[offset..offset + N]);
    u64::from_le_bytes(wide)
}

/// The hash of a key of at most eight bytes, as FORMAT.md has it.
fn hash(key: &[u8]) -> u64 {
    let fold = |value: u64| {
        let product = u128::from(value) * 0xb7e1_5162_8aed_2a6b;
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        u64::try_from(low ^ high).unwrap()
    };
    let mut word = [0; 8];
    word[..key.len()].copy_from_slice(key);
    fold(fold(0x2437_0d53_1415_9265 ^ key.len() as u64 ^ u64::from_le_bytes(word)))
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[test]
fn builders_still_write_it() {
    let built = file_of(&items());
    if let Some(path) = std::env::var_os("RINGRAFT_WRITE_GOLDEN") {
        std::fs::write(path, &built).unwrap();
    }
    assert!(built == GOLDEN, "the format has changed without a new version");
}

#[test]
fn readers_still_read_it() {
    let run = Run::open(GOLDEN, Path::new("v1.run")).unwrap();
    run.verify().unwrap();
    let found: Items =
        run.items().map(Result::unwrap).map(|item| (item.key.into(), item.value.into())).collect();
    assert_eq!(found, items());
    assert_eq!(run.summary().membership, super::spec().membership);
    assert_eq!((run.summary().shard, &run.summary().store), (5, b"0123456789abcdef"));
}

/// Such a file is not damaged: nothing may be healed in its place.
#[test]
fn a_file_of_another_version_is_refused_as_such() {
    for version in [0u32, 2] {
        let mut bytes = GOLDEN.to_vec();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        let error = Run::open(&bytes[..], Path::new("v.run")).err().expect("it is refused");
        assert!(!error.is_corrupt(), "{error}");
        let said =
            format!("v.run: is of version {version} of the snapshot format; this program reads version 1");
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn it_is_what_the_format_text_says() {
    let header = &GOLDEN[..64];
    assert_eq!(&header[..8], b"RINGSNAP");
    assert_eq!([number::<4>(header, 8), number::<4>(header, 12)], [1, 5]);
    assert_eq!(&header[16..32], b"0123456789abcdef");
    assert_eq!([number::<4>(header, 32), number::<8>(header, 40), number::<8>(header, 48)], [3, 42, 7]);
    assert_eq!(number::<4>(header, 60), u64::from(crc32fast::hash(&header[..60])));
    assert!(GOLDEN[64..4096].iter().all(|byte| *byte == 0));

    // The first block: four small items of 8 + 3 + 9 bytes.
    let block = &GOLDEN[4096..];
    assert_eq!([number::<4>(block, 0), number::<4>(block, 4)], [80, 4]);
    assert_eq!([8, 10, 12, 14].map(|at| number::<2>(block, at)), [0, 20, 40, 60]);
    let tags = ["ant", "bee", "bee", "cat"].map(|key| hash(key.as_bytes()).to_le_bytes()[7]);
    assert_eq!(block[16..20], tags);
    assert_eq!([number::<4>(block, 20), number::<4>(block, 24)], [3, 9]);
    assert_eq!(&block[28..40], b"antantantant");
    assert_eq!(number::<4>(block, 100), u64::from(crc32fast::hash(&block[..100])));
    // The second: one item too large to share a block.
    let block = &GOLDEN[8192..];
    assert_eq!([number::<4>(block, 0), number::<4>(block, 4)], [17_011, 1]);
    assert_eq!([number::<2>(block, 8), number::<1>(block, 10)], [0, hash(b"dog") >> 56]);
    assert_eq!(number::<4>(block, 17_022), u64::from(crc32fast::hash(&block[..17_022])));

    let footer = &GOLDEN[GOLDEN.len() - 128..];
    assert_eq!(&footer[..8], b"RINGTAIL");
    assert_eq!(number::<4>(footer, 12), u64::from(crc32fast::hash(header)));
    let [index, index_bytes, filter_bytes, meta, meta_bytes, table, table_bytes, file_bytes, blocks, items] =
        std::array::from_fn(|field| number::<8>(footer, 16 + 8 * field));
    assert_eq!(
        [index, index_bytes, file_bytes, blocks, items],
        [8192 + 5 * 4096, 86, GOLDEN.len() as u64, 2, 5]
    );
    let filter = (index + index_bytes).next_multiple_of(64);
    assert_eq!(filter_bytes, 2 * 32);
    assert_eq!([meta, meta_bytes], [(filter + filter_bytes).next_multiple_of(16), 64 + 12 + 6]);
    assert_eq!([table, table_bytes], [(meta + meta_bytes).next_multiple_of(16), 4]);
    let sum = |start: u64, end: u64| u64::from(crc32fast::hash(&GOLDEN[at(start)..at(end)]));
    assert_eq!(number::<4>(footer, 96), sum(index, index + index_bytes));
    assert_eq!(number::<4>(footer, 100), sum(filter, filter + filter_bytes));
    assert_eq!(number::<4>(footer, 104), sum(meta, meta + meta_bytes));
    assert_eq!(number::<4>(footer, 108), sum(table, file_bytes - 128));
    assert_eq!(number::<4>(footer, 124), sum(file_bytes - 128, file_bytes - 4));
    assert_eq!(number::<4>(GOLDEN, at(table)), sum(0, table));

    assert_eq!(GOLDEN[at(index)..at(index) + 16], *b"\0\0\0\0\0tna\0\0\0\0\0god");
    let second = &GOLDEN[at(index) + 16 + 32..];
    assert_eq!([number::<8>(second, 0), number::<8>(second, 8)], [8192, 3]);
    assert_eq!([16, 20, 24, 28].map(|offset| number::<4>(second, offset)), [17_026, 3, 1, 1]);
    assert_eq!(&GOLDEN[at(index) + 80..at(index) + 86], b"antdog");
    // In the second filter, of one block, one key: a bit in each word.
    let low = hash(b"dog") & 0xffff_ffff;
    for (word, salt) in [0x47b6_137b_u64, 0x4497_4d91, 0x8824_ad5b].into_iter().enumerate() {
        let bit = ((low * salt) & 0xffff_ffff) >> 27;
        assert_eq!(number::<4>(GOLDEN, at(filter) + 32 + 4 * word), 1 << bit, "word {word}");
    }
    let meta = &GOLDEN[at(meta)..];
    assert_eq!([0, 8, 16, 24, 32].map(|offset| number::<8>(meta, offset)), [42, 7, 5, 15, 17_036]);
    assert_eq!([40, 44, 48, 52].map(|offset| number::<4>(meta, offset)), [12, 3, 3, 0]);
    assert_eq!(&meta[64..82], b"voters 1 2 3antdog");
}

#[test]
fn manifests_keep_their_bytes() {
    let name: SnapshotName = "g3-i42-t7-b1".parse().unwrap();
    let run = crate::RunReference { name, offset: 0, bytes: 0x3000, checksum: 0xaabb_ccdd };
    let manifest = Manifest { group: name.group, id: name.id, membership: b"m".to_vec(), runs: vec![run] };
    let bytes = manifest.encode();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "52534d4600000000CHECKSUM030000002a00000000000000070000000000000001000000010000000000000000000000",
        "2a00000000000000070000000000000000000000000000000030000000000000",
        "01000000ddccbbaa00000000000000006d",
    );
    let sum: String = crc32fast::hash(&bytes[12..]).to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(digits, expected.replace("CHECKSUM", &sum));
}
