//! Groups that are removed and begin anew under the same number.

use ringraft_tests::disk::block_on;

use super::harness::{GROUPS, Life, any_options, check, dir, open};

/// Turns in which groups begin anew among all else; writes in flight complete by chance, or all of them.
fn live(mut life: Life, rng: &mut fastrand::Rng, is_calm: bool) -> (Life, usize) {
    life.disk.hold(!is_calm);
    let mut begun = 0;
    for _ in 0..rng.usize(10..60) {
        if life.log.is_full() {
            life.compact_all();
        }
        for _ in 0..rng.usize(..5) {
            if !life.log.has_room() {
                break;
            }
            let group = rng.u32(..GROUPS);
            // Before its first entries a group is of no incarnation.
            if rng.u8(..8) == 0 && life.group(group).incarnation > 0 {
                begun += 1;
                life.begin_anew(group, rng.u32(1..5), rng.usize(..3000));
            } else {
                life.random(rng);
            }
        }
        if is_calm { life.quiesce() } else { life.turn(rng) }
    }
    (life, begun)
}

/// Invariant 12: nothing of a group that is gone comes back, neither for the next one of its number nor when batches of that are
/// lost; also where entries were moved meanwhile, over several starts.
#[test]
fn a_group_that_begins_anew_sees_nothing_of_the_one_before() {
    let mut begun = 0;
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(any_options(seed));
        for round in 0..4 {
            let is_calm = rng.u8(..3) == 0;
            let (lived, some) = live(life, &mut rng, is_calm);
            begun += some;
            lived.disk.crash(rng.u64(..));
            life = lived.reopen(seed * 100 + round);
        }
    }
    assert!(begun > 3_000, "{begun} groups began anew");
}

/// The same by the lists of what lives, and without them.
#[test]
fn lists_hold_nothing_of_a_group_that_is_gone() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut life, _) = live(Life::with(any_options(seed)), &mut rng, true);
        if rng.bool() {
            block_on(life.log.close()).expect("no disk fails");
        }
        let (log, with) = open(&life.disk.image(), 1).expect("sound");
        check(&log, &with, &life.model);
        let options = raftlog::Options { uses_indexes: false, ..any_options(seed) };
        let (log, without) = block_on(raftlog::Log::open(life.disk.image(), dir(), options)).expect("sound");
        check(&log, &without, &life.model);
    }
}
