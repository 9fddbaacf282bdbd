//! Damage that is met while a log runs: it is named to whoever can heal it, counted once, and keeps its segment until it is healed.

use std::path::{Path, PathBuf};

use raft::{EntryId, GroupId, Index, Term, Time};
use raftlog::{Options, ReadError};
use ringraft_tests::disk::{SimDisk, block_on};

use super::harness::{Life, options};

const MOVING: u32 = 0;
const ROTTEN: GroupId = GroupId(1);
const SOUND: GroupId = GroupId(2);
/// Enough to use every segment of the log again and again.
const ROUNDS: usize = 200;

/// Flips a bit in every copy of these bytes; the files in which there were any.
fn rot(disk: &SimDisk, bytes: &[u8]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in disk.paths() {
        let file = disk.bytes(&path).expect("it was listed");
        for at in file.windows(bytes.len()).enumerate().filter(|(_, there)| *there == bytes) {
            disk.flip_bit(&path, at.0 as u64 + 1, 2);
            files.push(path.clone());
        }
    }
    files
}

/// The segment in a file.
fn segment(disk: &SimDisk, path: &Path) -> u64 {
    let bytes = disk.bytes(path).expect("it is there");
    u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes"))
}

/// A log whose oldest segment holds one entry of each group that idles, that of one of them damaged; and its file.
fn rotten(options: Options) -> (Life, PathBuf) {
    let mut life = Life::with(options);
    life.append_next(ROTTEN.0, 2, 100);
    life.append_next(SOUND.0, 1, 100);
    life.quiesce();
    // None of it is in the cache when it is read next.
    (0..8).for_each(|_| round(&mut life));
    let command = life.group(ROTTEN.0).entries[&2].1.clone();
    let mut files = rot(&life.disk, &command);
    assert_eq!(files.len(), 1, "{files:?}");
    (life, files.remove(0))
}

/// Fills a third of a segment with what is dead soon.
fn round(life: &mut Life) {
    life.append_next(MOVING, 2, 6000);
    life.log.submit();
    let last = life.group(MOVING).last();
    life.compact(MOVING, last);
    life.quiesce();
}

/// Keeps the log over half full until `until` says so.
fn press(life: &mut Life, until: impl Fn(&Life) -> bool) {
    for number in 0..ROUNDS {
        if number.is_multiple_of(3) {
            life.append_next(SOUND.0, 1, 100);
        }
        round(life);
        if until(life) {
            return;
        }
    }
    panic!("{ROUNDS} rounds were not enough: {:?}", life.log.stats());
}

#[test]
fn a_relocation_names_what_it_cannot_read_and_the_segment_is_free_once_that_is_healed() {
    let (mut life, file) = rotten(options(1));
    let before = segment(&life.disk, &file);
    press(&mut life, |life| !life.found.is_empty());
    let [(ROTTEN, ReadError::Damaged { group: ROTTEN, index: Index(2), path, .. })] = &life.found[..] else {
        panic!("{:?}", life.found)
    };
    assert_eq!((path, life.log.stats().damages), (&file, 1));
    let relocated = life.log.stats().relocated_bytes;
    for _ in 0..3 {
        press(&mut life, |life| life.log.stats().relocated_bytes > relocated + 1000);
    }
    // Others are emptied meanwhile; this one is asked no more.
    assert_eq!((life.found.len(), life.log.stats().damages, segment(&life.disk, &file)), (1, 1, before));
    // It still holds an entry that lives, which is moved now.
    life.snapshot(ROTTEN.0, EntryId::new(Term(1), Index(2)), b"healed", false);
    press(&mut life, |life| segment(&life.disk, &file) != before);
    assert_eq!((life.found.len(), life.log.stats().damages), (1, 1));
    life.disk.crash(2);
    life.reopen(3);
}

/// What is damaged and not applied is lost, and comes again.
#[test]
fn what_stands_before_damage_is_moved_once_the_rest_is_lost() {
    let (mut life, file) = rotten(options(2));
    let before = segment(&life.disk, &file);
    press(&mut life, |life| !life.found.is_empty());
    life.log.lose(ROTTEN, Index(2));
    press(&mut life, |life| segment(&life.disk, &file) != before);
    let kept = block_on(life.log.read(ROTTEN, Index(1), Index(2), usize::MAX)).expect("it was moved");
    let kept: Vec<_> = kept.iter().flat_map(|part| raft::entries(part, raft::Check::Checksum)).collect();
    assert_eq!((kept.len(), life.log.stats().damages), (1, 1));
}

#[test]
fn a_piece_that_several_find_is_counted_once() {
    let scrubs = std::time::Duration::from_secs(1);
    let (mut life, _) = rotten(Options { scrub_every: scrubs, ..options(3) });
    let (mut now, mut finds) = (Time(10_000_000), 0);
    while finds < 2 {
        now = now + scrubs;
        if let Some(job) = life.log.scrub(now) {
            let scrubbed = block_on(job.run());
            finds += usize::from(life.log.scrubbed(now, scrubbed).is_some());
        }
        assert!(now < Time(10_000_000_000), "no scrub finds it");
    }
    press(&mut life, |life| life.log.stats().relocated_bytes > 1000);
    assert_eq!((life.log.damaged(ROTTEN, Index(2)), life.log.stats().damages), (false, 1));
    assert!(life.found.is_empty(), "a segment with known damage is not read to be emptied");
}
