//! How full a log is decides what is moved out of old segments: nothing below half, what is sparse and stays so above, and in time.

use raft::{EntryId, Term};
use raftlog::Options;

use super::harness::{Life, SEGMENT_BYTES, check, open, options};

/// Moves on in every round; the others idle but for a few entries.
const MOVING: u32 = 0;
const IDLE: [u32; 2] = [1, 2];

/// Two entries of the group that moves, of which none is kept; one that stays for ever every few segments.
fn round(life: &mut Life, number: usize) {
    life.append_next(MOVING, 2, 6000);
    if number.is_multiple_of(4) {
        life.append_next(IDLE[number / 4 % IDLE.len()], 1, 100);
    }
    life.log.submit();
    let last = life.group(MOVING).last();
    life.compact(MOVING, last);
}

/// Rounds until the log holds that many segments.
fn fill(life: &mut Life, segments: usize) {
    let mut number = 0;
    while life.log.stats().segments_live < segments {
        round(life, number);
        life.quiesce();
        number += 1;
        assert!(number < 1000, "idle entries pin segments: {:?}", life.log.stats());
    }
}

/// Entries that stay are moved as soon as the log is over half full, and so it never fills further, however much is written.
#[test]
fn a_log_with_idle_groups_stays_near_half_of_its_cap() {
    let mut life = Life::first(1);
    let segments_max = usize::try_from(options(0).cap_bytes / SEGMENT_BYTES).unwrap();
    let mut live_max = 0;
    for number in 0..600 {
        round(&mut life, number);
        life.quiesce();
        live_max = live_max.max(life.log.stats().segments_live);
    }
    let stats = life.log.stats();
    assert!(live_max > segments_max / 2, "so much is pinned unless it is moved: {live_max}");
    assert!(live_max * 100 <= segments_max * 65, "{live_max} of {segments_max}: {stats:?}");
    assert!(
        stats.bytes > 10 * options(0).cap_bytes && stats.stalled.count == 0 && !stats.is_full,
        "{stats:?}"
    );
    assert!(stats.relocations > 0 && stats.segments_freed > 100, "{stats:?}");
    assert!(stats.relocated_bytes < stats.bytes / 50, "what is moved is little: {stats:?}");
    assert!(stats.checkpoints <= stats.rolls + 1, "rolls bring all the checkpoints it takes: {stats:?}");
    let idle: usize = IDLE.map(|group| life.group(group).entries.len()).iter().sum();
    assert_eq!(idle, 150);
    life.disk.crash(1);
    life.reopen(2);
}

/// Under a load that leaves no quiet moment it takes longer, and works all the same.
#[test]
fn a_busy_log_with_idle_groups_never_fills() {
    let larger = Options {
        segment_bytes: 4 * SEGMENT_BYTES,
        cap_bytes: 96 * SEGMENT_BYTES,
        unsynced_bytes_max: SEGMENT_BYTES,
        ..options(2)
    };
    let segments_max = usize::try_from(larger.cap_bytes / larger.segment_bytes).unwrap();
    let mut life = Life::with(larger.clone());
    life.disk.hold(true);
    let mut number = 0;
    while life.log.stats().bytes < 10 * larger.cap_bytes {
        number += 1;
        if number % 16 == 0 {
            life.append_next(IDLE[number / 16 % IDLE.len()], 1, 100);
        }
        // Whenever the log is asked for work its pipeline is full, and so is what waits behind that.
        for _ in 0..100 {
            match (life.log.has_room(), life.log.stats().in_flight == larger.in_flight_max) {
                (true, _) => life.append_next(MOVING, 1, 3000),
                (false, true) => break,
                (false, false) => life.settle(), // a segment is waited for
            }
            life.log.submit();
        }
        let last = life.group(MOVING).last();
        life.compact(MOVING, last);
        life.settle();
        let oldest = life.disk.held()[0];
        life.disk.release(oldest);
        life.log.poll().expect("no fault");
        let stats = life.log.stats();
        assert!(stats.segments_live * 100 <= segments_max * 80 && !stats.is_full, "{stats:?}");
    }
    assert!(life.log.stats().relocated_bytes > 0, "{:?}", life.log.stats());
    life.quiesce();
    life.disk.crash(2);
    life.reopen(3);
}

