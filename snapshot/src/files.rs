//! A snapshot's files as one: what a state machine reads that answers from them.

use std::fmt;
use std::iter::Peekable;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::block::Item;
use crate::error::SnapshotError;
use crate::manifest::RunReference;
use crate::mmap::Map;
use crate::run::{Access, Run, RunItems};
use crate::store::Guard;

/// The bytes of a file at hand.
#[derive(Debug)]
pub enum Bytes {
    /// In the address space.
    Mapped(Arc<Map>),
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

/// A file that is served from. It is not deleted while this lives.
pub struct Served {
    run: Run<Bytes>,
    reference: RunReference,
    _guard: Guard,
}

impl Served {
    /// Serves a file that is the one that `reference` names.
    pub fn new(run: Run<Bytes>, reference: RunReference, guard: Guard) -> Served {
        Served { run, reference, _guard: guard }
    }

    /// Which file it is.
    pub fn reference(&self) -> &RunReference {
        &self.reference
    }

    /// What is read.
    pub fn run(&self) -> &Run<Bytes> {
        &self.run
    }

    /// How many bytes of its blocks are at hand.
    pub fn bytes_at_hand(&self) -> u64 {
        self.run.residence.bytes()
    }

    /// Whether all of its blocks are at hand.
    pub fn is_at_hand(&self) -> bool {
        self.run.residence.away() == 0
    }

    /// The first block from `number` on that is not at hand.
    pub fn next_away(&self, number: usize) -> Option<usize> {
        self.run.residence.next_away(number)
    }

    /// Whether block `number` is at hand.
    pub fn has_block(&self, number: usize) -> bool {
        self.run.residence.has(number)
    }
}

/// Why a lookup has no answer.
#[derive(Debug)]
pub enum Miss {
    /// The file has changed since it was written.
    Damaged(SnapshotError),
    /// This block of a file is not at hand, and only those that are were to be read.
    NotAtHand(Rc<Served>, usize),
}

impl Miss {
    fn of(error: SnapshotError, served: &Rc<Served>) -> Miss {
        match error {
            SnapshotError::NotAtHand { block } => Miss::NotAtHand(Rc::clone(served), block),
            error => Miss::Damaged(error),
        }
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
    /// [`Miss`].
    pub fn get(&self, key: &[u8], access: Access) -> Result<Option<&[u8]>, Miss> {
        let Some((oldest, newer)) = self.runs.split_last() else { return Ok(None) };
        let in_oldest = || oldest.run.get_by(key, access).map_err(|error| Miss::of(error, oldest));
        if runtime::mutant!("kv.serves_oldest_file") {
            return in_oldest();
        }
        for served in newer {
            let found = served.run.get_filtered_by(key, access);
            if let Some(value) = found.map_err(|error| Miss::of(error, served))? {
                return Ok(Some(value));
            }
        }
        in_oldest()
    }

    /// All items with a key of at least `key`, in order, of each key the newest.
    ///
    /// # Errors
    ///
    /// [`Miss`], as for [`Files::get`].
    pub fn items_from(&self, key: &[u8], access: Access) -> Result<FilesItems<'_>, Miss> {
        let mut sources = Vec::with_capacity(self.runs.len());
        for served in &self.runs {
            let items = served.run.items_from_by(key, access).map_err(|error| Miss::of(error, served))?;
            sources.push(Source { items: items.peekable(), served });
        }
        Ok(FilesItems { sources })
    }
}

/// The items of [`Files`]. Ends after the first error.
pub struct FilesItems<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
}

struct Source<'a> {
    items: Peekable<RunItems<'a, Bytes>>,
    served: &'a Rc<Served>,
}

impl<'a> Iterator for FilesItems<'a> {
    type Item = Result<Item<'a>, Miss>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<(usize, &'a [u8])> = None;
        for (number, source) in self.sources.iter_mut().enumerate() {
            match source.items.peek() {
                None => {}
                Some(Err(_)) => {
                    let failed = source.items.next()?.err()?;
                    let miss = Miss::of(failed, source.served);
                    self.sources.clear();
                    return Some(Err(miss));
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
            source.items.next_if(|item| item.as_ref().is_ok_and(|item| item.key == key));
        }
        let source = &mut self.sources[number];
        let item = source.items.next()?;
        Some(item.map_err(|error| Miss::of(error, source.served)))
    }
}
