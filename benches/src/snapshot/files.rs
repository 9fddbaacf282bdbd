//! Snapshot files of the key-value machine's items, built as a shard builds them.

use std::path::Path;

use anyhow::Context as _;
use raft::{EntryId, GroupId, Index, Term};
use ringraft::kv::Position;
use ringraft::kv::entry::{Entry, save_key};
use runtime::{Context, RealDisk};
use snapshot::{BuildSpec, Builder, Finished, Limits, Manifest, Room, RunReference, Store};

use super::data::{key, value};

/// The group whose state all files are.
pub(super) const GROUP: GroupId = GroupId(1);

/// The entry that a file is named after.
pub(super) fn entry(index: u64) -> EntryId {
    EntryId::new(Term(1), Index(index))
}

/// What a file says of who builds it.
pub(super) fn spec() -> BuildSpec {
    BuildSpec { store: [1; 16], shard: 0, membership: Vec::new() }
}

/// The snapshot of these files, newest first.
pub(super) fn manifest(runs: &[RunReference]) -> Manifest {
    let id = runs.first().map_or(entry(0), |newest| newest.name.id);
    Manifest { group: GROUP, id, membership: Vec::new(), runs: runs.to_vec() }
}

/// The store in `dir` that keeps the files of `live`.
pub(super) async fn open_store(
    context: &Context,
    dir: &Path,
    live: &[Manifest],
) -> anyhow::Result<Store<RealDisk>> {
    Ok(Store::open(context.disk(), dir, live, Limits::default()).await?.0)
}

/// The saved keys of these numbers as a save hands them out, in its order.
pub(super) fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<(Vec<u8>, u32)> {
    let saved = |number: u32| {
        let (key, mut saved) = (key(number), Vec::new());
        save_key(Position::of(&key), &key, &mut saved);
        (saved, number)
    };
    let mut items: Vec<(Vec<u8>, u32)> = numbers.map(saved).collect();
    items.sort_unstable();
    items
}

/// Builds the file of these keys, each with the value it has after `overwrites`.
pub(super) async fn build(
    store: &Store<RealDisk>,
    index: u64,
    numbers: impl Iterator<Item = u32>,
    overwrites: u8,
) -> anyhow::Result<Finished> {
    let slot = store.begin_build(GROUP, entry(index)).ok().context("nothing else is being built")?;
    let mut builder = Builder::create(slot, spec()).await?;
    let mut saved = Vec::new();
    for (key, number) in sorted(numbers) {
        saved.clear();
        Entry::string(&value(number, overwrites)).save(&mut saved);
        if builder.push(&key, &saved)? == Room::Flush {
            builder.flush().await?;
        }
    }
    Ok(builder.finish().await?)
}
