//! A snapshot file of the key-value machine's items, read in place.

use std::path::Path;

use anyhow::{Context as _, ensure};
use raft::{EntryId, GroupId, Index, Term};
use ringraft::kv::Position;
use ringraft::kv::entry::{Entry, save_key};
use snapshot::{BuildSpec, Builder, Limits, Map, Room, Run, Store};

use super::data::{key, value};
use crate::log::on_shard;

/// A file that is mapped, resident, and verified.
pub(super) struct Ours {
    run: Run<Map>,
    /// The saved form of the key that is asked for.
    saved: Vec<u8>,
}

/// Every item as a save hands it out, in its order.
fn items(keys: u32) -> Vec<(Vec<u8>, u32)> {
    let mut items: Vec<(Vec<u8>, u32)> = (0..keys)
        .map(|number| {
            let (key, mut saved) = (key(number), Vec::new());
            save_key(Position::of(&key), &key, &mut saved);
            (saved, number)
        })
        .collect();
    items.sort_unstable();
    items
}

impl Ours {
    /// Builds the file as a shard does, through its disk.
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Ours> {
        let place = dir.to_owned();
        let path = on_shard(move |context| async move {
            let (store, _) = Store::open(context.disk(), &place, &[], Limits::default()).await?;
            let slot = store.begin_build(GroupId(1), EntryId::new(Term(1), Index(1)));
            let slot = slot.ok().context("nothing else is being built")?;
            let spec = BuildSpec { store: [1; 16], shard: 0, membership: Vec::new() };
            let mut builder = Builder::create(slot, spec).await?;
            let mut saved = Vec::new();
            for (key, number) in items(keys) {
                saved.clear();
                Entry::string(&value(number)).save(&mut saved);
                if builder.push(&key, &saved)? == Room::Flush {
                    builder.flush().await?;
                }
            }
            let finished = builder.finish().await?;
            Ok(store.path(finished.reference.name))
        })?;
        let map = Map::open(&path)?;
        map.populate(0..map.len())?;
        let run = Run::open(map, &path)?;
        ensure!(run.summary().items == u64::from(keys), "all keys are in it");
        for item in run.items() {
            item?; // verifies its block, as its first use does
        }
        Ok(Ours { run, saved: Vec::new() })
    }

    /// The value of a key, from the mapping.
    pub(super) fn get(&mut self, key: &[u8]) -> anyhow::Result<Option<&[u8]>> {
        self.save(key);
        // Behind type and flags.
        Ok(self.run.get(&self.saved)?.and_then(|saved| saved.get(2..)))
    }

    /// Whether the key is there, by the filters first: as in a run above others.
    pub(super) fn holds(&mut self, key: &[u8]) -> anyhow::Result<bool> {
        self.save(key);
        Ok(self.run.get_filtered(&self.saved)?.is_some())
    }

    fn save(&mut self, key: &[u8]) {
        self.saved.clear();
        save_key(Position::of(key), key, &mut self.saved);
    }
}