/// Half full with segments of one live entry each: they stay where they are.
#[test]
fn below_half_nothing_is_moved() {
    let mut life = Life::first(3);
    let half = usize::try_from(options(0).cap_bytes / SEGMENT_BYTES / 2).unwrap();
    fill(&mut life, half);
    for _ in 0..100 {
        life.append_next(MOVING, 2, 6000);
        life.log.submit();
        let last = life.group(MOVING).last();
        life.compact(MOVING, last);
        life.quiesce();
        if life.log.stats().segments_live == half {
            // Those in which nothing lives wait for the next checkpoint, and do not count.
            assert_eq!(life.log.stats().relocations, 0, "{:?}", life.log.stats());
        }
    }
    let stats = life.log.stats();
    assert!(stats.rolls > 40 && stats.segments_live <= half + 2, "{stats:?}");
    assert_eq!(stats.relocated_bytes, 0, "{stats:?}");
}

/// A long queue of entries that is compacted at its old end: its oldest segment holds little for a while, and then nothing.
#[test]
fn what_dies_by_itself_is_not_moved() {
    /// Each in a block of its own; so many that the log is over seven tenths full.
    const KEPT: u64 = 45;
    let mut life = Life::first(4);
    let mut live_max = 0;
    for _ in 0..600 {
        life.append_next(MOVING, 1, 3400);
        let last = life.group(MOVING).last();
        if last.index.0 > KEPT {
            life.compact(MOVING, EntryId::new(Term(1), raft::Index(last.index.0 - KEPT)));
        }
        life.quiesce();
        let stats = life.log.stats();
        live_max = live_max.max(stats.segments_live);
        // A segment that holds a checkpoint and hardly anything else ages the others before their time; such are small ones only.
        assert!(stats.relocated_bytes * 25 <= stats.bytes, "{stats:?}");
    }
    assert!((18..22).contains(&live_max), "{live_max}");
    life.reopen(5);
}

/// Invariants 1, 11 and 13: whatever write of a log that moves entries is the last, and whatever of those under way arrives: all is there, once.
#[test]
fn a_crash_at_any_write_while_entries_are_moved_loses_nothing() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut life = Life::first(5);
    fill(&mut life, 12);
    assert_eq!(life.log.stats().relocated_bytes, 0);
    life.disk.hold(true);
    for number in 0..60 {
        round(&mut life, number);
        if number.is_multiple_of(7) {
            // What is moved, or was, is truncated or compacted meanwhile.
            let (group, term) = (IDLE[rng.usize(..2)], Term(2 + number as u64));
            let (compacted, last) = (life.group(group).compacted, life.group(group).last());
            let middle = raft::Index((compacted.index.0 + last.index.0) / 2 + 1);
            if rng.bool() && middle <= last.index {
                life.append(group, EntryId::new(term, middle), 1, 100);
            } else if compacted.index < last.index {
                let first = compacted.index.next();
                let term = life.group(group).entries[&first.0].0;
                life.compact(group, EntryId::new(term, first));
            }
        }
        life.log.submit();
        while let Some(any) = rng.choice(life.disk.held()) {
            let disk = life.disk.image();
            disk.crash(rng.u64(..));
            let (log, recovered) = open(&disk, rng.u64(..)).expect("a crash is no damage");
            let found = recovered.report.last_batch;
            assert!(found >= life.acked, "batch {} was acknowledged, {found} is the last found", life.acked);
            let (_, model) = life.after.range(..=found.0).next_back().expect("a model");
            check(&log, &recovered, model);
            life.disk.release(any);
            life.settle();
        }
    }
    let stats = life.log.stats();
    assert!(stats.relocated_bytes > 0 && stats.segments_freed > 10, "{stats:?}");
    life.quiesce();
    life.disk.crash(7);
    life.reopen(8);
}
