//! Snapshot files for tests of the machine, on a simulated disk.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use raft::{EntryId, GroupId, Index, Term};
use ringraft_tests::disk::{SimDisk, block_on};
use snapshot::{BuildSpec, Builder, Limits, Manifest, Store};

use super::machine::check_entry;
use crate::shard::loader::{Loader, by_reading};
use crate::shard::residence::Residence;
use crate::state_machine::{Lookups, Saved};

/// What one save wrote.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Files as a shard has them, whole in memory or not.
pub(super) struct Shelf {
    loader: Loader<SimDisk>,
    saved: Saved,
}

/// Rounds of bringing before a reader waits instead, as shards do it.
const ROUNDS_MAX: usize = 16;

impl Shelf {
    /// What a machine gets.
    pub(super) fn saved(&self) -> Saved {
        self.saved.clone()
    }

    /// Looks until all of it is in memory, as a shard does before it believes an answer; `None`: it does not help.
    pub(super) fn ready<R>(&self, mut look: impl FnMut() -> R) -> Option<R> {
        let lookups = self.loader.residence.lookups();
        for _ in 0..ROUNDS_MAX {
            match lookups.at_hand(2, &mut look) {
                Ok(found) => return Some(found),
                Err(_) => self.bring(),
            }
        }
        None
    }

    /// Looks at what is in memory, and asks for the rest.
    pub(super) fn look<R>(&self, look: impl FnOnce() -> R) -> Result<R, R> {
        self.loader.residence.lookups().at_hand(1, look)
    }

    /// Brings what was asked for.
    pub(super) fn bring(&self) {
        let residence = &self.loader.residence;
        let pieces = residence.pieces(residence.lookups().take_wanted());
        assert!(!pieces.is_empty(), "what is missing is asked for");
        let brought = (self.loader.access.bring_blocks)(pieces, residence.take_given_back());
        residence.brought(&block_on(brought).unwrap());
    }

    /// Does background work, which must notice by itself what is missing. Whether it missed something.
    pub(super) fn noting<R>(&self, work: impl FnOnce() -> R) -> (R, bool) {
        self.loader.residence.lookups().noting(work)
    }

    /// How much is in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.loader.residence.bytes()
    }
}

/// Builds files of these saves, the oldest first, and opens them as a shard does, which keeps so much of them in memory.
pub(super) fn shelve(saves: &[Entries], mapped_bytes_max: u64) -> Shelf {
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
    let newest = runs.first().expect("there are saves").name.id;
    let manifest = Manifest { group: GroupId(1), id: newest, membership: Vec::new(), runs };
    let pause: crate::shard::loader::Pause = Rc::new(|_rest| Box::pin(std::future::ready(())));
    let loader = Loader {
        access: by_reading(&disk),
        disk,
        store,
        pause,
        residence: Rc::new(Residence::new(mapped_bytes_max, Lookups::default())),
        hurries: Rc::new(Cell::new(true)),
        whole_bytes: Rc::new(Cell::new(0)),
        heals: true,
    };
    let saved = block_on(loader.saved(&manifest, check_entry)).unwrap();
    Shelf { loader, saved }
}

async fn disk_dirs(disk: &SimDisk) {
    use runtime::Disk as _;
    disk.create_dir(Path::new("/")).await.unwrap();
}
