//! Tests of the parts together.

mod crash;
mod damage;
mod files;
mod golden;
mod merge;
mod real_disk;
mod served;
mod store;
mod transfer;
mod window;

use std::path::Path;

use raft::{EntryId, GroupId, Index, Term};

use crate::fake_disk::{FakeDisk, run};
use crate::{BuildSpec, Builder, Finished, Limits, Manifest, OpenReport, Room, Store};

pub type Items = Vec<(Vec<u8>, Vec<u8>)>;

pub const DIR: &str = "/data/shard-000/snapshots";
pub const GROUP: GroupId = GroupId(3);

pub fn id(index: u64) -> EntryId {
    EntryId { term: Term(7), index: Index(index) }
}

pub fn spec() -> BuildSpec {
    BuildSpec { store: *b"0123456789abcdef", shard: 5, membership: b"voters 1 2 3".to_vec() }
}

pub fn open(disk: &FakeDisk, live: &[Manifest]) -> (Store<FakeDisk>, OpenReport) {
    run(Store::open(disk.clone(), Path::new(DIR), live, Limits::default())).unwrap()
}

pub async fn push(builder: &mut Builder<FakeDisk>, items: &Items) -> Result<(), crate::SnapshotError> {
    for (key, value) in items {
        if builder.push(key, value).expect("items are in order and within the bounds") == Room::Flush {
            builder.flush().await?;
        }
    }
    Ok(())
}

pub async fn build(
    store: &Store<FakeDisk>,
    at: EntryId,
    items: &Items,
) -> Result<Finished, crate::SnapshotError> {
    let slot = store.begin_build(GROUP, at).expect("nothing else is being built");
    let mut builder = Builder::create(slot, spec()).await?;
    push(&mut builder, items).await?;
    builder.finish().await
}

/// The bytes of a file with these items.
pub fn file_of(items: &Items) -> Vec<u8> {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let finished = run(build(&store, id(42), items)).unwrap();
    disk.bytes(&store.path(finished.reference.name))
}

pub fn manifest(at: EntryId, runs: &[&Finished]) -> Manifest {
    let runs = runs.iter().map(|finished| finished.reference).collect();
    Manifest { group: GROUP, id: at, membership: spec().membership, runs }
}

/// Items of all kinds: small ones in several blocks, empty keys and values, equal keys, a large one.
pub fn mixed_items() -> Items {
    let mut items = vec![(Vec::new(), Vec::new()), (Vec::new(), b"the empty key twice".to_vec())];
    for number in 0..1_000u32 {
        let key = format!("key {number:06}").into_bytes();
        items.push((key, vec![b'v'; usize::try_from(number % 97).unwrap()]));
    }
    items.push((b"large".to_vec(), (0..3_000_000u32).map(|place| place.to_le_bytes()[0]).collect()));
    items.push((b"large".to_vec(), b"second of two".to_vec()));
    items.push((vec![0xff; 70_000 - 5_000], vec![1; 16_000]));
    items
}
