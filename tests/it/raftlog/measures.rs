//! What the log measures: times by the clock it is told, reads and what they met, what a start saw.

use std::cell::Cell;
use std::io::ErrorKind;

use raft::{GroupId, HardState, Index, Time};
use raftlog::{Cached, Log, Options, Spread, Stats};
use ringraft_tests::disk::{Fault, SimDisk, block_on};

use super::harness::{Life, dir, options};

/// A turn at `now` that appends one entry and ends.
fn turn_at(life: &mut Life, now: u64) {
    life.log.note_time(Time(now));
    life.append_next(0, 1, 100);
    life.log.submit();
}

/// What is told at `now`, when the log has looked at its writes.
fn stats_at(life: &mut Life, now: u64) -> Stats {
    life.log.note_time(Time(now));
    life.log.poll().expect("no fault");
    life.log.stats()
}

#[test]
fn a_write_ends_when_it_is_durable_and_its_acknowledgement_waits_for_those_before() {
    let mut life = Life::first(1);
    life.disk.hold(true);
    for now in [1_000, 1_100, 1_300] {
        turn_at(&mut life, now);
    }
    let held = life.disk.held();
    life.disk.release(held[1]);
    let stats = stats_at(&mut life, 1_130);
    assert_eq!((stats.written.count, stats.written.total_us, stats.acked.count), (1, 30, 0));
    life.disk.release(held[0]);
    life.disk.release(held[2]);
    let stats = stats_at(&mut life, 2_000);
    let written = (stats.written.count, stats.written.total_us, stats.written.longest_us);
    assert_eq!(written, (3, 30 + 1_000 + 700, 1_000));
    let acked = (stats.acked.count, stats.acked.total_us, stats.acked.longest_us);
    assert_eq!(acked, (3, 1_000 + 900 + 700, 1_000));
    let within: Vec<u64> =
        (0..Spread::BOUNDS_US.len()).map(|bound| stats.write_spread.within(bound)).collect();
    assert_eq!(within, [1, 1, 1, 3, 3, 3, 3, 3], "{:?}", Spread::BOUNDS_US);
    assert_eq!(stats.waited.total_us, 0, "each was issued in its turn");
}

#[test]
fn a_batch_that_finds_the_pipeline_full_waits_from_its_first_record_on() {
    let mut life = Life::first(2);
    life.disk.hold(true);
    for _ in 0..4 {
        turn_at(&mut life, 1_000);
    }
    turn_at(&mut life, 5_000);
    turn_at(&mut life, 6_000);
    assert_eq!(stats_at(&mut life, 7_000).waited.count, 4, "it is not issued");
    life.disk.release(life.disk.held()[0]);
    let waited = stats_at(&mut life, 9_000).waited;
    assert_eq!((waited.count, waited.total_us, waited.longest_us), (5, 4_000, 4_000));
}

#[test]
fn a_stall_is_one_however_often_it_is_looked_at_and_lasts_until_there_is_a_segment() {
    let mut life = Life::first(3);
    life.disk.set_free_bytes(Some(0));
    life.log.note_time(Time(1_000));
    for _ in 0..100 {
        life.log.hard_state(GroupId(0), HardState::default());
        life.log.submit();
    }
    assert_eq!((life.log.stats().stalled.count, life.log.stats().segments_failed), (1, 0));
    let job = life.log.wanted().expect("a segment is wanted");
    let prepared = block_on(job.run(&life.disk));
    life.log.prepared(prepared);
    let stats = stats_at(&mut life, 3_000);
    assert_eq!((stats.stalled.count, stats.stalled.total_us, stats.segments_failed), (1, 2_000, 1));
    life.disk.set_free_bytes(None);
    life.log.note_time(Time(2_000_000));
    let job = life.log.wanted().expect("it is tried again");
    let prepared = block_on(job.run(&life.disk));
    life.log.prepared(prepared);
    let stats = stats_at(&mut life, 9_000_000);
    let stalled = (stats.stalled.count, stats.stalled.total_us, stats.stalled.longest_us);
    assert_eq!((stalled, stats.segments_failed), ((1, 1_999_000, 1_999_000), 1));
}

#[test]
fn a_checkpoint_takes_until_all_of_it_is_durable() {
    let mut life = Life::first(4);
    life.append_next(0, 3, 7000);
    life.quiesce();
    let before = life.log.stats();
    life.disk.hold(true);
    life.log.note_time(Time(50_000_000));
    life.append_next(1, 1, 20_000);
    life.log.submit();
    life.log.submit();
    let held = life.disk.held();
    assert_eq!(held.len(), 2, "the roll and its checkpoint");
    life.disk.release(held[0]);
    assert_eq!(stats_at(&mut life, 50_000_400).checkpointed, before.checkpointed);
    life.disk.release(held[1]);
    let stats = stats_at(&mut life, 50_000_900);
    assert_eq!(stats.checkpointed.count, before.checkpointed.count + 1);
    assert_eq!(stats.checkpointed.total_us, before.checkpointed.total_us + 900);
    let (bytes, all) = (stats.checkpoint_bytes - before.checkpoint_bytes, stats.bytes - before.bytes);
    assert!(bytes >= 4096 && bytes + 20_000 < all, "{stats:?}");
}

