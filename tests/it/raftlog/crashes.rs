//! Random work, random crashes, several lives: nothing acknowledged is lost and nothing dropped comes back.

use raft::{EntryId, Index, Term};
use ringraft_tests::disk::{Fault, block_on};
use runtime::{Buffer, Disk, File};

use super::harness::{Life, any_options, check, open};

/// A life of some turns, ended by a crash with writes in flight.
pub(super) fn live(mut life: Life, rng: &mut fastrand::Rng) -> Life {
    life.disk.hold(true);
    for _ in 0..rng.usize(..60) {
        if life.log.is_full() {
            life.compact_all();
        }
        for _ in 0..rng.usize(..5) {
            if life.log.has_room() {
                life.random(rng);
            }
        }
        life.turn(rng);
    }
    if rng.u8(..4) == 0 {
        life.quiesce();
    }
    life
}

/// Invariants 1, 2, 3, 4, 6, 7, 8, 10, 11, 14: five lives per seed.
#[test]
fn acknowledged_batches_survive_crashes_and_dropped_ones_stay_dropped() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(any_options(seed));
        for round in 0..5 {
            life = live(life, &mut rng);
            life.disk.crash(rng.u64(..));
            life = life.reopen(seed * 100 + round);
        }
    }
}

/// Invariant 5: recovery is idempotent, and a crash at any of its own steps changes nothing.
#[test]
fn a_crash_at_every_step_of_recovery_is_harmless() {
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(1000 + seed);
        let mut life = live(live(Life::first(seed), &mut rng), &mut rng);
        life.log.submit();
        life.disk.crash(rng.u64(..));
        let (log, once) = open(&life.disk.image(), 1).expect("a crash is no damage");
        drop(log);
        for step in 0.. {
            let disk = life.disk.image();
            disk.cut_power_after(step);
            let finished = open(&disk, 2 + step).is_ok();
            disk.crash(rng.u64(..));
            let (log, twice) = open(&disk, 3 + step).expect("a crash during recovery is no damage");
            assert_eq!(once.groups, twice.groups, "seed {seed}, power cut after {step} steps of recovery");
            let (_, model) = life.after.range(..=once.report.last_batch.0).next_back().expect("a model");
            check(&log, &twice, model);
            if finished {
                break;
            }
        }
    }
}

/// Invariant 6: a write that reaches the platter only after the recovery that did without it stays without effect,
/// and the batch behind it, sound all along, does too.
#[test]
fn a_write_that_lands_after_recovery_is_not_believed() {
    let mut lost = 0;
    for seed in 0..40 {
        let mut life = Life::first(seed);
        life.append_next(0, 2, 100);
        life.quiesce();
        life.disk.hold(true);
        life.append_next(0, 1, 100);
        life.log.submit();
        let late = life.log.building();
        life.append_next(0, 1, 100);
        life.log.submit();
        let behind = life.log.building();
        let landed = life.disk.image();
        landed.release_all();
        life.disk.release(life.disk.held()[1]);
        life.settle();
        life.disk.crash(seed);
        let crashed = life.disk.image();
        let life = life.reopen(100 + seed);
        if life.acked >= late {
            continue;
        }
        lost += 1;
        assert!(life.log.building() > behind, "numbers of dropped batches are not used again");
        for path in crashed.paths() {
            let (before, after) = (crashed.bytes(&path).expect("there"), landed.bytes(&path).expect("there"));
            for (number, block) in after.chunks(4096).enumerate() {
                if block != &before[number * 4096..][..4096] {
                    life.disk.overwrite(&path, number as u64 * 4096, block);
                }
            }
        }
        life.reopen(200 + seed);
    }
    assert!(lost > 10, "the late write must be lost at times");
}

/// Invariant 13: a record that dies while its batch waits lives again if what killed it is lost, and so its segment
/// must not be left out of a checkpoint taken between the two.
#[test]
fn a_record_killed_while_its_batch_waits_may_live_again() {
    for seed in 0..30 {
        let mut life = Life::first(seed);
        life.append_next(1, 1, 10);
        life.quiesce();
        life.disk.hold(true);
        for _ in 0..4 {
            life.append_next(1, 1, 10);
            life.log.submit();
        }
        // The pipeline is full; each of these fills a segment. The first rolls, so that a checkpoint goes behind them.
        for group in [2, 0, 1] {
            life.append_next(group, 1, 22_000);
            life.log.submit();
        }
        let checkpoints = life.log.stats().checkpoints;
        life.disk.release(life.disk.held()[0]);
        life.settle();
        assert_eq!(life.log.stats().checkpoints, checkpoints + 1);
        life.append(0, EntryId::new(Term(2), Index(1)), 1, 10);
        life.log.submit();
        let killer = life.log.building();
        while life.acked.0 + 1 < killer.0 {
            life.disk.release(life.disk.held()[0]);
            life.settle();
        }
        life.disk.crash(seed);
        life.reopen(100 + seed);
    }
}

/// Invariant 6: a sync that fails may drop what it was to make durable, and the next start's says that all is well: what that start
/// believed must survive the next power cut all the same.
#[test]
fn what_a_failed_sync_dropped_is_written_again() {
    let mut believed = 0;
    for seed in 0..30 {
        let mut life = Life::first(seed);
        life.append_next(0, 2, 100);
        life.quiesce();
        let before = life.disk.image();
        life.disk.hold(true);
        let late = life.log.building();
        life.append_next(0, 1, 100);
        life.log.submit();
        life.disk.release_all();
        // On this disk the last batch was written, and is not durable.
        for path in before.paths() {
            let (old, new) = (before.bytes(&path).expect("there"), life.disk.bytes(&path).expect("there"));
            let file = block_on(before.open(&path)).expect("there");
            for (number, block) in new.chunks(4096).enumerate() {
                if block != &old[number * 4096..][..4096] {
                    let written = file.write_at(number as u64 * 4096, Buffer::copy_from(block));
                    block_on(written).expect("room");
                }
            }
        }
        before.fail_next(Fault::Sync, std::io::ErrorKind::Other);
        assert!(open(&before, 1).is_err(), "a failed sync ends a start");
        let (log, recovered) = open(&before, 2).expect("the disk says that all is well");
        drop(log);
        believed += usize::from(recovered.report.last_batch >= late);
        before.crash(seed);
        let (_, again) = open(&before, 3).expect("what was believed is there");
        assert!(again.report.last_batch >= recovered.report.last_batch, "seed {seed}");
    }
    assert!(believed > 20, "the last batch must be believed at times, not {believed}");
}
