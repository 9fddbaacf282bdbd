//! Rot, strangers and cut files: refused by name, and never mistaken for a torn tail.

use std::path::{Path, PathBuf};

use raft::{EntryId, Index, Standing, Term};
use raftlog::{OpenError, ReadError, Recovered};
use ringraft_tests::disk::{Silent, SimDisk, Timing, block_on};

use super::harness::{GROUPS, Life, SEGMENT_BYTES, check, check_entries, dir, open, options, tight_options};

const BLOCK: u64 = 4096;

pub(super) fn slots(disk: &SimDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect()
}

/// A log with several segments, some freed and used again, all sealed.
pub(super) fn sealed(seed: u64) -> Life {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut life = Life::first(seed);
    for _ in 0..60 {
        for _ in 0..3 {
            life.random(&mut rng);
        }
        life.quiesce();
    }
    life
}

/// Opens a damaged image. What it says must be true: either nothing anyone needs was hit, or it fails and names a
/// file, or the groups that lost something are named and the others are whole, or the damaged body is found when its entries
/// are read. Answers which.
pub(super) fn judge(life: &Life, disk: &SimDisk) -> &'static str {
    match open(disk, 77) {
        Err(OpenError::Damaged { path, .. }) => {
            assert!(path.starts_with(dir()) && path != dir(), "{path:?}");
            "refused"
        }
        Err(error) => panic!("{error}"),
        Ok((log, recovered)) => {
            // The last batch of all is a seal, for which nothing vouches, and which says nothing.
            let found = recovered.report.last_batch.0 + 1;
            assert!(found >= life.acked.0, "a sealed batch was taken for a torn tail");
            let lost = judge_lost(life, &recovered);
            let mut damaged = false;
            for (group, model) in life.model.iter().filter(|(group, _)| !lost.contains(group)) {
                let group = raft::GroupId(*group);
                let mut next = model.compacted.index.next();
                while next <= model.last().index {
                    match block_on(log.read(group, next, next, usize::MAX)) {
                        Ok(_) => {}
                        Err(ReadError::Damaged { index, .. }) => {
                            assert_eq!(index, next);
                            damaged = true;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    next = next.next();
                }
            }
            if damaged {
                return "found by a read";
            }
            let is_whole = |group: &u32| !lost.contains(group);
            let whole = life.model.clone().into_iter().filter(|(group, _)| is_whole(group)).collect();
            let losses = !recovered.losses.is_empty();
            let groups = recovered.groups.into_iter().filter(|found| is_whole(&found.group.0)).collect();
            check(&log, &Recovered { groups, ..Recovered::default() }, &whole);
            match (lost.is_empty(), losses) {
                (true, false) => "harmless",
                (true, true) => "not needed",
                (false, losses) => {
                    assert!(losses, "groups {lost:?} lost something, and it is not said where");
                    "lost and named"
                }
            }
        }
    }
}

/// The groups that say that they lost something: each has its hard state, and its snapshot or nothing.
fn judge_lost(life: &Life, recovered: &Recovered) -> Vec<u32> {
    let lost = recovered.groups.iter().filter(|found| found.is_lost);
    lost.map(|found| {
        let model = &life.model[&found.group.0];
        let (term, vote) = (found.hard_state.term, found.hard_state.vote);
        assert_eq!((term, vote), (model.hard_state.term, model.hard_state.vote), "{found:?}");
        let wanted = if model.hard_state.standing == Standing::Faulted {
            Standing::Faulted
        } else {
            Standing::Recovering
        };
        assert_eq!(found.hard_state.standing, wanted);
        let snapshot = found.snapshot.clone().map(|body| (found.snapshot_id, body));
        // The record of the newest one may be what was lost.
        let newest = model.snapshot.as_ref().map_or(Index(0), |(id, _)| id.index);
        let is_known = snapshot == model.snapshot || found.snapshot_id.index <= newest;
        assert!(snapshot.is_none() || is_known, "{found:?}");
        assert_eq!((found.compacted, found.last), (found.snapshot_id, found.snapshot_id.index));
        found.group.0
    })
    .collect()
}

/// Invariant 8: every block of every file, a flipped bit in its middle or a stale block in its place.
#[test]
fn damage_to_any_block_is_harmless_refused_or_found_by_a_read() {
    let life = sealed(3);
    let mut seen = std::collections::BTreeMap::new();
    for path in slots(&life.disk) {
        for (number, block) in (0..SEGMENT_BYTES / BLOCK).enumerate() {
            for offset in [0, 64, 300, 2000] {
                let disk = life.disk.image();
                disk.flip_bit(&path, block * BLOCK + offset, 3);
                *seen.entry(judge(&life, &disk)).or_insert(0) += 1;
            }
            let disk = life.disk.image();
            disk.overwrite(&path, block * BLOCK, &[0; 4096]);
            *seen.entry(judge(&life, &disk)).or_insert(0) += 1;
            let disk = life.disk.image();
            let bytes = disk.bytes(&path).expect("it is there");
            let stale = bytes.chunks(4096).cycle().nth(number + 1).expect("a cycle").to_vec();
            disk.overwrite(&path, block * BLOCK, &stale);
            *seen.entry(judge(&life, &disk)).or_insert(0) += 1;
        }
    }
    println!("{seen:?}");
    for outcome in ["harmless", "refused", "found by a read", "lost and named", "not needed"] {
        assert!(seen.contains_key(outcome), "this test must see all outcomes: {seen:?}");
    }
}

/// Invariant 8 for many logs, each with rot in one place: also where entries were truncated, moved, or compacted behind
/// it, nothing that was replaced comes back.
#[test]
fn what_rot_leaves_of_any_log_is_right() {
    let mut seen = std::collections::BTreeMap::new();
    // The first ones once showed a configuration, or entries, that had been replaced.
    for seed in [2028, 2173, 2495, 3049, 6431].into_iter().chain(0..400) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::with(if seed % 2 == 0 { options(seed) } else { tight_options(seed) });
        for _ in 0..rng.usize(20..80) {
            for _ in 0..rng.usize(..6) {
                if life.log.is_full() {
                    life.compact_all();
                }
                life.random(&mut rng);
            }
            life.quiesce();
        }
        for _ in 0..8 {
            let disk = life.disk.image();
            let path = slots(&disk).swap_remove(rng.usize(..slots(&disk).len()));
            let block = rng.u64(..SEGMENT_BYTES / BLOCK) * BLOCK;
            match rng.bool() {
                true => disk.overwrite(&path, block, &[0; 4096]),
                false => disk.flip_bit(&path, block + rng.u64(..BLOCK), rng.u32(..8)),
            }
            *seen.entry(judge(&life, &disk)).or_insert(0) += 1;
        }
    }
    println!("{seen:?}");
    for outcome in ["harmless", "refused", "found by a read", "lost and named", "not needed"] {
        assert!(seen.contains_key(outcome), "this test must see all outcomes: {seen:?}");
    }
}

