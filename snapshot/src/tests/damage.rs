//! Damage is found, wherever it is, and named.

use std::path::Path;

use proptest::prelude::*;

use super::{Items, file_of, mixed_items};
use crate::fake_disk::{FakeDisk, run};
use crate::{CHUNK_BYTES, FileRun, PAGE_BYTES, Run, SnapshotError};

fn small_items() -> Items {
    (0..40u8).map(|number| (vec![number], vec![number; 300])).collect()
}

/// What opening and verifying finds.
fn verify(bytes: &[u8]) -> Result<(), SnapshotError> {
    Run::open(bytes, Path::new("f.run"))?.verify()
}

fn verify_on_disk(bytes: &[u8]) -> Result<(), SnapshotError> {
    let disk = FakeDisk::default();
    disk.put(Path::new("f.run"), bytes);
    run(async { FileRun::open(&disk, Path::new("f.run")).await?.verify().await })
}

/// Uses what is there without verifying all of it; must not panic.
fn use_it(bytes: &[u8]) -> bool {
    let Ok(run) = Run::open(bytes, Path::new("f.run")) else { return false };
    let sound = run.items().all(|item| item.is_ok());
    sound & run.get(&[20]).is_ok()
}

#[test]
fn every_flipped_bit_is_found_in_a_small_file() {
    let bytes = file_of(&small_items());
    verify(&bytes).unwrap();
    verify_on_disk(&bytes).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let error = verify(&damaged).expect_err("found in place");
        assert!(error.is_corrupt(), "{error}");
        assert!(verify_on_disk(&damaged).expect_err("found on disk").is_corrupt());
        use_it(&damaged);
    }
}

#[test]
fn damage_is_named_by_file_and_offset() {
    let bytes = file_of(&small_items());
    let text = |place: usize| {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x40;
        verify(&damaged).unwrap_err().to_string()
    };
    assert_eq!(text(0), "f.run: corrupt at byte 0: the header's magic is wrong: not a snapshot file");
    assert_eq!(text(50), "f.run: corrupt at byte 60: the header's checksum does not match");
    assert_eq!(text(5_000), "f.run: corrupt at byte 0: the chunk's checksum does not match");
    let footer = bytes.len() - 128;
    let expected = format!("f.run: corrupt at byte {}: the footer's checksum does not match", footer + 124);
    assert_eq!(text(footer + 20), expected);

    let mut damaged = bytes.clone();
    damaged[5_000] ^= 1;
    let run = Run::open(&damaged[..], Path::new("f.run")).unwrap();
    let error = run.items().next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "f.run: corrupt at byte 4096: the block's checksum does not match");
    assert_eq!(run.items().count(), 1, "an iteration ends with its first error");
    assert!(run.get(&[1]).is_err());
}

#[test]
fn cut_and_extended_files_are_found_when_opened() {
    let bytes = file_of(&small_items());
    for end in (0..bytes.len()).step_by(512).chain([1, 63, 64, 127, bytes.len() - 1]) {
        assert!(Run::open(&bytes[..end], Path::new("f.run")).is_err(), "cut at {end}");
        assert!(verify_on_disk(&bytes[..end]).is_err(), "cut at {end}");
    }
    let extended = [&bytes[..], &[0; PAGE_BYTES]].concat();
    assert!(Run::open(&extended[..], Path::new("f.run")).is_err());
    for page in 0..bytes.len() / PAGE_BYTES {
        let mut torn = bytes.clone();
        torn[page * PAGE_BYTES..][..PAGE_BYTES].fill(0);
        assert!(verify(&torn).is_err(), "page {page} was not written");
    }
}

#[test]
fn pages_of_another_file_are_found() {
    let bytes = file_of(&small_items());
    let other =
        file_of(&small_items().into_iter().map(|(key, value)| (key, value.repeat(1))).rev().rev().collect());
    assert_eq!(bytes, other, "the same items make the same bytes");
    let other =
        file_of(&small_items().into_iter().map(|(key, value)| (key, vec![0xee; value.len()])).collect());
    assert_eq!(bytes.len(), other.len());
    for page in (0..bytes.len())
        .step_by(PAGE_BYTES)
        .filter(|page| bytes[*page..][..PAGE_BYTES] != other[*page..][..PAGE_BYTES])
    {
        let mut stale = bytes.clone();
        stale[page..page + PAGE_BYTES].copy_from_slice(&other[page..page + PAGE_BYTES]);
        assert!(verify(&stale).is_err(), "page at {page} is of another file");
    }
}

#[test]
fn damage_behind_the_first_chunk_is_named_by_its_chunk() {
    let bytes = file_of(&mixed_items());
    assert!(bytes.len() > 3 * CHUNK_BYTES);
    for chunk in 0..3 {
        let mut damaged = bytes.clone();
        damaged[chunk * CHUNK_BYTES + 77_777] ^= 1;
        let error = verify_on_disk(&damaged).unwrap_err();
        let expected = (chunk * CHUNK_BYTES) as u64;
        assert!(matches!(error, SnapshotError::Corrupt { offset, .. } if offset == expected), "{error}");
    }
}

