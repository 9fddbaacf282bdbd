//! Blocks that a disk refuses to read: damage of what stands in them, and never the end of a log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use raft::{GroupId, Index};
use raftlog::{OpenError, ReadError};
use ringraft_tests::disk::{Fault, SimDisk, block_on};

use super::damage::{judge, sealed, slots};
use super::harness::{Life, SEGMENT_BYTES, dir, open};

const BLOCK: u64 = 4096;
const EIO: i32 = 5;

/// The blocks of the log in which this stands.
fn blocks_with(disk: &SimDisk, bytes: &[u8]) -> Vec<(PathBuf, u64)> {
    let mut blocks = Vec::new();
    for path in slots(disk) {
        let file = disk.bytes(&path).expect("it was listed");
        let found = file.windows(bytes.len()).enumerate().filter(|(_, there)| *there == bytes);
        blocks.extend(found.map(|(at, _)| (path.clone(), at as u64 / BLOCK * BLOCK)));
    }
    blocks
}

/// As [`judge`]; a start may also end with what the disk said.
fn judge_refused(life: &Life, disk: &SimDisk) -> &'static str {
    match open(&disk.image(), 77) {
        Err(OpenError::Io { source, path, .. }) => {
            assert_eq!(source.raw_os_error(), Some(EIO), "{source}");
            assert!(path.starts_with(dir()), "{path:?}");
            "ended"
        }
        _ => judge(life, disk),
    }
}

/// Invariant 8, where blocks are not wrong but refused: no start takes what it could not read for a torn tail.
#[test]
fn a_block_that_cannot_be_read_is_harmless_or_damage_or_ends_the_start() {
    let mut seen = BTreeMap::new();
    for seed in [3, 4, 9] {
        let life = sealed(seed);
        for path in slots(&life.disk) {
            for block in 0..SEGMENT_BYTES / BLOCK {
                let (refused, rotten) = (life.disk.image(), life.disk.image());
                refused.refuse_block(&path, block * BLOCK);
                rotten.overwrite(&path, block * BLOCK, &[0; 4096]);
                let (outcome, as_rot) = (judge_refused(&life, &refused), judge(&life, &rotten));
                let same = outcome == as_rot || outcome == "ended";
                assert!(same, "seed {seed}, block {block} of {path:?}: {outcome}, if it were zeros {as_rot}");
                assert!(block > 0 || outcome == "ended", "the front of a file says what it is");
                *seen.entry(outcome).or_insert(0) += 1;
            }
        }
    }
    println!("{seen:?}");
    for outcome in ["ended", "harmless", "found by a read", "lost and named"] {
        assert!(seen.contains_key(outcome), "this test must see all outcomes: {seen:?}");
    }
}

/// Damage to the last batch, which nothing vouches for yet, passes for a torn tail. That it cannot be read does not.
#[test]
fn an_end_that_cannot_be_read_is_no_end() {
    let mut life = Life::first(5);
    life.append_next(0, 3, 100);
    life.quiesce();
    life.append_next(0, 4, 3000);
    life.log.submit();
    life.settle();
    assert_eq!(life.acked, life.log.building(), "it was acknowledged");
    let bytes = life.disk.bytes(&slots(&life.disk)[0]).expect("it is there");
    let last = bytes.chunks(4096).rposition(|block| &block[..4] == b"RTB1").expect("a batch") as u64;
    for block in last..SEGMENT_BYTES / BLOCK {
        let disk = life.disk.image();
        disk.refuse_block(&slots(&disk)[0], block * BLOCK);
        let Err(OpenError::Io { source, .. }) = open(&disk, 9) else { panic!("block {block}") };
        assert_eq!(source.raw_os_error(), Some(EIO));
    }
}

#[test]
fn a_disk_that_gives_back_nothing_ends_the_start() {
    let life = sealed(6);
    let disk = life.disk.image();
    for path in slots(&disk) {
        (2..SEGMENT_BYTES / BLOCK).for_each(|block| disk.refuse_block(&path, block * BLOCK));
    }
    assert!(matches!(open(&disk, 1), Err(OpenError::Io { .. } | OpenError::Damaged { .. })));
}

#[test]
fn a_read_that_is_refused_twice_is_damage_and_what_stands_before_it_is_not() {
    let mut life = Life::first(7);
    life.append_next(0, 6, 3000);
    life.quiesce();
    let command = life.group(0).entries[&4].1.clone();
    let life = life.reopen(8);
    let places = blocks_with(&life.disk, &command);
    let [(path, offset)] = &places[..] else { panic!("{places:?}") };
    life.disk.refuse_block(path, *offset + BLOCK);
    let read = |first, last| block_on(life.log.read(GroupId(0), Index(first), Index(last), usize::MAX));
    let Err(ReadError::Damaged { index, path: named, .. }) = read(1, 6) else { panic!("it cannot be read") };
    assert!((Index(4)..=Index(5)).contains(&index) && named == *path, "{index} in {named:?}");
    assert!(read(1, index.0 - 1).is_ok(), "what stands before it can be read");
    // An error that says nothing about the place is none of its damage.
    life.disk.fail_next(Fault::Read, std::io::ErrorKind::Interrupted);
    assert!(matches!(read(1, 1), Err(ReadError::Io { .. })));
    assert!(read(1, 1).is_ok());
}
