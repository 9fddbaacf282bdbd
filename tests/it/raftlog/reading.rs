//! Entries back out: the cache, the disk, and both agreeing with the model.

use raft::{Check, EntryId, GroupId, Index, Term};
use raftlog::{Cached, ReadError};
use ringraft_tests::disk::{Fault, block_on};
use runtime::Buffer;

use super::harness::{GROUPS, Life, check_entries};

fn ids(parts: &[Buffer]) -> Vec<(u64, u64)> {
    let entries = parts.iter().flat_map(|part| raft::entries(part, Check::Checksum));
    entries.map(|entry| entry.expect("whole entries").id).map(|id| (id.index.0, id.term.0)).collect()
}

#[test]
fn the_cache_gives_whole_entries_within_bounds() {
    let mut life = Life::first(1);
    life.append_next(0, 4, 100);
    life.log.submit();
    life.append(0, EntryId::new(Term(2), Index(3)), 3, 52);
    life.log.submit();
    life.quiesce();
    let group = GroupId(0);
    let mut out = Vec::new();
    let hit = life.log.cached(group, Index(1), Index(99), usize::MAX, &mut out);
    assert_eq!(ids(&out), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)], "the cut entries are not shown");
    assert_eq!(hit, Cached::Hit { last: Index(5), bytes: 2 * 160 + 3 * 112 });
    out.clear();
    assert_eq!(
        life.log.cached(group, Index(2), Index(4), 300, &mut out),
        Cached::Hit { last: Index(3), bytes: 272 }
    );
    out.clear();
    let hit = life.log.cached(group, Index(2), Index(4), 1, &mut out);
    assert_eq!(hit, Cached::Hit { last: Index(2), bytes: 160 }, "at least one entry");
    out.clear();
    assert_eq!(life.log.cached(group, Index(6), Index(9), 1, &mut out), Cached::NotCached);
    life.snapshot(0, EntryId::new(Term(1), Index(2)), b"s", false);
    assert_eq!(life.log.cached(group, Index(2), Index(9), 1, &mut out), Cached::Compacted);
    assert!(out.is_empty());
    assert_eq!((life.log.first(group), life.log.last(group)), (Index(3), EntryId::new(Term(2), Index(5))));
}

#[test]
fn consecutive_appends_of_a_batch_are_one_record() {
    let mut life = Life::first(2);
    life.quiesce();
    life.disk.hold(true);
    for _ in 0..4 {
        life.hard_state(2, raft::HardState::default());
        life.log.submit();
    }
    let records = life.log.stats().records;
    for _ in 0..20 {
        life.append_next(0, 1, 20);
        life.log.submit();
    }
    life.disk.release_all();
    life.settle();
    assert_eq!(life.log.stats().records, records + 1);
    let mut out = Vec::new();
    life.log.cached(GroupId(0), Index(1), Index(20), usize::MAX, &mut out);
    assert_eq!(out.len(), 1, "and one slice to send");
}

/// What was evicted is read from the disk, what is cached is not; both are what was written.
#[test]
fn cache_and_disk_agree_with_the_model() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut life = Life::first(3);
    for _ in 0..80 {
        life.random(&mut rng);
        life.quiesce();
        for group in 0..GROUPS {
            let applied = life.group(group).last().index;
            life.log.applied(GroupId(group), applied, applied);
        }
    }
    life.settle();
    assert!(life.log.stats().cache_bytes <= 32 * 1024, "the cache keeps its bound");
    let mut misses = 0;
    for group in 0..GROUPS {
        let model = life.group(group).clone();
        for bytes_max in [1, 500, 5000, usize::MAX] {
            check_entries(&life.log, GroupId(group), &model, bytes_max);
        }
        for (index, (term, command)) in &model.entries {
            let mut out = Vec::new();
            match life.log.cached(GroupId(group), Index(*index), Index(*index), 1, &mut out) {
                Cached::Hit { .. } => {
                    let entry = raft::decode_entry(&out[0], Check::Checksum).expect("whole");
                    assert_eq!((entry.id.term, entry.command), (*term, &command[..]));
                }
                Cached::NotCached => misses += 1,
                Cached::Compacted => panic!("entry {index} is in the model"),
            }
        }
    }
    assert!(misses > 0, "this test must read from the disk, too");
}

#[test]
fn reads_name_what_is_wrong() {
    let mut life = Life::first(4);
    life.append_next(0, 5, 100);
    life.quiesce();
    life.snapshot(0, EntryId::new(Term(1), Index(2)), b"s", false);
    let group = GroupId(0);
    let read = |life: &Life, first| block_on(life.log.read(group, Index(first), Index(first), 1));
    assert!(matches!(read(&life, 1), Err(ReadError::Compacted { first: Index(3), .. })));
    assert!(matches!(read(&life, 6), Err(ReadError::Absent { index: Index(6), .. })));
    life.append_next(0, 1, 1);
    assert!(matches!(read(&life, 6), Err(ReadError::Absent { .. })), "not issued, so not to be read");
    life.quiesce();
    let life = life.reopen(5);
    life.disk.fail_next(Fault::Read, std::io::ErrorKind::Other);
    assert!(matches!(read(&life, 3), Err(ReadError::Io { .. })));
    assert!(read(&life, 3).is_ok(), "a failed read harms nothing");
}

/// Invariants 13 and 20: a read under way keeps its segment from being used again.
#[test]
fn a_read_pins_its_segment() {
    let mut life = Life::first(6);
    life.append_next(0, 5, 1000);
    life.quiesce();
    let mut life = life.reopen(7);
    let read = life.log.read(GroupId(0), Index(1), Index(5), usize::MAX);
    life.compact_all();
    for _ in 0..40 {
        life.append_next(1, 1, 6000);
        life.quiesce();
        life.compact_all();
        life.quiesce();
    }
    assert_eq!(ids(&block_on(read).expect("still there")), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    life.append_next(1, 1, 10);
    life.quiesce();
    life.append_next(1, 1, 10);
    life.quiesce();
    assert!(life.log.stats().segments_live <= 4, "and lets it go: {:?}", life.log.stats());
}

/// Small pieces between those of other groups come off the disk together: one read each would let a follower that lags never
/// catch up with a busy group.
#[test]
fn pieces_near_each_other_are_read_together() {
    let mut life = Life::first(8);
    for _ in 0..30 {
        life.append_next(0, 1, 100);
        life.append_next(1, 2, 1000);
        life.quiesce();
    }
    let life = life.reopen(9);
    let read = |life: &Life| block_on(life.log.read(GroupId(0), Index(1), Index(30), usize::MAX));
    let parts = read(&life).expect("entries are there");
    let all: Vec<_> = (1..=30).map(|index| (index, 1)).collect();
    assert_eq!(ids(&parts), all);
    assert!(parts.len() < 5, "{} reads", parts.len());
    // What the disk refuses as a whole it may give piece by piece: the fault may be in another group's.
    life.disk.fail_next(Fault::Read, std::io::ErrorKind::Other);
    assert_eq!(ids(&read(&life).expect("each piece alone")), all);
}
