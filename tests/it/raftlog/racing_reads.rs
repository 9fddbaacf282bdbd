//! Reads that take their time, while all else goes on.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use raft::{Check, EntryId, GroupId, Index, Term};
use raftlog::ReadError;
use ringraft_tests::disk::block_on;
use runtime::Buffer;

use super::harness::{GROUPS, Life, any_options};

/// A read under way, and what its group held when it began.
struct Reading {
    group: u32,
    first: u64,
    entries: BTreeMap<u64, (Term, Vec<u8>)>,
    future: Pin<Box<dyn Future<Output = Result<Vec<Buffer>, ReadError>>>>,
}

impl Reading {
    /// Of some entries of some group, if it has any.
    fn begin(life: &mut Life, rng: &mut fastrand::Rng) -> Option<Reading> {
        let group = rng.u32(..GROUPS);
        let (compacted, last) = (life.group(group).compacted.index.0, life.group(group).last().index.0);
        if compacted == last {
            return None;
        }
        let first = rng.u64(compacted + 1..=last);
        let until = rng.u64(first..=last);
        let future = life.log.read(GroupId(group), Index(first), Index(until), rng.usize(1..20_000));
        Some(Reading { group, first, entries: life.group(group).entries.clone(), future: Box::pin(future) })
    }

    /// What was there when it began, byte for byte.
    fn end(self, life: &Life) {
        let parts = block_on(self.future).expect("what was there is kept while it is read");
        let mut next = self.first;
        for entry in parts.iter().flat_map(|part| raft::entries(part, Check::Checksum)) {
            let entry = entry.expect("whole entries");
            let (term, command) = &self.entries[&next];
            let id = EntryId::new(*term, Index(next));
            assert_eq!((entry.id, entry.command), (id, &command[..]), "group {}", self.group);
            next += 1;
        }
        assert!(next > self.first, "group {}: {:?}", self.group, life.log.stats());
    }
}

/// Invariants 13 and 20: entries are compacted, truncated and moved, and segments used again, while reads are under way; none sees
/// anything but what was there when it began.
#[test]
fn reads_see_what_was_there_when_they_began() {
    let (mut reads, mut freed, mut moved) = (0, 0, 0);
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(any_options(seed));
        let mut under_way: Vec<Reading> = Vec::new();
        for turn in 0..150 {
            if life.log.is_full() {
                // They keep their segments: nothing else gives room.
                under_way.drain(..).for_each(|read| read.end(&life));
                life.compact_all();
            }
            for _ in 0..rng.usize(..4) {
                if life.log.has_room_for_entries() {
                    life.random(&mut rng);
                }
            }
            life.quiesce();
            if turn % 40 == 39 {
                // The next ones come off the disk, not from memory. A start knows of no readers.
                under_way.drain(..).for_each(|read| read.end(&life));
                life = life.reopen(seed * 100 + turn);
            }
            if under_way.len() < 3 {
                let begun = Reading::begin(&mut life, &mut rng);
                reads += usize::from(begun.is_some());
                under_way.extend(begun);
            }
            if rng.u8(..4) == 0 && !under_way.is_empty() {
                under_way.swap_remove(rng.usize(..under_way.len())).end(&life);
            }
        }
        let stats = life.log.stats();
        freed += stats.segments_freed;
        moved += stats.relocations;
        under_way.into_iter().for_each(|read| read.end(&life));
    }
    assert!(reads > 1_000 && freed > 100 && moved > 10, "{reads} reads, {freed} freed, {moved} moved");
}
