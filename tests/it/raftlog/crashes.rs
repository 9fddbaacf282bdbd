//! Random work, random crashes, several lives: nothing acknowledged is lost and nothing dropped comes back.

use super::harness::{Life, check, open};

/// A life of some turns, ended by a crash with writes in flight.
fn live(mut life: Life, rng: &mut fastrand::Rng) -> Life {
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

/// Invariants 1, 2, 3, 4, 6, 7, 8, 10, 11: five lives per seed.
#[test]
fn acknowledged_batches_survive_crashes_and_dropped_ones_stay_dropped() {
    for seed in 0..std::env::var("SEEDS").map_or(150, |s| s.parse().unwrap()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::first(seed);
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
