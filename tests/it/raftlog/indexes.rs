//! What lives in complete segments is listed: a start reads the lists, and walks through what is newer or has none.

use ringraft_tests::disk::block_on;

use super::harness::{GROUPS, Life, SEGMENT_BYTES, check, open, options, tight_options};

/// Many segments with entries that all live.
fn filled(segments: usize) -> Life {
    let mut life = Life::first(5);
    let mut written = 0;
    while life.log.stats().segments_live < segments {
        life.append_next(written % GROUPS, 3, 700);
        life.quiesce();
        written += 1;
    }
    life
}

fn indexed() -> u64 {
    runtime::probe::take_marks().get("log.indexed").copied().unwrap_or_default()
}

/// Invariant 15, a clean end: the next start reads the fronts of all files, one segment that holds a checkpoint, and the lists.
#[test]
fn a_start_after_a_clean_end_reads_checkpoint_and_indexes_only() {
    let mut life = filled(16);
    block_on(life.log.close()).expect("no disk fails");
    indexed();
    let (log, recovered) = open(&life.disk, 6).expect("a clean end");
    check(&log, &recovered, &life.model);
    assert!(indexed() >= 15, "every segment has a list");
    let files = life.disk.paths().len() as u64;
    let held = 16 * SEGMENT_BYTES;
    let read = recovered.report.bytes_read;
    // Fronts of two blocks, lists of one, and the records with configurations, which are many here.
    assert!(
        read < files * 2 * 4096 + 16 * 4096 + held / 4,
        "{read} bytes of {files} files, {held} in segments"
    );
}

/// A start does not list again what is listed: its checkpoint takes hardly any bytes, however much lives.
#[test]
fn lists_outlive_starts() {
    let mut life = filled(16);
    for seed in 6..9 {
        block_on(life.log.close()).expect("no disk fails");
        let before = life.disk.paths().iter().filter_map(|path| life.disk.bytes(path)).collect::<Vec<_>>();
        life = life.reopen(seed);
        let after = life.disk.paths().iter().filter_map(|path| life.disk.bytes(path)).collect::<Vec<_>>();
        let blocks = |files: &[Vec<u8>]| {
            files.iter().flat_map(|file| file.chunks(4096)).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (before, after) = (blocks(&before), blocks(&after));
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        // Each list takes a block, and a checkpoint without them four.
        assert!(changed < 16, "start {seed} wrote {changed} blocks");
        indexed();
    }
    drop(life.log);
    let (log, recovered) = open(&life.disk, 9).expect("a clean end");
    check(&log, &recovered, &life.model);
    assert!(indexed() >= 15, "every segment still has its list");
}

/// Invariant 15, a crash: the same, and the segments that are newer than the newest checkpoint.
#[test]
fn a_start_after_a_crash_walks_through_what_is_newer_than_the_checkpoint_only() {
    let life = filled(16);
    life.disk.crash(3);
    indexed();
    let (log, recovered) = open(&life.disk, 6).expect("a crash is no damage");
    check(&log, &recovered, &life.model);
    assert!(indexed() >= 13);
}

/// A list is a help and no more: without it its segment is walked.
#[test]
fn a_start_without_lists_finds_the_same() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(if seed % 2 == 0 { options(seed) } else { tight_options(seed) });
        for _ in 0..60 {
            for _ in 0..rng.usize(..6) {
                if life.log.is_full() {
                    life.compact_all();
                }
                life.random(&mut rng);
            }
            life.quiesce();
        }
        if rng.bool() {
            block_on(life.log.close()).expect("no disk fails");
        }
        let (_, with) = open(&life.disk.image(), 1).expect("sound");
        let without = raftlog::Options { uses_indexes: false, ..options(1) };
        let opened = block_on(raftlog::Log::open(life.disk.image(), super::harness::dir(), without));
        let (log, without) = opened.expect("sound");
        assert_eq!(with.groups, without.groups, "seed {seed}");
        check(&log, &without, &life.model);
    }
}

/// Appends until the next segment is begun; what there was before.
fn roll(life: &mut Life) -> raftlog::Stats {
    let before = life.log.stats();
    while life.log.stats().rolls == before.rolls {
        (0..12).for_each(|at| life.append_next(at % GROUPS, 1, 40));
        life.log.submit();
        life.disk.release_all();
        life.settle();
    }
    before
}

/// Of a segment of many records the list takes several turns, which are asked for; meanwhile entries go on, and die.
#[test]
fn a_list_is_made_over_several_turns() {
    let mut life = Life::with(raftlog::Options { looks_per_turn: 1, ..options(11) });
    let before = roll(&mut life);
    let mut turns = 0;
    while life.log.deadline() != raft::Time::NEVER {
        assert_eq!(life.log.stats().checkpoints, before.checkpoints, "not before all is listed");
        life.append_next(turns % GROUPS, 1, 40);
        turns += 1;
        if turns == 2 {
            let last = life.group(0).last();
            life.append(0, raft::EntryId::new(last.term.next(), raft::Index(3)), 1, 40);
        }
        life.log.submit();
        life.disk.release_all();
        life.settle();
    }
    life.quiesce();
    assert!(turns > 2 && life.log.stats().checkpoints > before.checkpoints, "{turns} turns");
    life.disk.crash(5);
    indexed();
    life.reopen(12);
    assert!(indexed() > 0, "the first segment is listed");
}

/// Nothing else wakes a log that is at rest: what its turns have listed goes to the disk in the last of them.
#[test]
fn a_checkpoint_is_written_in_the_turn_in_which_its_list_ends() {
    for looks_per_turn in 1..=6 {
        let mut life = Life::with(raftlog::Options { looks_per_turn, ..options(14) });
        let before = roll(&mut life);
        while life.log.deadline() != raft::Time::NEVER {
            assert_eq!(life.log.stats().in_flight, 0, "nothing but lists to make");
            life.log.poll().expect("a sound disk");
        }
        let stats = life.log.stats();
        assert!(stats.checkpoints > before.checkpoints, "{looks_per_turn} looks a turn: its list has ended");
        assert!(stats.in_flight > 0 || stats.unsynced_bytes == 0, "{looks_per_turn} looks a turn: it waits");
    }
}

/// Segments that were completed while a list was made are all listed with the next checkpoint, though that takes many turns too.
#[test]
fn lists_that_take_turns_leave_no_segment_out() {
    let mut life = Life::with(raftlog::Options { looks_per_turn: 1, ..options(12) });
    let first = life.log.stats();
    while life.log.stats().rolls < first.rolls + 9 {
        (0..24).for_each(|at| life.append_next(at % GROUPS, 1, 200));
        life.log.submit();
        life.disk.release_all();
        life.settle();
    }
    life.quiesce();
    let rolls = life.log.stats().rolls;
    while life.log.stats().rolls == rolls {
        life.append_next(0, 1, 200);
        life.quiesce();
    }
    life.quiesce();
    life.disk.crash(5);
    indexed();
    let life = life.reopen(13);
    let complete = u64::try_from(life.log.stats().segments_live).expect("few") - 2;
    let listed = indexed();
    // An index that lies in two segments is not used.
    assert!(listed + 1 >= complete, "{listed} lists of {complete} complete segments");
}
