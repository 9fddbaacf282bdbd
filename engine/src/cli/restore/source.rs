//! A backup as what it holds: keys and values, each once.

use std::path::{Path, PathBuf};

use runtime::{ReadDisk, ReadFile};
use snapshot::{FileRun, Merge, RunReference, SnapshotError};

use crate::cli::backup::catalog::{Catalog, CatalogError, Group};
use crate::cli::progress::Amount;
use crate::cli::{Exit, Failure};
use crate::kv::entry::{Entry, restore_key};
use crate::kv::{is_counts, key_slot};

/// A backup whose list of files is read.
pub(in crate::cli) struct Source {
    dir: PathBuf,
    pub(in crate::cli) catalog: Catalog,
}

/// What is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Content {
    pub(in crate::cli) keys: u64,
    /// Of keys and values.
    pub(in crate::cli) bytes: u64,
}

impl Source {
    /// # Errors
    /// [`Exit::Usage`]: it is no backup, or one of a newer program. [`Exit::Corruption`]: its list is not what was written.
    pub(in crate::cli) fn open(dir: &Path) -> Result<Source, Failure> {
        let catalog = Catalog::read(dir).map_err(|error| {
            let exit = match error {
                CatalogError::Missing(_) | CatalogError::Newer { .. } => Exit::Usage,
                CatalogError::Damaged { .. } => Exit::Corruption,
                CatalogError::Io { .. } => Exit::Failed,
            };
            Failure::new(exit, error)
        })?;
        Ok(Source { dir: dir.to_owned(), catalog })
    }

    /// Reads and checks every byte of every file, that it is the file that was written, and that all of it together is keys
    /// and values of the groups that it should be of.
    ///
    /// # Errors
    /// [`Exit::Corruption`], with the file and the place in it, at the first damage. [`Exit::Failed`]: the disk does not answer.
    pub(in crate::cli) fn verify(&self, amount: &Amount) -> Result<Content, Failure> {
        let all = || self.catalog.groups.iter();
        amount.more(all().flat_map(|group| &group.files).map(|file| file.bytes).sum());
        let mut content = Content::default();
        for group in all() {
            for (path, reference) in self.files(group)? {
                let mut run = open(&path, &reference)?;
                ReadDisk::answer(run.verify()).map_err(failure)?;
                amount.done(reference.bytes);
            }
            self.each_key(group, |key, value| {
                content.keys += 1;
                content.bytes += (key.len() + value.len()) as u64;
                Ok(())
            })?;
        }
        Ok(content)
    }

    fn files(&self, group: &Group) -> Result<Vec<(PathBuf, RunReference)>, Failure> {
        let references = group.references().map_err(corrupt)?;
        let dir = group.dir(&self.dir);
        Ok(references.into_iter().map(|run| (dir.join(run.name.file_name()), run)).collect())
    }

    /// Hands out the keys of a group and their values, each key once, with a megabyte of each file in memory.
    ///
    /// # Errors
    /// As for [`Source::verify`], and what `take` says.
    pub(in crate::cli) fn each_key(
        &self,
        group: &Group,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut scans = Vec::new();
        for (path, reference) in self.files(group)? {
            scans.push(ReadDisk::answer(open(&path, &reference)?.scan()).map_err(failure)?);
        }
        let mut merge: Merge<ReadFile> = ReadDisk::answer(Merge::new(scans)).map_err(failure)?;
        while let Some(item) = ReadDisk::answer(merge.peek()).map_err(failure)? {
            if is_counts(item.key, item.value) {
                merge.pass();
                continue;
            }
            let odd =
                |what: &dyn std::fmt::Display| corrupt(format!("{}: {what}", group.dir(&self.dir).display()));
            let (_, key) = restore_key(item.key).map_err(|error| odd(&error))?;
            let entry = Entry::restore(item.value).map_err(|error| odd(&error))?;
            let slot = key_slot(key);
            if !group.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot)) {
                return Err(odd(&format!("a key of slot {slot}, which is not of group {}", group.id)));
            }
            if entry.expires_ms.is_some() {
                return Err(Failure::failed(
                    "a key expires, which this version does not know how to restore",
                ));
            }
            if entry.is_live() || runtime::mutant!("restore.deleted_keys_come_back") {
                take(key, &entry.value)?;
            }
            merge.pass();
        }
        Ok(())
    }
}

/// Opens a file, and checks that it is the one that the list names.
fn open(path: &Path, reference: &RunReference) -> Result<FileRun<ReadFile>, Failure> {
    let found = match std::fs::metadata(path) {
        Ok(data) => data.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(corrupt(format!("{}: backup.toml names it, and it is not there", path.display())));
        }
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                anyhow::Error::new(error).context(path.display().to_string()),
            ));
        }
    };
    if found != reference.bytes {
        let (path, bytes) = (path.display(), reference.bytes);
        return Err(corrupt(format!("{path}: has {found} bytes; backup.toml says {bytes}")));
    }
    let run = ReadDisk::answer(FileRun::open(&ReadDisk, path)).map_err(failure)?;
    run.expect(reference).map_err(failure)?;
    Ok(run)
}

fn failure(error: SnapshotError) -> Failure {
    let exit = if error.is_corrupt() { Exit::Corruption } else { Exit::Failed };
    Failure::new(exit, error)
}

fn corrupt(what: String) -> Failure {
    Failure::new(Exit::Corruption, anyhow::anyhow!(what))
}
