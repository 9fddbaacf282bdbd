//! Snapshot files for tests of the machine, on a simulated disk.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use raft::{EntryId, GroupId, Index, Term};
use ringraft_tests::disk::{SimDisk, block_on};
use snapshot::{BuildSpec, Builder, Files, Limits, Manifest, Store};

use super::machine::check_entry;
use crate::shard::loader::{Loader, by_reading};
use crate::shard::residence::Residence;
use crate::state_machine::{Lookups, Saved};

/// What one save wrote.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Builds files of these saves, the oldest first, and opens them as a shard does.
pub(super) fn saved(saves: &[Entries]) -> Saved {
    let disk = SimDisk::new();
    block_on(disk_dirs(&disk));
    let limits = Limits { builds_max: usize::MAX, ..Limits::default() };
    let (store, _) = block_on(Store::open(disk.clone(), Path::new("/snapshots"), &[], limits)).unwrap();
    let (mut runs, mut guards) = (Vec::new(), Vec::new());
    for (number, entries) in saves.iter().enumerate() {
        let id = EntryId::new(Term(1), Index(1 + number as u64));
        let slot = store.begin_build(GroupId(1), id).unwrap();
        let spec = BuildSpec { store: [7; 16], shard: 0, membership: Vec::new() };
        let finished = block_on(async {
            let mut builder = Builder::create(slot, spec).await.unwrap();
            for (key, value) in entries {
                let _room = builder.push(key, value).unwrap();
                builder.flush().await.unwrap();
            }
            builder.finish().await.unwrap()
        });
        runs.insert(0, finished.reference);
        guards.push(finished.guard);
    }
    let Some(newest) = runs.first() else { return Saved::new(Files::new(Vec::new()), Lookups::default()) };
    let manifest = Manifest { group: GroupId(1), id: newest.name.id, membership: Vec::new(), runs };
    let pause: crate::shard::loader::Pause = Rc::new(|| Box::pin(std::future::ready(())));
    let loader = Loader {
        access: by_reading(&disk),
        disk,
        store,
        pause,
        residence: Rc::new(Residence::new(u64::MAX, Lookups::default())),
        whole_bytes: Rc::new(Cell::new(u64::MAX)),
        heals: true,
    };
    block_on(loader.saved(&manifest, check_entry)).unwrap()
}

async fn disk_dirs(disk: &SimDisk) {
    use runtime::Disk as _;
    disk.create_dir(Path::new("/")).await.unwrap();
}
