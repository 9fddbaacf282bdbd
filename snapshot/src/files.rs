//! A snapshot's files as one: what a state machine reads that answers from them.

use std::fmt;
use std::iter::Peekable;
use std::ops::Deref;
use std::rc::Rc;

use crate::block::Item;
use crate::error::SnapshotError;
use crate::manifest::RunReference;
use crate::mmap::Map;
use crate::run::{Run, RunItems};
use crate::store::Guard;

/// The bytes of a file at hand.
#[derive(Debug)]
pub enum Bytes {
    /// In the address space.
    Mapped(Map),
    /// In memory of their own: of files that no system has.
    Held(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}

/// A file that is served from: it was checked whole, and is not deleted while this lives.
pub struct Served {
    run: Run<Bytes>,
    reference: RunReference,
    _guard: Guard,
}

impl Served {
    /// Serves a file that was [checked](Run::check_some) and is the one that `reference` names.
    pub fn new(run: Run<Bytes>, reference: RunReference, guard: Guard) -> Served {
        Served { run, reference, _guard: guard }
    }

    /// Which file it is.
    pub fn reference(&self) -> &RunReference {
        &self.reference
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Served({})", self.reference.name.file_name())
    }
}

/// The files of one snapshot. A key has the value that the newest of them has for it. Clones share them.
#[derive(Clone, Debug)]
pub struct Files {
    /// Newest first.
    runs: Vec<Rc<Served>>,
}

impl Files {
    /// Of these files, from the newest on.
    pub fn new(runs: Vec<Rc<Served>>) -> Files {
        Files { runs }
    }

    /// The files, from the newest on.
    pub fn served(&self) -> &[Rc<Served>] {
        &self.runs
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|served| served.reference.bytes).sum()
    }

    /// The newest value of a key.
    ///
    /// # Errors
    ///
    /// `Corrupt`: the file has changed since it was checked.
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, SnapshotError> {
        let Some((oldest, newer)) = self.runs.split_last() else { return Ok(None) };
        if runtime::mutant!("kv.serves_oldest_file") {
            return oldest.run.get(key);
        }
        for served in newer {
            if let Some(value) = served.run.get_filtered(key)? {
                return Ok(Some(value));
            }
        }
        oldest.run.get(key)
    }

    /// All items with a key of at least `key`, in order, of each key the newest.
    ///
    /// # Errors
    ///
    /// `Corrupt`, as for [`Files::get`].
    pub fn items_from(&self, key: &[u8]) -> Result<FilesItems<'_>, SnapshotError> {
        let items = self.runs.iter().map(|served| Ok(served.run.items_from(key)?.peekable()));
        Ok(FilesItems { sources: items.collect::<Result<_, SnapshotError>>()? })
    }
}

/// The items of [`Files`]. Ends after the first error.
pub struct FilesItems<'a> {
    /// Newest first.
    sources: Vec<Peekable<RunItems<'a, Bytes>>>,
}

impl<'a> Iterator for FilesItems<'a> {
    type Item = Result<Item<'a>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<(usize, &'a [u8])> = None;
        for (number, source) in self.sources.iter_mut().enumerate() {
            match source.peek() {
                None => {}
                Some(Err(_)) => {
                    let failed = source.next();
                    self.sources.clear();
                    return failed;
                }
                Some(Ok(item)) if first.is_none_or(|(_, key)| item.key < key) => {
                    first = Some((number, item.key));
                }
                Some(Ok(_)) => {}
            }
        }
        let (number, key) = first?;
        // What older files have for the key is hidden.
        for source in &mut self.sources[number + 1..] {
            source.next_if(|item| item.as_ref().is_ok_and(|item| item.key == key));
        }
        self.sources[number].next()
    }
}
