//! Snapshot files and the manifests that name them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use raft::{EntryId, GroupId, Index, Term};
use ringraft::StateMachine;
use ringraft::kv::entry::{Entry, save_key};
use ringraft::kv::{Kv, Position};
use snapshot::fuzzing::repair;
use snapshot::{
    BuildSpec, Builder, FileRun, Finished, Limits, Manifest, Room, Run, RunReference, SnapshotName, Store,
};

use crate::disk::{MemoryDisk, block_on};
use crate::feed::Feed;
use crate::patches::{self, overwrite};

/// Items of the key-value machine.
pub type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// The group of all files here.
pub const GROUP: GroupId = GroupId(3);
/// Their entry.
pub const ID: EntryId = EntryId::new(Term(7), Index(42));
const DIR: &str = "/snapshots";

/// `count` keys with values, as a save of the key-value machine has them.
#[must_use]
pub fn kv_items(count: u32) -> Items {
    let mut items: Items = (0..count)
        .map(|number| {
            let bare = format!("key{number}").into_bytes();
            let (mut key, mut value) = (Vec::new(), Vec::new());
            save_key(Position::of(&bare), &bare, &mut key);
            Entry::string(&bare.repeat(1 + number as usize % 40)).save(&mut value);
            (key, value)
        })
        .collect();
    items.sort();
    items
}

/// Builds a file on a disk of its own.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn build(items: &Items) -> (Vec<u8>, RunReference) {
    let disk = MemoryDisk::default();
    let (store, _) =
        block_on(Store::open(disk.clone(), Path::new(DIR), &[], Limits::default())).expect("it opens");
    let slot = store.begin_build(GROUP, ID).expect("nothing else is built");
    let spec = BuildSpec { store: [7; 16], shard: 0, membership: b"members".to_vec() };
    let mut builder = block_on(Builder::create(slot, spec)).expect("it is created");
    for (key, value) in items {
        if builder.push(key, value).expect("items are in order") == Room::Flush {
            block_on(builder.flush()).expect("it is written");
        }
    }
    let Finished { reference, .. } = block_on(builder.finish()).expect("it is written");
    let path = store.path(reference.name);
    let (_, bytes) = disk.files().into_iter().find(|(found, _)| *found == path).expect("it is there");
    (bytes, reference)
}

/// An empty file, a small one, one of several blocks, one with equal keys.
fn bases() -> &'static [Vec<u8>] {
    static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let twice: Items = vec![(b"k".to_vec(), b"1".to_vec()), (b"k".to_vec(), b"2".to_vec())];
        [Vec::new(), kv_items(3), kv_items(400), twice].iter().map(|items| build(items).0).collect()
    })
}

/// Flags: which file is patched, whether its checksums are right. Both readers must agree about it.
pub fn file(data: &[u8]) {
    let mut feed = Feed(data);
    let (base, repaired) = (usize::from(feed.below(4)), feed.flag());
    let mut files = [bases()[base].clone()];
    patches::apply(&mut files, &mut feed);
    if repaired {
        repair(&mut files[0]);
    }
    let [bytes] = files;
    let path = PathBuf::from(DIR).join("file");
    let disk = MemoryDisk::with([(path.clone(), bytes.clone())]);
    let in_place = Run::open(bytes, &path);
    let on_demand = block_on(FileRun::open(&disk, &path));
    assert_eq!(in_place.is_ok(), on_demand.is_ok(), "both readers open it");
    let (Ok(in_place), Ok(mut on_demand)) = (in_place, on_demand) else { return };
    assert_eq!(in_place.summary(), on_demand.summary());
    let sound = in_place.verify().is_ok();
    assert_eq!(sound, block_on(on_demand.verify()).is_ok(), "both readers verify it");

    let mut items: Items = Vec::new();
    let whole = in_place.items().try_for_each(|item| {
        let item = item?;
        items.push((item.key.to_vec(), item.value.to_vec()));
        Ok::<(), snapshot::SnapshotError>(())
    });
    for (key, _) in items.iter().take(20) {
        let found = in_place.get(key).ok().flatten();
        let read = block_on(on_demand.get(key)).ok().flatten();
        assert_eq!(found, read.as_deref(), "both readers find a key");
        let first = items.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_slice());
        assert!(!sound || found == first, "the first item of a key is found");
        assert!(!sound || in_place.items_from(key).is_ok_and(|mut items| items.next().is_some()));
    }
    assert!(
        !sound || (whole.is_ok() && items.len() as u64 == in_place.summary().items),
        "all items of a sound file"
    );
    drop(in_place.get(b"key"));
    restore(on_demand, sound, &items);
}

/// Feeds a machine as a start does.
fn restore(run: FileRun<crate::disk::MemoryFile>, sound: bool, items: &Items) {
    let mut kv = Kv::new(0..16_384);
    let Ok(mut scan) = block_on(run.scan()) else { return assert!(!sound) };
    let mut found = 0;
    while let Ok(Some(blocks)) = block_on(scan.next()) {
        for item in blocks.items() {
            let Ok(item) = item else { return assert!(!sound) };
            assert!(!sound || items[found] == (item.key.to_vec(), item.value.to_vec()), "the same items");
            drop(kv.restore_entry(item.key, item.value));
            found += 1;
        }
    }
    assert!(!sound || found == items.len(), "as many items");
}

/// Seeds of [`file`].
#[must_use]
pub fn file_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (base, bytes) in (0..4).zip(bases()) {
        seeds.extend([vec![base, 0], vec![base, 1]]);
        let footer = u32::try_from(bytes.len() - 128).expect("small");
        for field in (8..100).step_by(8) {
            seeds.push([&[base, 1], &*overwrite(0, footer + field, &[1])].concat());
        }
        for at in [8, 40, 4096, 4100, 4104, 4108, 8192, 20_480] {
            seeds.push([&[base, 1], &*overwrite(0, at, &[9])].concat());
        }
    }
    seeds
}

/// The manifest in a log's snapshot record. A flag has its checksum right.
pub fn manifest(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let mut bytes = feed.0.to_vec();
    if repaired && bytes.len() >= 12 {
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }
    if let Ok(manifest) = Manifest::decode(&bytes) {
        assert_eq!(manifest.encode(), bytes, "a manifest written again");
    }
}

/// Seeds of [`manifest`].
#[must_use]
pub fn manifest_seeds() -> Vec<Vec<u8>> {
    let name = SnapshotName { group: GROUP, id: ID, build: 1 };
    let run = RunReference { name, offset: 0, bytes: 8192, checksum: 5 };
    let manifest = |runs| Manifest { group: GROUP, id: ID, membership: b"members".to_vec(), runs };
    [vec![run], vec![run, run]].map(|runs| [&[1], &*manifest(runs).encode()].concat()).to_vec()
}
