//! Short random lives in which the power goes, or the disk fails, at each of their operations.

use std::io::ErrorKind;

use raft::Time;
use raftlog::LogError;
use ringraft_tests::disk::{Fault, block_on};

use super::crashes::live;
use super::harness::{Life, any_options};

/// Turns of a life.
const TURNS: usize = 25;

/// Some random turns with writes in flight, and then a clean end, up to where the disk fails. `at_turn` may break it.
fn run(life: &mut Life, rng: &mut fastrand::Rng, at_turn: impl Fn(&Life, usize)) -> Result<(), LogError> {
    life.disk.hold(true);
    for turn in 0..TURNS {
        at_turn(life, turn);
        if life.log.is_full() {
            life.compact_all();
        }
        for _ in 0..rng.usize(..4) {
            if life.log.has_room() {
                life.random(rng);
            }
        }
        life.log.submit();
        let mut held = life.disk.held();
        rng.shuffle(&mut held);
        held.truncate(rng.usize(..=held.len()));
        held.into_iter().for_each(|id| life.disk.release(id));
        life.try_settle()?;
    }
    life.disk.release_all();
    life.disk.hold(false);
    at_turn(life, TURNS);
    life.acked = block_on(life.log.close()).or_else(no_segment(life))?;
    Ok(())
}

/// A log that is short of segments is left as it is.
fn no_segment(life: &Life) -> impl Fn(LogError) -> Result<raftlog::BatchSeq, LogError> {
    let durable = life.log.durable();
    move |error| if error.kind == ErrorKind::StorageFull { Ok(durable) } else { Err(error) }
}

/// Invariants 1, 2, 3, 6, 10, 11, 18: whatever operation is the last, of a random life and of its clean end, and whatever arrives of
/// what is under way; what was dropped does not come back in the lives after it.
#[test]
fn a_power_cut_at_every_operation_loses_nothing_acknowledged() {
    let (mut cuts, mut closing) = (0, 0);
    for seed in 0..16 {
        let fresh = || (Life::with(any_options(seed)), fastrand::Rng::with_seed(seed));
        let (mut life, mut rng) = fresh();
        let before = life.disk.operations();
        let opened = std::cell::Cell::new(0);
        run(&mut life, &mut rng, |life, turn| {
            if turn == TURNS {
                opened.set(life.disk.operations() - before);
            }
        })
        .expect("no fault");
        let operations = life.disk.operations() - before;
        closing += operations - opened.get();
        for step in 0..operations {
            let (mut life, mut rng) = fresh();
            life.disk.cut_power_after(step);
            // It goes unseen if nothing was written after it, or only files for later that could not be made.
            let _unseen = run(&mut life, &mut rng, |_, _| {});
            let mut rng = fastrand::Rng::with_seed(seed << 32 | step);
            life.disk.crash(rng.u64(..));
            life = live(life.reopen(seed + 100), &mut rng);
            life.disk.crash(rng.u64(..));
            life.reopen(seed + 200);
            cuts += 1;
        }
    }
    assert!(cuts > 500 && closing > 30, "{cuts} cuts, {closing} of them in clean ends");
}

/// Invariant 17: whichever write fails, nothing is acknowledged from then on, nothing is written, and nothing that was
/// acknowledged before is lost.
#[test]
fn an_error_at_every_turn_is_the_last_word() {
    let mut failed = 0;
    for seed in 0..20 {
        for at in 0..=TURNS {
            let mut life = Life::with(any_options(seed));
            let mut rng = fastrand::Rng::with_seed(seed);
            let fail = |life: &Life, turn| {
                if turn == at {
                    life.disk.fail_next(Fault::Write, ErrorKind::Other);
                }
            };
            let Err(error) = run(&mut life, &mut rng, fail) else { continue };
            failed += 1;
            let (durable, operations) = (life.log.durable(), life.disk.operations());
            assert!(durable < error.batch, "seed {seed}: {durable} is acknowledged, and {error} is not");
            for turn in 0..5 {
                if life.log.has_room() {
                    life.random(&mut rng);
                }
                life.log.submit();
                life.log.tick(Time(1 << 40 | turn));
                life.disk.release_all();
                assert_eq!(life.log.poll().expect_err("for ever").batch, error.batch);
                assert_eq!(life.log.durable(), durable, "seed {seed}: acknowledged after an error");
            }
            assert_eq!(life.disk.operations(), operations, "seed {seed}: written after an error");
            life.acked = durable;
            life.disk.crash(rng.u64(..));
            life.reopen(seed + 100);
        }
    }
    assert!(failed > 300, "only {failed} lives met the error");
}
