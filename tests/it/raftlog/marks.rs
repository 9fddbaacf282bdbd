//! Every branch of the log's recovery is reached: by crashes at random moments of random lives, and by blocks that are gone.

use std::collections::BTreeSet;

use ringraft_tests::disk::{SimDisk, block_on};
use ringraft_tests::node_sim::marks::MARKS;

use super::crashes::live;
use super::harness::{Life, any_options, open};

/// Makes the first block of a file unreadable.
fn behead(disk: &SimDisk, number: usize) {
    let paths = disk.paths();
    if let Some(path) = paths.get(number)
        && disk.bytes(path).is_some_and(|bytes| bytes.len() >= 4096)
    {
        disk.overwrite(path, 0, &[0; 4096]);
    }
}

/// Recovers, whatever comes of it.
fn recover(disk: &SimDisk, seed: u64) {
    let _damaged_or_not = open(disk, seed);
}

#[test]
fn every_branch_of_the_logs_recovery_is_reached() {
    let _before = runtime::probe::take_marks();
    let named = MARKS.iter().map(|(name, _)| *name).filter(|name| name.starts_with("log."));
    let mut missing: BTreeSet<&str> = named.collect();
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let life = Life::with(any_options(seed));
        let mut life = live(live(life, &mut rng), &mut rng);
        if rng.u8(..3) == 0 {
            life.disk.hold(false);
            life.disk.release_all();
            let _short_of_segments = block_on(life.log.close());
        }
        life.disk.crash(rng.u64(..));
        recover(&life.disk.image(), seed);
        let files = life.disk.paths().len();
        let rotten = life.disk.image();
        for path in rotten.paths() {
            let blocks = rotten.bytes(&path).map_or(0, |bytes| bytes.len() as u64 / 4096).max(1);
            rotten.overwrite(&path, rng.u64(..blocks) * 4096, &[0; 4096]);
        }
        recover(&rotten, seed);
        let (one, all) = (life.disk.image(), life.disk.image());
        behead(&one, rng.usize(..files.max(1)));
        recover(&one, seed);
        (0..files).for_each(|number| behead(&all, number));
        recover(&all, seed);
        for name in runtime::probe::take_marks().keys() {
            missing.remove(name);
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("no life reached {missing:?}");
}