#[test]
fn reads_are_counted_with_what_they_met() {
    let mut life = Life::first(5);
    let command = b"to be found in the file".repeat(9);
    life.append_command(0, raft::EntryId::new(raft::Term(1), Index(1)), &command);
    life.quiesce();
    let group = GroupId(0);
    let mut out = Vec::new();
    let hit = life.log.cached(group, Index(1), Index(1), usize::MAX, &mut out);
    assert!(matches!(hit, Cached::Hit { .. }));
    assert_eq!((life.log.stats().cache_hits, life.log.stats().read_bytes), (1, 0));
    let life = life.reopen(6);
    let before = life.log.stats();
    let read = || block_on(life.log.read(group, Index(1), Index(1), usize::MAX));
    assert_eq!(life.log.cached(group, Index(1), Index(1), usize::MAX, &mut out), Cached::NotCached);
    let bytes: u64 = read().expect("it is there").iter().map(|buffer| buffer.len() as u64).sum();
    life.disk.fail_next(Fault::Read, ErrorKind::Other);
    read().expect_err("refused");
    flip(&life.disk, &command);
    read().expect_err("damaged");
    let stats = life.log.stats();
    assert_eq!((stats.cache_hits, stats.cache_misses), (0, before.cache_misses + 3));
    assert_eq!(stats.read_bytes, before.read_bytes + 2 * bytes);
    assert_eq!((stats.failed_reads, stats.damaged_reads, stats.damages), (1, 1, 0));
}

/// A wrong bit where `command` stands.
fn flip(disk: &SimDisk, command: &[u8]) {
    let found = disk.paths().into_iter().find_map(|path| {
        let bytes = disk.bytes(&path)?;
        let at = bytes.windows(command.len()).position(|window| window == command)?;
        Some((path, at as u64))
    });
    let (path, at) = found.expect("the command is on the disk");
    disk.flip_bit(&path, at, 0);
}

#[test]
fn a_scrub_says_how_far_it_is_and_when_it_last_was_through() {
    let mut life = Life::first(7);
    while life.log.stats().segments_live < 3 {
        life.append_next(0, 1, 6000);
        life.quiesce();
    }
    let hour = 3_600_000_000;
    let mut now = 100 * hour;
    assert!(life.log.scrub(Time(now)).is_none(), "the first pass is a while after the start");
    now += hour;
    life.log.note_time(Time(now));
    assert_eq!(life.log.stats().scrub_age_us, hour);
    let mut passed = 0;
    while life.log.stats().scrub_passes == 0 {
        now += 1_000_000;
        if let Some(job) = life.log.scrub(Time(now)) {
            let scrubbed = block_on(job.run());
            assert!(life.log.scrubbed(Time(now), scrubbed).is_none(), "all is sound");
            passed = life.log.stats().scrub_pass_bytes;
        }
    }
    life.log.note_time(Time(now + 5));
    let stats = life.log.stats();
    assert!(passed > 0 && passed <= stats.live_bytes, "{passed} of {stats:?}");
    assert_eq!((stats.scrubbed_bytes, stats.scrub_pass_bytes, stats.scrub_age_us), (passed, 0, 5));
    assert_eq!((stats.cache_misses, stats.cache_hits), (0, 0), "nobody missed anything");
}

/// Each look at this clock is ten microseconds after the one before.
fn clock() -> Time {
    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });
    NOW.set(NOW.get() + 10);
    Time(NOW.get())
}

#[test]
fn a_start_says_what_it_took_and_what_is_gone() {
    let mut life = Life::first(8);
    let command = b"to be found in the file".repeat(9);
    life.append_command(0, raft::EntryId::new(raft::Term(1), Index(1)), &command);
    life.append_next(1, 1, 100);
    life.quiesce();
    flip(&life.disk, &command);
    let (log, recovered) = start(&life.disk);
    let recovery = log.stats().recovery;
    assert_eq!(recovery, recovered.report);
    assert!(recovery.bytes_read > 0);
    assert_eq!((recovery.losses, recovery.groups_lost, recovery.torn_tail_bytes), (1, 1, 0));
    let phases = recovery.phases;
    assert_eq!((phases.survey_us, phases.read_us, phases.replay_us), (10, 10, 10));
    assert!(phases.write_us >= 10);
    let stats = log.stats();
    let counted = (stats.batches, stats.written.count, stats.checkpointed.count);
    assert_eq!(counted, (0, 0, 0), "what the start wrote is not counted");
}

#[test]
fn entries_that_are_given_up_are_counted() {
    let mut life = Life::first(9);
    life.append_next(0, 3, 100);
    life.quiesce();
    life.log.lose(GroupId(0), Index(2));
    assert_eq!(life.log.stats().group_losses, 1);
}

fn start(disk: &SimDisk) -> (Log<SimDisk>, raftlog::Recovered) {
    let options = Options { clock, ..options(9) };
    block_on(Log::open(disk.clone(), dir(), options)).expect("what is lost is named")
}
