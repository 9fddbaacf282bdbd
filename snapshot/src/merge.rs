//! Several runs as one: their items in order, of each key only the newest.

use std::ops::Range;

use runtime::File;

use crate::block::Item;
use crate::error::SnapshotError;
use crate::file_run::{Blocks, Scan};
use crate::manifest::RUNS_MAX;

/// A pass over all items of several runs, read through the disk seam a piece of each at a time. Where runs have an
/// item with the same key, that of the newest run comes; within a run keys differ.
pub struct Merge<F> {
    /// Newest first.
    sources: Vec<Source<F>>,
    /// The source of the next item, once that is known.
    next: Option<usize>,
}

/// One of the runs, and where in it the merge is.
struct Source<F> {
    scan: Scan<F>,
    /// None behind the last block.
    blocks: Option<Blocks>,
    /// Where the keys and values of `blocks` are.
    places: Vec<Place>,
    at: usize,
}

/// Where an item is in the memory of its blocks.
pub(crate) struct Place {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

impl<F: File> Merge<F> {
    /// Merges `scans`, at most [`RUNS_MAX`], newest first.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt`, for the first blocks.
    ///
    /// # Panics
    ///
    /// With more runs than a snapshot has.
    pub async fn new(scans: Vec<Scan<F>>) -> Result<Merge<F>, SnapshotError> {
        assert!(scans.len() <= RUNS_MAX, "{} runs are more than a snapshot has", scans.len());
        let mut sources = Vec::with_capacity(scans.len());
        for scan in scans {
            let mut source = Source { scan, blocks: None, places: Vec::new(), at: 0 };
            source.read_on().await?;
            sources.push(source);
        }
        Ok(Merge { sources, next: None })
    }

    /// The next item, which stays the next until [`Merge::pass`]; None behind the last.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt`: what was handed out before is sound.
    pub async fn peek(&mut self) -> Result<Option<Item<'_>>, SnapshotError> {
        if self.next.is_none() {
            for source in &mut self.sources {
                if source.at == source.places.len() && source.blocks.is_some() {
                    source.read_on().await?;
                }
            }
            let keys = self.sources.iter().enumerate();
            let keys = keys.filter_map(|(number, source)| Some((source.item()?.key, number)));
            self.next = keys.min().map(|(_, number)| number);
        }
        Ok(self.next.and_then(|number| self.sources[number].item()))
    }

    /// Passes the item that was peeked at, and older ones with its key.
    pub fn pass(&mut self) {
        let Some(newest) = self.next.take() else { return };
        let (head, older) = self.sources.split_at_mut(newest + 1);
        let Some(source) = head.last_mut() else { return };
        if let Some(item) = source.item() {
            let same = |older: &&mut Source<F>| older.item().is_some_and(|other| other.key == item.key);
            older.iter_mut().filter(same).for_each(|older| older.at += 1);
            source.at += 1;
        }
    }
}

impl<F: File> Source<F> {
    fn item(&self) -> Option<Item<'_>> {
        let (bytes, place) = (self.blocks.as_ref()?.bytes(), self.places.get(self.at)?);
        Some(Item { key: &bytes[place.key.clone()], value: &bytes[place.value.clone()] })
    }

    async fn read_on(&mut self) -> Result<(), SnapshotError> {
        self.blocks = self.scan.next().await?;
        self.at = 0;
        self.places.clear();
        if let Some(blocks) = &self.blocks {
            blocks.items().try_for_each(|item| {
                self.places.push(blocks.place(&item?));
                Ok::<(), SnapshotError>(())
            })?;
        }
        Ok(())
    }
}
