//! The bytes of version 0 do not change.

use std::path::Path;

use super::{Items, file_of};
use crate::{Manifest, Run, SnapshotName};

const GOLDEN: &[u8] = include_bytes!("../../golden/v0.run");

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
    let run = Run::open(GOLDEN, Path::new("v0.run")).unwrap();
    run.verify().unwrap();
    let found: Items =
        run.items().map(Result::unwrap).map(|item| (item.key.into(), item.value.into())).collect();
    assert_eq!(found, items());
    assert_eq!(run.summary().membership, super::spec().membership);
    assert_eq!((run.summary().shard, &run.summary().store), (5, b"0123456789abcdef"));
}

#[test]
fn it_is_what_the_format_text_says() {
    let header = &GOLDEN[..64];
    assert_eq!(&header[..8], b"RINGSNAP");
    assert_eq!([number::<4>(header, 8), number::<4>(header, 12)], [0, 5]);
    assert_eq!(&header[16..32], b"0123456789abcdef");
    assert_eq!([number::<4>(header, 32), number::<8>(header, 40), number::<8>(header, 48)], [3, 42, 7]);
    assert_eq!(number::<4>(header, 60), u64::from(crc32fast::hash(&header[..60])));
    assert!(GOLDEN[64..4096].iter().all(|byte| *byte == 0));

    // The first block: four small items of 8 + 3 + 9 bytes.
    let block = &GOLDEN[4096..];
    assert_eq!([number::<4>(block, 0), number::<4>(block, 4)], [80, 4]);
    assert_eq!([number::<4>(block, 8), number::<4>(block, 12)], [3, 9]);
    assert_eq!(&block[16..28], b"antantantant");
    assert_eq!(number::<4>(block, 88), u64::from(crc32fast::hash(&block[..88])));
    // The second: one item too large to share a block.
    let block = &GOLDEN[8192..];
    assert_eq!([number::<4>(block, 0), number::<4>(block, 4)], [17_011, 1]);
    assert_eq!(number::<4>(block, 17_019), u64::from(crc32fast::hash(&block[..17_019])));

    let footer = &GOLDEN[GOLDEN.len() - 128..];
    assert_eq!(&footer[..8], b"RINGTAIL");
    assert_eq!(number::<4>(footer, 12), u64::from(crc32fast::hash(header)));
    let [index, index_bytes, meta, meta_bytes, table, table_bytes, file_bytes, blocks, items] =
        std::array::from_fn(|field| number::<8>(footer, 16 + 8 * field));
    assert_eq!(
        [index, index_bytes, file_bytes, blocks, items],
        [8192 + 5 * 4096, 70, GOLDEN.len() as u64, 2, 5]
    );
    assert_eq!([meta, meta_bytes], [(index + index_bytes).next_multiple_of(16), 64 + 12 + 6]);
    assert_eq!([table, table_bytes], [(meta + meta_bytes).next_multiple_of(16), 4]);
    let sum = |start: u64, end: u64| u64::from(crc32fast::hash(&GOLDEN[at(start)..at(end)]));
    assert_eq!(number::<4>(footer, 88), sum(index, index + index_bytes));
    assert_eq!(number::<4>(footer, 92), sum(meta, meta + meta_bytes));
    assert_eq!(number::<4>(footer, 96), sum(table, file_bytes - 128));
    assert_eq!(number::<4>(footer, 124), sum(file_bytes - 128, file_bytes - 4));
    assert_eq!(number::<4>(GOLDEN, at(table)), sum(0, table));

    let second = &GOLDEN[at(index) + 32..];
    assert_eq!([number::<8>(second, 0), number::<8>(second, 8)], [8192, 3]);
    assert_eq!([16, 20, 24, 28].map(|offset| number::<4>(second, offset)), [17_023, 3, 1, 0]);
    assert_eq!(&GOLDEN[at(index) + 64..at(index) + 70], b"antdog");
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