/// Recomputes the checksums that would give random damage away, so that the checks behind them are reached.
fn reseal(bytes: &mut [u8]) {
    let footer = bytes.len() - 128;
    let sum = crc32fast::hash(&bytes[footer..footer + 124]);
    bytes[footer + 124..].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
}

/// A file of several small blocks, and where its parts begin: index, filters.
struct Forged {
    bytes: Vec<u8>,
    index: usize,
    filters: usize,
    blocks: usize,
}

impl Forged {
    fn new() -> Forged {
        let bytes = file_of(&small_items());
        let mut forged = Forged { bytes, index: 0, filters: 0, blocks: 0 };
        (forged.index, forged.blocks) = (forged.field(16), forged.field(80));
        forged.filters = (forged.index + forged.field(24)).next_multiple_of(64);
        forged
    }

    /// A field of the footer.
    fn field(&self, at: usize) -> usize {
        let footer = self.bytes.len() - 128;
        let bytes = self.bytes[footer + at..footer + at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    }

    /// What `verify` says once all checksums are right again.
    fn verdict(mut self) -> String {
        let footer = self.bytes.len() - 128;
        let (table, table_bytes) = (self.field(56), self.field(64));
        assert_eq!(table_bytes, 4, "one chunk");
        let block = 4096
            + usize::try_from(u32::from_le_bytes(
                self.bytes[self.index + 8 * self.blocks + 16..][..4].try_into().unwrap(),
            ))
            .unwrap();
        let (index_bytes, filter_bytes) = (self.field(24), self.field(32));
        let mut sum = |at: usize, of: std::ops::Range<usize>| {
            let sum = crc32fast::hash(&self.bytes[of]);
            self.bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        };
        sum(block - 4, 4096..block - 4);
        sum(footer + 96, self.index..self.index + index_bytes);
        sum(footer + 100, self.filters..self.filters + filter_bytes);
        sum(table, 0..table);
        sum(footer + 108, table..footer);
        reseal(&mut self.bytes);
        let in_place = verify(&self.bytes).unwrap_err().to_string();
        assert_eq!(verify_on_disk(&self.bytes).unwrap_err().to_string(), in_place);
        in_place
    }
}

/// Lookups go by index, filters and directories: a file in which they lead astray would hide keys, all checksums right.
#[test]
fn what_would_lead_lookups_astray_is_found() {
    let forge = |change: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::new();
        change(&mut forged);
        forged.verdict()
    };
    let key = |forged: &mut Forged| {
        let key = forged.index + 40 * forged.blocks;
        assert_eq!(forged.bytes[key], 0, "the first key");
        forged.bytes[key] = 1;
        forged.bytes[forged.index + 7] = 1; // its prefix
    };
    let expected = "f.run: corrupt at byte 4096: a block starts with another key than the index says";
    assert_eq!(forge(&key), expected);
    let prefix = |forged: &mut Forged| forged.bytes[forged.index] ^= 1;
    assert!(forge(&prefix).ends_with("a prefix in the index is not that of its key"));
    let filter_start = |forged: &mut Forged| forged.bytes[forged.index + 8 * forged.blocks + 28] ^= 1;
    assert!(forge(&filter_start).ends_with("the index's filters do not follow each other"));
    let offset = |forged: &mut Forged| forged.bytes[4096 + 8 + 2] ^= 1;
    assert!(forge(&offset).ends_with("the block's directory says that an item begins elsewhere"));
    let items =
        usize::try_from(u32::from_le_bytes(Forged::new().bytes[4100..4104].try_into().unwrap())).unwrap();
    let tag = |forged: &mut Forged| forged.bytes[4096 + 8 + 2 * items] ^= 1;
    assert!(forge(&tag).ends_with("the block's directory has another tag of a key"));
    let filter = |forged: &mut Forged| forged.bytes[forged.filters..][..32].fill(0);
    assert_eq!(forge(&filter), "f.run: corrupt at byte 4096: the filter of a block lacks one of its keys");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Files made to look right by someone who knows the checksums are refused or harmless, but never a panic.
    #[test]
    fn forged_headers_and_footers_do_not_panic(changes in prop::collection::vec((0usize..188, any::<u8>()), 1..4)) {
        let mut bytes = file_of(&small_items());
        let footer = bytes.len() - 128;
        for (place, byte) in changes {
            let place = if place < 64 { place } else { footer + place - 64 };
            bytes[place] = byte;
        }
        reseal(&mut bytes);
        let _either = (verify(&bytes).is_ok(), verify_on_disk(&bytes).is_ok(), use_it(&bytes));
    }

    /// Blocks with right checksums and wrong content are refused or harmless.
    #[test]
    fn forged_blocks_do_not_panic(changes in prop::collection::vec((0usize..64, any::<u8>()), 1..4)) {
        let mut bytes = file_of(&small_items());
        for (place, byte) in changes {
            bytes[4096 + place] = byte;
        }
        let payload_bytes = usize::try_from(u32::from_le_bytes(bytes[4096..4100].try_into().unwrap())).unwrap();
        if payload_bytes < 20_000 {
            let end = 4096 + 8 + payload_bytes.min(bytes.len() - 5_000);
            let sum = crc32fast::hash(&bytes[4096..end]);
            bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        }
        let _either = (verify(&bytes).is_ok(), use_it(&bytes));
    }
}
