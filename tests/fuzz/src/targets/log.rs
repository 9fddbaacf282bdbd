//! The log: batches, and the recovery of a whole shard from damaged files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use raft::{
    Check, Config, EntryId, EntryKind, EntrySpec, GroupId, HardState, Index, NodeId, Standing, Term, Time,
    encode_entry, entry_bytes,
};
use raftlog::fuzzing::{batch_again, repair, segment_header_again};
use raftlog::{Log, Options, Recovered, RecoveredGroup};
use ringraft::fuzzing::open_shard;
use snapshot::{BuildSpec, Builder, Limits, Manifest, Store};

use super::core::settings;
use crate::disk::{MemoryDisk, block_on};
use crate::feed::Feed;
use crate::patches::{self, overwrite};

const DIR: &str = "/shard";
const STORE: [u8; 16] = [7; 16];
const BLOCK: usize = 4096;

/// Of the start numbered `start`: each draws another seed, so that what an earlier one left is not taken for its own.
fn options(start: u64) -> Options {
    let segment_bytes = 32 * 1024;
    Options {
        segment_bytes,
        cap_bytes: 24 * segment_bytes,
        cache_bytes_max: 32 * 1024,
        unsynced_bytes_max: 1 << 20,
        segments_ready: 1,
        seed: 3 + start,
        ..Options::new(STORE, 0, 1)
    }
}

fn log_dir() -> PathBuf {
    Path::new(DIR).join("log")
}

/// The files of a shard with some history: several segments, checkpoints, configurations, a snapshot.
fn base() -> &'static [(PathBuf, Vec<u8>)] {
    static BASE: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    BASE.get_or_init(|| {
        let disk = MemoryDisk::default();
        let mut next = [1; 3];
        for life in 0..2 {
            live(&disk, life, &mut next);
        }
        let files = disk.files();
        files.into_iter().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).collect()
    })
}

/// One life of the log: entries of two groups, states, and in the first a snapshot.
fn live(disk: &MemoryDisk, life: u64, next: &mut [u64; 3]) {
    let (mut log, _) = block_on(Log::open(disk.clone(), &log_dir(), options(life))).expect("a sound log");
    for turn in 0..8 {
        for group in [1, 2] {
            append(&mut log, GroupId(group), life + 1, &mut next[group as usize], 300 * turn);
        }
        if turn == 3 {
            let term = Term(life + 1);
            let standing = if life == 0 { Standing::Normal } else { Standing::Recovering };
            let hard_state = HardState { term, vote: Some(NodeId(2)), commit: Index(2), standing };
            log.hard_state(GroupId(1), hard_state);
            log.hard_state(GroupId(2), HardState { vote: None, ..hard_state });
        }
        if turn == 5 && life == 0 {
            let id = EntryId::new(Term(1), Index(4));
            log.snapshot(GroupId(1), id, &snapshot(disk, id), false);
        }
        log.submit();
        log.tick(Time(1_000_000 + 2_000 * u64::try_from(turn).expect("few")));
        block_on(log.drain()).expect("no disk fails");
        while let Some(job) = log.wanted() {
            let prepared = block_on(job.run(disk));
            log.prepared(prepared);
        }
    }
}

fn append(log: &mut Log<MemoryDisk>, group: GroupId, term: u64, next: &mut u64, command_bytes: usize) {
    let config = Config::of_voters(&[NodeId(1), NodeId(2), NodeId(3)]).encode();
    let membership = *next == 6;
    let command = if membership { config } else { vec![b'c'; command_bytes] };
    let kind = if membership { EntryKind::Membership } else { EntryKind::Command };
    let id = EntryId::new(Term(term), Index(*next));
    let space = log.entries_space(group, 1, id, 1, entry_bytes(command.len()));
    let spec = EntrySpec { group, incarnation: 1, id, kind };
    encode_entry(space, spec, command.len(), |place| place.copy_from_slice(&command));
    *next += 1;
}

/// Builds the snapshot file of group 1 and gives the manifest that names it.
fn snapshot(disk: &MemoryDisk, id: EntryId) -> Vec<u8> {
    let dir = Path::new(DIR).join("snapshots");
    let membership = Config::of_voters(&[NodeId(1), NodeId(2), NodeId(3)]).encode();
    let (store, _) = block_on(Store::open(disk.clone(), &dir, &[], Limits::default())).expect("it opens");
    let slot = store.begin_build(GroupId(1), id).expect("nothing else is built");
    let spec = BuildSpec { store: STORE, shard: 0, membership: membership.clone() };
    let mut builder = block_on(Builder::create(slot, spec)).expect("it is created");
    for (key, value) in super::snapshots::kv_items(3) {
        let _room = builder.push(&key, &value).expect("items are in order");
    }
    let finished = block_on(builder.finish()).expect("it is written");
    Manifest { group: GroupId(1), id, membership, runs: vec![finished.reference] }.encode()
}