/// What nobody else has is not given up: the start is refused, and the log left as it is for whoever can save something.
#[test]
fn a_log_that_nobody_else_has_is_refused_and_left_as_it_is() {
    let life = sealed(3);
    let alone = raftlog::Options { heals: false, ..options(77) };
    let mut refused = 0;
    for path in slots(&life.disk) {
        for block in 0..SEGMENT_BYTES / BLOCK {
            let disk = life.disk.image();
            disk.overwrite(&path, block * BLOCK, &[0; 4096]);
            let is_lost = judge(&life, &disk.image()) == "lost and named";
            let before: Vec<_> = slots(&disk).iter().map(|path| disk.bytes(path)).collect();
            match block_on(raftlog::Log::open(disk.clone(), dir(), alone.clone())) {
                Err(OpenError::Damaged { .. }) if is_lost => {
                    let after: Vec<_> = slots(&disk).iter().map(|path| disk.bytes(path)).collect();
                    assert_eq!(before, after);
                    refused += 1;
                }
                Err(error) => assert!(!is_lost, "{error}"),
                Ok(_) => assert!(!is_lost, "{path:?} {block}"),
            }
        }
    }
    assert!(refused > 3, "{refused} images with losses");
}

/// Invariant 8, the other half: the residual window. Damage to the last batch, not yet sealed, is a torn tail.
#[test]
fn only_the_unsealed_last_batch_may_pass_for_torn() {
    let mut life = Life::first(5);
    life.append_next(0, 3, 100);
    life.quiesce();
    let before = life.model.clone();
    life.append_next(0, 1, 100);
    life.log.submit();
    life.settle();
    let path = slots(&life.disk).remove(0);
    let bytes = life.disk.bytes(&path).expect("it is there");
    let magic = |block: &[u8]| &block[..4] == b"RTB1";
    let last = bytes.chunks(4096).rposition(magic).expect("a batch") as u64;
    let disk = life.disk.image();
    disk.flip_bit(&path, last * BLOCK + 8, 0);
    let (log, recovered) = open(&disk, 9).expect("nothing vouches for it");
    check(&log, &recovered, &before);
    life.quiesce();
    let disk = life.disk.image();
    disk.flip_bit(&path, last * BLOCK + 8, 0);
    let Err(OpenError::Damaged { path: named, offset, .. }) = open(&disk, 9) else {
        panic!("the seal vouches")
    };
    assert_eq!((named, offset), (path, last * BLOCK));
}

/// A file that is gone. (Not the newest one: with it goes all that vouches for it, which only peers can notice.)
#[test]
fn a_missing_segment_is_noticed() {
    let life = sealed(4);
    let sequence = |path: &PathBuf| {
        let bytes = life.disk.bytes(path).expect("it is there");
        u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes"))
    };
    let mut paths = slots(&life.disk);
    paths.sort_by_key(sequence);
    paths.pop();
    let mut outcomes = std::collections::BTreeSet::new();
    for path in paths {
        let disk = life.disk.image();
        disk.take_away(&path);
        outcomes.insert(judge(&life, &disk));
    }
    assert_eq!(
        Vec::from_iter(outcomes),
        ["harmless", "lost and named"],
        "free files are nobody's loss, live ones are"
    );
}

