//! Blocks of segments are written once: a torn write can then hit nothing that was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::harness::{Life, any_options};

const BLOCK: usize = 4096;

/// What was seen of one file.
#[derive(Default)]
struct Use {
    bytes: Vec<u8>,
    /// Blocks that were written, each with the segment it was written for.
    written: BTreeSet<(u64, usize)>,
}

/// Looks at all files again and again.
#[derive(Default)]
struct Watch {
    files: BTreeMap<PathBuf, Use>,
    segments: BTreeSet<u64>,
}

/// The segment that a write is for, by its first block: the header of the segment, or of a batch.
fn segment(block: &[u8]) -> u64 {
    let at = if &block[..4] == b"RTB1" { 16 } else { 40 };
    u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"))
}

impl Watch {
    /// A look after one write.
    fn look(&mut self, life: &Life) {
        for path in life.disk.paths() {
            let now = life.disk.bytes(&path).expect("it is there");
            let before = self.files.entry(path.clone()).or_default();
            if before.bytes.len() == now.len() && before.bytes != now {
                let changed = |at: &usize| before.bytes[at * BLOCK..][..BLOCK] != now[at * BLOCK..][..BLOCK];
                let changed: Vec<usize> = (0..now.len() / BLOCK).filter(changed).collect();
                let segment = segment(&now[changed[0] * BLOCK..]);
                self.segments.insert(segment);
                for at in changed {
                    let is_first = before.written.insert((segment, at));
                    assert!(is_first, "block {at} of {path:?} is written twice for segment {segment}");
                }
            }
            before.bytes = now;
        }
    }
}

/// Invariant 16: over rolls, checkpoints, moved entries, crashes and starts no block is written twice in one use of its file. (That
/// no two writes in flight share a byte, the simulated disk sees to in every test.)
#[test]
fn a_block_is_written_once_in_a_use_of_its_file() {
    let (mut uses, mut files) = (0, 0);
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(any_options(seed));
        let mut watch = Watch::default();
        for round in 0..3 {
            life.disk.hold(true);
            watch.look(&life);
            for _ in 0..40 {
                if life.log.is_full() {
                    life.compact_all();
                }
                for _ in 0..rng.usize(..4) {
                    if life.log.has_room() {
                        life.random(&mut rng);
                    }
                }
                life.log.submit();
                while let Some(any) = rng.choice(life.disk.held())
                    && rng.u8(..4) > 0
                {
                    life.disk.release(any);
                    watch.look(&life);
                    life.settle();
                }
            }
            life.disk.crash(rng.u64(..));
            // What the crash tore was never whole, and counts as not written.
            watch.files.clear();
            life = life.reopen(seed * 10 + round);
        }
        uses += watch.segments.len();
        files += life.disk.paths().len();
    }
    assert!(uses > 2 * files, "{uses} uses of {files} files: they must be used again");
}
