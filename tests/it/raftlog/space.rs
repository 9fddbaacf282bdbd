//! Segments: prepared ahead, used again, bounded.

use std::io::ErrorKind;

use raft::{GroupId, HardState, NodeId, Term};
use raftlog::{Log, Options};
use ringraft_tests::disk::{SimDisk, block_on};

use super::harness::{GROUPS, Life, SEGMENT_BYTES, dir, options};

/// Steady work with compaction lives on a handful of files, however much is written.
#[test]
fn segments_are_used_again() {
    let mut life = Life::first(1);
    for _ in 0..200 {
        life.append_next(0, 1, 6000);
        life.quiesce();
        if life.group(0).entries.len() > 5 {
            life.compact_all();
        }
    }
    let stats = life.log.stats();
    assert!(stats.rolls > 40 && stats.bytes > 30 * SEGMENT_BYTES, "{stats:?}");
    assert!(stats.file_bytes <= 9 * SEGMENT_BYTES, "{stats:?}");
    assert_eq!(stats.stalled.count, 0, "no commit waited for a file");
    life.reopen(2);
}

/// Invariant 13: a segment is free when the checkpoint that leaves it out is durable, and not before.
#[test]
fn only_a_durable_checkpoint_frees() {
    let mut life = Life::first(9);
    life.append_next(0, 3, 7000);
    life.quiesce();
    let last = life.group(0).last();
    life.snapshot(0, last, b"s", false);
    life.quiesce();
    life.disk.hold(true);
    let before = life.log.stats();
    life.append_next(1, 1, 20_000);
    life.log.submit();
    life.log.submit();
    assert_eq!(life.log.stats().rolls, before.rolls + 1);
    assert_eq!(life.log.stats().checkpoints, before.checkpoints + 1);
    let held = life.disk.held();
    assert_eq!(held.len(), 2, "the roll and its checkpoint");
    for id in held {
        life.settle();
        assert_eq!(life.log.stats().segments_live, before.segments_live + 1, "none is free yet");
        life.disk.release(id);
    }
    life.settle();
    assert_eq!(life.log.stats().segments_live, 1, "{:?}", life.log.stats());
}

/// A log that is full for the moment empties segments until it is not.
fn make_room(life: &mut Life) {
    for _ in 0..20 {
        if life.log.has_room_for_entries() {
            return;
        }
        life.settle();
        life.quiesce();
    }
    panic!("it stays full: {:?}", life.log.stats());
}

/// Entries that nobody compacts are moved out of old segments: they pin none, and every one of them is still there.
#[test]
fn a_few_idle_entries_pin_nothing() {
    let mut life = Life::first(3);
    let mut pinned = 0;
    for round in 0..400_u64 {
        life.append_next(0, 2, 6000);
        if round % 8 == 0 && pinned < 40 {
            pinned += 1;
            life.append_next(1 + (round % 16 / 8) as u32, 1, 300); // in a segment of its own
        }
        life.quiesce();
        let last = life.group(0).last();
        life.compact(0, last);
        life.quiesce();
        make_room(&mut life);
    }
    let stats = life.log.stats();
    assert!(stats.relocated_bytes > 0 && stats.stalled.count == 0, "{stats:?}");
    life = life.reopen(4);
    assert_eq!(life.group(1).entries.len() + life.group(2).entries.len(), 40);
    // Each start begins a segment; entries are taken again each time.
    for round in 0..60 {
        make_room(&mut life);
        life.append_next(0, 1, 6000);
        life.append_next(1, 1, 100);
        life.quiesce();
        let last = life.group(0).last();
        life.compact(0, last);
        life.quiesce();
        life = life.reopen(5 + round);
    }
}

/// Checkpoints carry hard states and snapshots along: an idle group pins nothing.
#[test]
fn idle_groups_pin_nothing() {
    let mut life = Life::first(2);
    life.hard_state(
        2,
        HardState { term: Term(9), vote: Some(NodeId(3)), commit: raft::Index(0), ..HardState::default() },
    );
    life.append_next(1, 3, 10);
    let last = life.group(1).last();
    life.snapshot(1, last, b"idle", false);
    for _ in 0..100 {
        life.append_next(0, 1, 6000);
        life.quiesce();
        let last = life.group(0).last();
        life.snapshot(0, last, b"busy", false);
    }
    life.quiesce();
    assert!(life.log.stats().segments_live <= 5, "{:?}", life.log.stats());
    let life = life.reopen(3);
    assert_eq!(life.model[&2].hard_state.vote, Some(NodeId(3)));
    assert_eq!(life.model[&1].snapshot.as_ref().map(|(_, body)| &body[..]), Some(&b"idle"[..]));
}

/// Invariant 14.
#[test]
fn a_full_log_refuses_entries_and_still_votes_and_compacts() {
    let mut life = Life::first(3);
    let mut written = 0;
    while life.log.has_room_for_entries() {
        life.append_next(written % GROUPS, 1, 9000);
        life.quiesce();
        written += 1;
        assert!(written < 1000, "the cap is never reached");
    }
    assert!(life.log.stats().file_bytes <= options(0).cap_bytes);
    for term in 1..300 {
        life.hard_state(
            0,
            HardState {
                term: Term(term),
                vote: Some(NodeId(1)),
                commit: raft::Index(0),
                ..HardState::default()
            },
        );
        life.quiesce();
    }
    let stats = life.log.stats();
    assert!(stats.is_full && stats.file_bytes <= options(0).cap_bytes, "{stats:?}");
    assert_eq!(life.log.pinning(2), [GroupId(0), GroupId(1)], "who to snapshot");
    life.disk.crash(1);
    let mut life = life.reopen(4);
    life.compact_all();
    for term in 300..310 {
        life.hard_state(
            0,
            HardState { term: Term(term), vote: None, commit: raft::Index(0), ..HardState::default() },
        );
        life.quiesce();
    }
    for _ in 0..20 {
        life.hard_state(
            0,
            HardState { term: Term(310), vote: None, commit: raft::Index(0), ..HardState::default() },
        );
        life.quiesce();
    }
    assert!(life.log.has_room_for_entries(), "{:?}", life.log.stats());
    life.append_next(0, 1, 9000);
    life.quiesce();
    life.reopen(5);
}

