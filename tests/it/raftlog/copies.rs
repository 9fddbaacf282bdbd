//! Copies of segments and of entries, and files in any order: a start finds what is there once.

use std::path::{Path, PathBuf};

use raftlog::{Log, OpenError, Options};
use ringraft_tests::disk::{SimDisk, block_on};

use super::crashes::live;
use super::harness::{GROUPS, Life, SEGMENT_BYTES, any_options, check, dir, open, options};

/// The number of the segment in a file; 0 if it was never used.
fn segment(disk: &SimDisk, path: &Path) -> u64 {
    let bytes = disk.bytes(path).expect("it is there");
    u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes"))
}

fn slots(disk: &SimDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

/// Invariant 9, files: their names say nothing of the order of segments, and a copy of one under another name is refused, not taken
/// for a segment.
#[test]
fn segments_count_once_and_in_their_own_order() {
    let (mut mixed, mut copies) = (0, 0);
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let life = live(live(Life::with(any_options(seed)), &mut rng), &mut rng);
        life.disk.crash(rng.u64(..));
        let image = life.disk.image();
        let life = life.reopen(seed + 1_000);
        let paths = slots(&image);
        mixed += usize::from(!paths.is_sorted_by_key(|path| segment(&image, path)));
        for path in paths.iter().filter(|path| segment(&image, path) > 0) {
            let disk = image.image();
            let copy = dir().join("slot-000999.log");
            disk.put(&copy, &disk.bytes(path).expect("it is there"));
            match open(&disk, 1) {
                Err(OpenError::Foreign { path, .. } | OpenError::Damaged { path, .. }) => {
                    assert_eq!(path, copy, "seed {seed}");
                    copies += 1;
                }
                Err(error) => panic!("seed {seed}: {error}"),
                // The front of a torn segment, never whole.
                Ok((log, recovered)) => check(&log, &recovered, &life.model),
            }
        }
    }
    assert!(mixed > 10 && copies > 200, "{mixed} logs in another order, {copies} copies");
}

/// Invariant 9, entries: those that nobody compacts are moved again and again; a start at any time finds each once, by the lists
/// of what lives and without.
#[test]
fn entries_that_were_moved_many_times_are_there_once() {
    let mut life = Life::with(Options { cap_bytes: 8 * SEGMENT_BYTES, ..options(11) });
    let mut idle_bytes = 0;
    for turn in 0..400_u32 {
        if turn < 12 {
            life.append_next(1 + turn % (GROUPS - 1), 1, 300);
            idle_bytes += 400;
        }
        life.append_next(0, 2, 5000);
        life.quiesce();
        let last = life.group(0).last();
        life.compact(0, last);
        life.quiesce();
        if turn % 4 == 0 {
            for uses_indexes in [true, false] {
                let options = Options { uses_indexes, ..options(turn.into()) };
                let opened = block_on(Log::open(life.disk.image(), dir(), options));
                let (log, recovered) = opened.expect("nothing was damaged");
                check(&log, &recovered, &life.model);
            }
        }
    }
    let stats = life.log.stats();
    assert!(stats.relocated_bytes > 4 * idle_bytes, "{stats:?}");
    assert_eq!(life.group(1).entries.len() + life.group(2).entries.len(), 12);
    life.disk.crash(1);
    life.reopen(2);
}
