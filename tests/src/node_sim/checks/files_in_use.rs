//! No snapshot file is deleted while somebody has it open, or while a record names it that a restart would go by: the
//! newest durable one, and those on their way to the disk. When a record is durable is the shard's own word, which
//! `restarts` puts to the test. What a start deletes before the log is open is not compared with records: it compares
//! them itself, and a file that it misses is damage. Bytes are not looked at here.

use std::collections::BTreeMap;

use raft::{GroupId, NodeId};
use ringraft::simulation::SnapshotLook;

use crate::core_sim::violation::require;
use crate::disk::Removed;

/// A shard of a node, on its disk of this life.
pub type Place = (NodeId, u64, u16);

/// What a shard's records name.
#[derive(Default)]
struct Named {
    start: u64,
    was_pending: bool,
    /// Files of the newest durable record of each group, and of those on their way.
    files: BTreeMap<GroupId, (Vec<String>, Vec<String>)>,
}

/// What the records of all shards name.
#[derive(Default)]
pub struct Files(BTreeMap<Place, Named>);

impl Files {
    /// These files were removed in a turn of a shard, which is in this start of its node; by what was known before it.
    pub fn removed(&self, place: Place, start: u64, removed: &[Removed]) {
        let named = self.0.get(&place).filter(|named| named.start == start);
        for Removed { path, was_open } in removed {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let is_snapshot = path.parent().is_some_and(|dir| dir.ends_with("snapshots"));
            require!(!is_snapshot || !was_open, "files_in_use", "{place:?}: {name} is open and removed");
            let names = |(durable, pending): &(Vec<String>, Vec<String>)| {
                durable.iter().chain(pending).any(|file| *file == *name)
            };
            let record = named.and_then(|named| named.files.iter().find(|(_, files)| names(files)));
            require!(
                record.is_none(),
                "files_in_use",
                "{place:?}: {name} is removed, and named by {record:?}"
            );
        }
    }

    /// A shard had a turn. `snapshots` is asked only if something may have changed.
    pub fn check(
        &mut self,
        place: Place,
        start: u64,
        is_pending: bool,
        snapshots: impl FnOnce() -> Vec<SnapshotLook>,
    ) {
        let named = self.0.entry(place).or_default();
        if named.start == start && !named.was_pending && !is_pending {
            return;
        }
        if named.start != start {
            *named = Named { start, ..Named::default() };
        }
        named.was_pending = is_pending;
        for SnapshotLook { group, published, pending } in snapshots() {
            let files = named.files.entry(group).or_default();
            // What is published while its own record is on its way came too early. Another record on its way, of a peer's
            // snapshot that was installed behind a save, says nothing about it.
            if !published.iter().any(|file| pending.contains(file)) {
                files.0 = published;
            }
            files.1 = pending;
        }
    }
}