/// Invariant 19: a disk that is full while files are prepared: commits go on with what there is, and growth comes back.
#[test]
fn failing_to_make_files_is_survived() {
    let mut life = Life::first(4);
    life.quiesce();
    life.disk.set_free_bytes(Some(0));
    while life.log.has_room_for_entries() {
        life.append_next(0, 1, 6000);
        life.quiesce();
        assert!(life.group(0).entries.len() < 100, "entries stop before the files end");
    }
    life.hard_state(
        0,
        HardState { term: Term(1), vote: Some(NodeId(1)), commit: raft::Index(0), ..HardState::default() },
    );
    life.quiesce();
    life.disk.set_free_bytes(None);
    for _ in 0..1000 {
        life.settle();
    }
    assert!(life.log.has_room_for_entries(), "tried again after a while");
    life.reopen(5);
}

/// A failure to make a file is over when one can be made again, also if enough segments became free meanwhile.
#[test]
fn a_log_that_could_not_grow_is_not_full_for_ever() {
    let mut life = Life::first(6);
    life.quiesce();
    life.disk.set_free_bytes(Some(0));
    while life.log.has_room_for_entries() {
        life.append_next(0, 1, 6000);
        life.quiesce();
    }
    life.compact_all();
    life.quiesce();
    let stats = life.log.stats();
    assert!(stats.segments_ready >= options(0).segments_ready, "compaction freed some: {stats:?}");
    life.disk.set_free_bytes(None);
    for _ in 0..1000 {
        life.settle();
    }
    assert!(life.log.has_room_for_entries());
}

/// No segment is ready at a roll: the batch waits for the background, and nothing is lost or reordered.
#[test]
fn a_roll_waits_for_a_segment_without_blocking() {
    let disk = SimDisk::new();
    let (mut log, _) = block_on(Log::open(disk.clone(), dir(), options(6))).expect("a new log");
    let mut batches = 0;
    let full = loop {
        log.hard_state(GroupId(0), HardState::default());
        log.submit();
        let durable = log.poll().expect("no fault");
        if durable < log.building() {
            break log.building();
        }
        batches += 1;
        assert!(batches < 100, "a segment has an end");
    };
    assert!(log.stats().stalled.count > 0);
    let error = block_on(log.drain()).expect_err("no one prepares a segment");
    assert_eq!(error.kind, ErrorKind::StorageFull);
    let job = log.wanted().expect("a segment is wanted");
    assert!(log.wanted().is_none(), "one job at a time");
    let prepared = block_on(job.run(&disk));
    log.prepared(prepared);
    assert!(block_on(log.drain()).expect("there is room again") >= full);
}

/// The size may change between starts: old segments are read, new ones have the new size, old files go.
#[test]
fn segments_of_another_size_are_read_and_replaced() {
    let mut life = Life::first(7);
    life.append_next(0, 3, 3000);
    life.quiesce();
    let before = life.model[&0].clone();
    let larger = Options { segment_bytes: 2 * SEGMENT_BYTES, cap_bytes: 40 * SEGMENT_BYTES, ..options(8) };
    let (log, recovered) = block_on(Log::open(life.disk.clone(), dir(), larger.clone())).expect("sound");
    assert_eq!(recovered.groups[0].last, before.last().index);
    super::harness::check_entries(&log, GroupId(0), &before, usize::MAX);
    drop(log);
    let (log, _) = block_on(Log::open(life.disk.clone(), dir(), larger)).expect("sound");
    super::harness::check_entries(&log, GroupId(0), &before, usize::MAX);
}

/// Many groups: the checkpoint spans batches and, with segments this small, segments.
#[test]
fn a_checkpoint_larger_than_a_segment_is_complete() {
    let disk = SimDisk::new();
    let mut epoch = 0;
    for round in 0..3 {
        let (mut log, recovered) = block_on(Log::open(disk.clone(), dir(), options(round))).expect("sound");
        assert!(log.boot_epoch() > epoch);
        epoch = log.boot_epoch();
        assert_eq!(recovered.groups.len(), if round == 0 { 0 } else { 1000 });
        assert!(
            recovered
                .groups
                .iter()
                .all(|group| group.hard_state.term == Term(u64::from(group.group.0) + round))
        );
        for group in 0..1000 {
            let term = Term(u64::from(group) + round + 1);
            log.hard_state(
                GroupId(group),
                HardState { term, vote: None, commit: raft::Index(0), ..HardState::default() },
            );
            if group % 50 == 0 {
                log.submit();
                while let Some(job) = log.wanted() {
                    let prepared = block_on(job.run(&disk));
                    log.prepared(prepared);
                }
            }
        }
        block_on(log.drain()).expect("room enough");
        disk.crash(round);
    }
}
