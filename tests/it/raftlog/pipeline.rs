//! Batches in flight: prefix acknowledgement, rolls, seals, errors.

use std::io::ErrorKind;

use raft::Time;
use raftlog::BatchSeq;
use ringraft_tests::disk::{Fault, block_on};

use super::harness::{Life, open};

/// `count` turns of one append, whose writes are held.
fn turns(life: &mut Life, count: usize) -> Vec<BatchSeq> {
    let mut batches = Vec::new();
    for _ in 0..count {
        life.append_next(0, 1, 100);
        life.log.submit();
        batches.push(life.log.building());
    }
    batches
}

/// Invariant 4.
#[test]
fn the_durable_end_is_a_prefix_whatever_order_writes_complete_in() {
    let mut life = Life::first(1);
    life.quiesce();
    life.disk.hold(true);
    let batches = turns(&mut life, 4);
    let held = life.disk.held();
    assert_eq!(held.len(), 4, "four batches are in flight at once");
    let before = life.log.poll().expect("no fault");
    for late in [3, 1, 2] {
        life.disk.release(held[late]);
        assert_eq!(life.log.poll().expect("no fault"), before, "the first one is still in flight");
    }
    life.disk.release(held[0]);
    assert_eq!(life.log.poll().expect("no fault"), batches[3]);
}

#[test]
fn turns_that_find_the_pipeline_full_share_a_batch() {
    let mut life = Life::first(2);
    life.quiesce();
    life.disk.hold(true);
    let batches = turns(&mut life, 9);
    assert!(batches[4..].iter().all(|batch| *batch == batches[4]), "{batches:?}");
    assert_eq!(life.log.visible(raft::GroupId(0)).0, 4, "only what is issued may be read or sent");
    life.disk.release(life.disk.held()[0]);
    life.log.poll().expect("no fault");
    assert_eq!(life.log.visible(raft::GroupId(0)).0, 9);
    // What is added after submit belongs to a turn that has not ended: it is not issued by a poll.
    life.append_next(0, 1, 100);
    life.disk.release_all();
    life.log.poll().expect("no fault");
    assert_eq!(life.log.visible(raft::GroupId(0)).0, 9);
    life.quiesce();
    assert_eq!(life.log.visible(raft::GroupId(0)).0, 10);
}

/// Invariant 18: a roll at every place of a segment, 0 to 4 writes in flight, any of them lost.
#[test]
fn a_roll_at_any_batch_with_any_writes_in_flight_loses_nothing() {
    for filler in 0..10 {
        for in_flight in 0..=4 {
            for seed in 0..8 {
                let mut life = Life::first(seed);
                life.quiesce();
                for _ in 0..filler {
                    life.append_next(1, 1, 2500);
                    life.quiesce();
                }
                let rolls = life.log.stats().rolls;
                life.disk.hold(true);
                for _ in 0..in_flight {
                    life.append_next(0, 1, 7000);
                    life.log.submit();
                }
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut held = life.disk.held();
                rng.shuffle(&mut held);
                held.into_iter().take(rng.usize(..=in_flight)).for_each(|id| life.disk.release(id));
                life.settle();
                assert!(in_flight < 4 || life.log.stats().rolls > rolls, "four such batches fill a segment");
                life.disk.crash(seed);
                life = life.reopen(100 + seed);
                life.append_next(0, 1, 10);
                life.quiesce();
                life.disk.crash(seed);
                life.reopen(200 + seed);
            }
        }
    }
}

#[test]
fn an_idle_log_is_sealed_once_and_then_at_rest() {
    let mut life = Life::first(3);
    life.quiesce();
    life.append_next(0, 1, 10);
    life.log.submit();
    life.log.poll().expect("no fault");
    let batches = life.log.stats().batches;
    life.log.tick(Time(5_000_000));
    assert_eq!(life.log.deadline(), Time(5_002_000), "2 ms after the pipe was seen empty");
    life.log.tick(Time(5_001_999));
    assert_eq!(life.log.stats().batches, batches);
    life.log.tick(Time(5_002_000));
    assert_eq!(life.log.stats().batches, batches + 1);
    life.log.poll().expect("no fault");
    life.log.tick(Time(9_000_000));
    assert_eq!((life.log.deadline(), life.log.stats().batches), (Time::NEVER, batches + 1));
}

#[test]
fn work_puts_the_seal_off() {
    let mut life = Life::first(4);
    life.quiesce();
    life.append_next(0, 1, 10);
    life.log.submit();
    life.log.poll().expect("no fault");
    life.log.tick(Time(5_000_000));
    life.append_next(0, 1, 10);
    life.log.tick(Time(5_003_000));
    assert_eq!(life.log.deadline(), Time::NEVER);
}

/// Invariant 17: an error is for ever, and what completes after it is not acknowledged.
#[test]
fn after_an_error_nothing_is_acknowledged() {
    let mut life = Life::first(5);
    life.quiesce();
    life.disk.hold(true);
    let batches = turns(&mut life, 3);
    let held = life.disk.held();
    life.disk.release(held[0]);
    assert_eq!(life.log.poll().expect("no fault yet"), batches[0]);
    life.acked = batches[0];
    life.disk.fail_held(held[1], ErrorKind::Other);
    let error = life.log.poll().expect_err("a failed write");
    assert_eq!((error.batch, error.kind), (batches[1], ErrorKind::Other));
    life.disk.release(held[2]);
    let operations = life.disk.operations();
    life.append_next(0, 1, 10);
    life.log.submit();
    life.log.tick(Time(99_000_000));
    assert_eq!(life.log.poll().expect_err("for ever").batch, batches[1]);
    assert_eq!(life.log.durable(), batches[0]);
    assert_eq!(life.disk.operations(), operations, "nothing is written any more");
    life.disk.crash(1);
    life.reopen(6);
}

#[test]
fn a_write_that_fails_at_once_is_as_fatal() {
    let mut life = Life::first(6);
    life.quiesce();
    life.disk.fail_next(Fault::Write, ErrorKind::StorageFull);
    life.append_next(0, 1, 10);
    life.log.submit();
    assert_eq!(life.log.poll().expect_err("failed").kind, ErrorKind::StorageFull);
    assert!(block_on(life.log.drain()).is_err());
}

#[test]
fn errors_while_opening_are_errors_and_no_log_is_made() {
    let mut life = Life::first(7);
    life.append_next(0, 5, 100);
    life.quiesce();
    for fault in [Fault::Write, Fault::Sync, Fault::Read, Fault::SyncDir] {
        life.disk.fail_next(fault, ErrorKind::Other);
        let Err(error) = open(&life.disk, 8) else { panic!("{fault:?} went unseen") };
        assert!(matches!(error, raftlog::OpenError::Io { .. }), "{error}");
    }
    life.reopen(9);
}

#[test]
fn drain_waits_for_all_and_the_epoch_grows() {
    let mut life = Life::first(8);
    assert_eq!(life.log.boot_epoch(), 1);
    life.append_next(0, 1, 10);
    let batch = life.log.building();
    assert!(block_on(life.log.drain()).expect("no fault") >= batch);
    life.acked = batch;
    let life = life.reopen(9);
    assert_eq!(life.log.boot_epoch(), 2);
    assert_eq!(life.reopen(10).log.boot_epoch(), 3);
}
