//! A snapshot of the key-value machine's items, read in place.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use ringraft::kv::Position;
use ringraft::kv::entry::save_key;
use snapshot::{Map, Run};

use super::data::overwritten;
use super::files;
use crate::log::on_shard;

/// Files that are mapped, resident, and verified.
pub(super) struct Ours {
    /// Newest first.
    runs: Vec<Run<Map>>,
    /// The saved form of the key that is asked for.
    saved: Vec<u8>,
}

impl Ours {
    /// One file with all keys, built as a shard does, through its disk.
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Ours> {
        let run = add_file(dir.join("base"), keys, 0)?;
        Ok(Ours { runs: vec![run], saved: Vec::new() })
    }

    /// Puts a file above the others that overwrites half of the keys.
    pub(super) fn overwrite_half(&mut self, dir: &Path, keys: u32) -> anyhow::Result<()> {
        self.runs.insert(0, add_file(dir.join("delta"), keys, 1)?);
        Ok(())
    }

    /// The value of a key, from the newest file that has it: the filters first, but for the oldest file.
    pub(super) fn get(&mut self, key: &[u8]) -> anyhow::Result<Option<&[u8]>> {
        self.save(key);
        let (oldest, above) = self.runs.split_last().context("there is a file")?;
        // Behind type and flags.
        for run in above {
            if let Some(saved) = run.get_filtered(&self.saved)? {
                return Ok(saved.get(2..));
            }
        }
        Ok(oldest.get(&self.saved)?.and_then(|saved| saved.get(2..)))
    }

    /// Whether the key is in the newest file, by the filters first: as in a run above others.
    pub(super) fn holds(&mut self, key: &[u8]) -> anyhow::Result<bool> {
        self.save(key);
        let newest = self.runs.first().context("there is a file")?;
        Ok(newest.get_filtered(&self.saved)?.is_some())
    }

    fn save(&mut self, key: &[u8]) {
        self.saved.clear();
        save_key(Position::of(key), key, &mut self.saved);
    }
}

/// A file of all keys, or of those that are overwritten.
fn add_file(dir: PathBuf, keys: u32, overwrites: u8) -> anyhow::Result<Run<Map>> {
    let path = on_shard(move |context| async move {
        let store = files::open_store(&context, &dir, &[]).await?;
        let finished = match overwrites {
            0 => files::build(&store, 1, 0..keys, overwrites).await?,
            _ => files::build(&store, 2, overwritten(keys), overwrites).await?,
        };
        Ok(store.path(finished.reference.name))
    })?;
    let map = Map::open(&path)?;
    map.populate(0..map.len())?;
    let run = Run::open(map, &path)?;
    let expected = if overwrites == 0 { keys as usize } else { overwritten(keys).count() };
    ensure!(run.summary().items == expected as u64, "all keys are in it");
    for item in run.items() {
        item?; // verifies its block, as its first use does
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::super::data::{key, overwrites, stamp_of};
    use super::*;

    #[test]
    fn the_newest_file_that_has_a_key_answers() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut ours = Ours::build(dir.path(), 1000).unwrap();
        let stamp = |ours: &mut Ours, number| ours.get(&key(number)).unwrap().map(stamp_of);
        assert!((0..1000).all(|number| stamp(&mut ours, number) == Some((number, 0))));
        ours.overwrite_half(dir.path(), 1000).unwrap();
        assert!((0..1000).all(|number| stamp(&mut ours, number) == Some((number, overwrites(number)))));
        assert_eq!(stamp(&mut ours, 1000), None);
        assert!(ours.holds(&key(1)).unwrap() && !ours.holds(&key(0)).unwrap());
    }
}