/// A flag has checksums right, the rest are patches of a shard's files: it is opened as at a start.
pub fn recovery(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let (paths, mut files): (Vec<PathBuf>, Vec<Vec<u8>>) = base().iter().cloned().unzip();
    patches::apply(&mut files, &mut feed);
    for (path, file) in paths.iter().zip(&mut files).filter(|_| repaired) {
        if path.starts_with(log_dir()) { repair(file) } else { snapshot::fuzzing::repair(file) }
    }
    let image: Vec<(PathBuf, Vec<u8>)> = paths.into_iter().zip(files).collect();
    let disk = MemoryDisk::with(image.clone());
    if let Ok((log, recovered)) = block_on(Log::open(disk.clone(), &log_dir(), options(2))) {
        assert_readable(&log, &recovered);
        drop(log);
        match block_on(Log::open(disk, &log_dir(), options(3))) {
            Ok((log, again)) => {
                assert_alike(&recovered.groups, &again.groups);
                assert_readable(&log, &again);
            }
            // Parts that contradict each other, their checksums right: which one is read decides.
            Err(_) if repaired => {}
            Err(error) => panic!("it was opened once, and now: {error}"),
        }
    }
    let disk = MemoryDisk::with(image);
    let settings = settings(true, false);
    if let Ok(mut replicas) = block_on(open_shard(&disk, Path::new(DIR), options(2), &settings)) {
        for replica in &mut replicas {
            replica.tick(Time(60_000_000));
            while replica.take_event().is_some() {}
            if let Some(write) = replica.take_write() {
                replica.persisted(write);
            }
        }
    }
}

/// What was lost is lost once: from then on the standing says it. A start that finds more damage, since it reads a segment whose
/// list the one before it still had, says so.
fn assert_alike(first: &[RecoveredGroup], again: &[RecoveredGroup]) {
    let standing = |group: &RecoveredGroup| (group.group, group.hard_state.term, group.hard_state.vote);
    let same = |again: &RecoveredGroup, first: &RecoveredGroup| {
        let first = RecoveredGroup { is_lost: again.is_lost, ..first.clone() };
        if again.is_lost { standing(again) == standing(&first) } else { *again == first }
    };
    let alike =
        first.len() == again.len() && again.iter().zip(first).all(|(again, first)| same(again, first));
    assert!(alike, "a log opened again: first {first:?}, then {again:?}");
}

/// Every entry is there or known to be damaged.
fn assert_readable(log: &Log<MemoryDisk>, recovered: &Recovered) {
    for group in &recovered.groups {
        let mut next = group.compacted.index.next();
        while next <= group.last {
            let Ok(parts) = block_on(log.read(group.group, next, group.last, 2000)) else { break };
            let before = next;
            for entry in parts.iter().flat_map(|part| raft::entries(part, Check::Checksum)) {
                let entry = entry.expect("what is read is whole");
                assert_eq!(
                    (entry.group, entry.id.index),
                    (group.group, next),
                    "the entry that was asked for"
                );
                next = next.next();
            }
            assert!(next > before, "something is read");
        }
    }
}

/// Seeds of [`recovery`].
#[must_use]
pub fn recovery_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for file in 0..u8::try_from(base().len()).expect("few") {
        for offset in
            [8_u32, 40, 88, 100, 128, 4096 + 8, 4096 + 24, 4096 + 32, 4096 + 48, 4096 + 52, 4096 + 64]
        {
            seeds.push([&[1], &*overwrite(file, offset, &[1])].concat());
        }
        for row in [4096 + 128, 4096 + 192] {
            for field in [0_u32, 8, 16, 24, 40, 44, 48, 52, 60, 61] {
                seeds.push([&[1], &*overwrite(file, row + field, &[9, 0])].concat());
            }
        }
        seeds.push([&[0], &*overwrite(file, 5000, &[1])].concat());
    }
    seeds
}

/// A batch, or the header of a segment. A flag has checksums right.
pub fn batch(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let mut bytes = feed.0.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(BLOCK), 0);
    if repaired {
        let mut segment = vec![0; BLOCK];
        segment.extend_from_slice(&bytes);
        repair(&mut segment);
        bytes = segment.split_off(BLOCK);
    }
    if let Some((batch, again)) = batch_again(&bytes) {
        assert_eq!(batch, again, "a batch written again");
    }
    if repaired {
        repair(&mut bytes);
    }
    if let Some(again) = segment_header_again(&bytes) {
        assert_eq!(bytes[..BLOCK], again, "a header written again");
    }
}

/// Seeds of [`batch`]: without the zeros at the ends of their last blocks.
#[must_use]
pub fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (_, file) in base().iter().filter(|(path, _)| path.starts_with(log_dir())) {
        let mut at = 0;
        while at < file.len() {
            let blocks = if at == 0 { 1 } else { usize::from(file[at + 52]).max(1) };
            let bytes = &file[at..file.len().min(at + blocks * BLOCK)];
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            // What is long has long commands, which teach nothing.
            if (1..1500).contains(&end) {
                seeds.push([&[1], &bytes[..end]].concat());
            }
            at += bytes.len();
        }
    }
    seeds.truncate(40);
    seeds
}