fn refused(disk: &SimDisk) -> OpenError {
    open(disk, 1).err().expect("refused")
}

#[test]
fn cut_files_and_strangers_are_refused_by_name() {
    let life = sealed(6);
    let path = slots(&life.disk).into_iter().next_back().expect("a file");
    for file_bytes in [SEGMENT_BYTES - BLOCK, SEGMENT_BYTES - 1, 100, 0] {
        let disk = life.disk.image();
        let live = slots(&disk).remove(0);
        disk.set_file_bytes(&live, file_bytes);
        let OpenError::Truncated { path, file_bytes: found, segment_bytes } = refused(&disk) else {
            panic!("cut to {file_bytes}")
        };
        assert_eq!((path, found, segment_bytes), (live, file_bytes, SEGMENT_BYTES));
    }
    let disk = SimDisk::new();
    let options = raftlog::Options { store_uuid: [8; 16], ..super::harness::options(1) };
    block_on(raftlog::Log::open(disk.clone(), dir(), options)).expect("another store's log");
    let stranger = slots(&disk).remove(0);
    let bytes = disk.bytes(&stranger).expect("it is there");
    let mixed = life.disk.image();
    mixed.put(&dir().join("slot-000099.log"), &bytes);
    let OpenError::Foreign { path: named, what } = refused(&mixed) else { panic!("a stranger") };
    assert!(named.ends_with("slot-000099.log") && what.contains("0808080808080808"), "{what}");
    let other_shard = raftlog::Options { shard: 0, ..super::harness::options(1) };
    let error = block_on(raftlog::Log::open(life.disk.image(), dir(), other_shard)).err().expect("refused");
    assert!(error.to_string().contains("shard 1 of 2, this is shard 0 of 2"), "{error}");
    let swapped = life.disk.image();
    let first = slots(&swapped).remove(0);
    let (one, two) = (swapped.bytes(&first).expect("there"), swapped.bytes(&path).expect("there"));
    swapped.put(&first, &two);
    swapped.put(&path, &one);
    assert!(matches!(refused(&swapped), OpenError::Foreign { .. } | OpenError::Damaged { .. }));
}

#[test]
fn a_newer_version_and_bad_options_are_refused() {
    let life = sealed(7);
    let path = slots(&life.disk).remove(0);
    let disk = life.disk.image();
    let mut header = disk.bytes(&path).expect("there")[..4096].to_vec();
    header[8] = 9;
    let crc = crc32(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    disk.overwrite(&path, 0, &header);
    let OpenError::Unsupported { path: named, offset: 0, .. } = refused(&disk) else { panic!("version 9") };
    assert_eq!(named, path);
    for bad in [
        raftlog::Options { segment_bytes: 5000, ..super::harness::options(1) },
        raftlog::Options { cap_bytes: SEGMENT_BYTES, ..super::harness::options(1) },
        raftlog::Options { in_flight_max: 0, ..super::harness::options(1) },
    ] {
        let error = block_on(raftlog::Log::open(SimDisk::new(), Path::new("/x"), bad)).err();
        assert!(matches!(error, Some(OpenError::Options { .. })), "{error:?}");
    }
}

/// Bit by bit: the tests depend on no checksum crate.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Invariant 7: a client's value that is itself a segment of this very log, block-aligned, is never believed.
#[test]
fn values_that_imitate_the_log_are_values() {
    let mut life = sealed(8);
    life.compact_all();
    life.quiesce();
    let stolen = life.disk.bytes(&slots(&life.disk)[0]).expect("there");
    for shift in 0..4 {
        let last = life.group(0).last();
        life.append_command(
            0,
            EntryId::new(last.term.max(Term(1)), last.index.next()),
            &stolen[shift * 1024..20_000],
        );
    }
    life.log.submit();
    life.settle();
    life.disk.crash(1);
    let life = life.reopen(2);
    for group in 0..GROUPS {
        check_entries(&life.log, raft::GroupId(group), &life.model[&group], 1 << 20);
    }
    assert!(life.model[&0].last().index > Index(4));
}

/// What a future says on a disk whose time goes on as it is waited for.
fn in_time<T>(disk: &SimDisk, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        disk.advance(disk.next_due().expect("it waits for the disk"));
    }
}

#[test]
fn a_segment_whose_front_is_not_where_it_was_written_takes_nothing() {
    for silent in [Silent::Lost, Silent::Misdirected(2)] {
        let disk = SimDisk::new();
        disk.set_timing(Timing { read_us: 10, write_us: 10, sync_us: 10 }, 1);
        let start = || raftlog::Log::open(disk.clone(), dir(), options(1));
        disk.arm(silent);
        let Err(OpenError::Io { source, .. }) = in_time(&disk, start()) else {
            panic!("{silent:?}: a start that relies on it goes on")
        };
        assert!(source.to_string().contains("header is not there"), "{silent:?}: {source}");
        assert_eq!(disk.take_damage().len(), 1, "{silent:?} came about");
        let (_log, recovered) = in_time(&disk, start()).expect("nothing was acknowledged");
        assert!(recovered.groups.is_empty());
    }
}
