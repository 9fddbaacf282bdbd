//! Reading a snapshot file in place: from a mapping, or from any other bytes.

use std::cell::Cell;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use crate::block::{Block, Item, Items, Trust};
use crate::checksums::{ChecksumTable, table_range};
use crate::error::{Damage, SnapshotError};
use crate::format::{FOOTER_BYTES, IndexEntry};
use crate::hash::key_hash;
use crate::index::IndexView;
use crate::layout::{Layout, Summary, check_file_bytes, decode_footer, decode_header};
use crate::manifest::RunReference;
use crate::order::OrderCheck;
use crate::residence::{BlockPlace, BlockStates};

/// A snapshot file whose bytes are in the address space: a [`Map`](crate::Map), or bytes in memory.
///
/// Each block's checksum is verified when it is first read. Reading touches the pages it needs: on a mapping of a
/// file that is not resident this blocks the thread. So a run knows which blocks are at hand: were brought to memory and
/// found sound. [`Access::AtHand`] reads those and no others.
pub struct Run<B> {
    bytes: B,
    path: PathBuf,
    layout: Layout,
    index_checked: Cell<bool>,
    pub(crate) residence: BlockStates,
}

/// What a lookup does at a block that is not at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads and verifies it, however long that takes. It is at hand then.
    Wait,
    /// Stops, and says which block: [`SnapshotError::NotAtHand`].
    AtHand,
    /// Reads and verifies it, and forgets that it did.
    Peek,
}

impl<B: Deref<Target = [u8]>> Run<B> {
    /// Checks header, footer and meta, in a time that does not depend on the size of the file. `path` is for the
    /// errors.
    ///
    /// # Errors
    ///
    /// `Corrupt`.
    pub fn open(bytes: B, path: &Path) -> Result<Run<B>, SnapshotError> {
        let layout = decode_layout(&bytes).map_err(|damage| damage.of(path))?;
        let blocks = usize::try_from(layout.footer.blocks).expect("fewer than the bytes at hand");
        let residence = BlockStates::new(blocks);
        Ok(Run { bytes, path: path.to_path_buf(), layout, index_checked: Cell::new(false), residence })
    }

    /// What the file says about itself.
    pub fn summary(&self) -> &Summary {
        &self.layout.summary
    }

    /// Its bytes.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that this is the file a manifest names.
    ///
    /// # Errors
    ///
    /// `Mismatch`.
    pub fn expect(&self, reference: &RunReference) -> Result<(), SnapshotError> {
        expect(&self.layout.summary, reference, &self.path)
    }

    /// The value of the first item with exactly this key. For runs that most keys asked for are in, such as the oldest of
    /// several: there the filters would cost more than they save.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index or a block that the search came by.
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, SnapshotError> {
        self.get_by(key, Access::Wait)
    }

    /// The same, with a say in what happens at blocks that are not at hand.
    ///
    /// # Errors
    ///
    /// As for [`Run::get`]; `NotAtHand`, if that is asked for.
    pub fn get_by(&self, key: &[u8], access: Access) -> Result<Option<&[u8]>, SnapshotError> {
        self.find(key, self.index()?.candidates(key), access)
    }

    /// The same, for runs that most keys are not in: asks the filters first, and looks at one block in a hundred in vain.
    ///
    /// # Errors
    ///
    /// As for [`Run::get`].
    pub fn get_filtered(&self, key: &[u8]) -> Result<Option<&[u8]>, SnapshotError> {
        self.get_filtered_by(key, Access::Wait)
    }

    /// The same, with a say in what happens at blocks that are not at hand.
    ///
    /// # Errors
    ///
    /// As for [`Run::get_by`].
    pub fn get_filtered_by(&self, key: &[u8], access: Access) -> Result<Option<&[u8]>, SnapshotError> {
        let (index, filters, hash) = (self.index()?, self.filters(), key_hash(key));
        let candidates = index.candidates(key);
        self.find(key, candidates.filter(|number| index.may_hold(filters, *number, hash)), access)
    }

    fn find(
        &self,
        key: &[u8],
        candidates: impl Iterator<Item = usize>,
        access: Access,
    ) -> Result<Option<&[u8]>, SnapshotError> {
        let hash = key_hash(key);
        for number in candidates {
            // A block that is not at hand costs more than its filter.
            if !self.residence.has(number) && !self.index()?.may_hold(self.filters(), number, hash) {
                continue;
            }
            let found =
                self.block(number, access)?.find(key, hash).map_err(|damage| damage.of(&self.path))?;
            if let Some(item) = found {
                return Ok(Some(item.value));
            }
        }
        Ok(None)
    }

    /// All items, in order.
    pub fn items(&self) -> RunItems<'_, B> {
        RunItems { run: self, next_block: Some(0), items: None, from: Vec::new(), access: Access::Wait }
    }

    /// All items with a key of at least `key`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index.
    pub fn items_from(&self, key: &[u8]) -> Result<RunItems<'_, B>, SnapshotError> {
        self.items_from_by(key, Access::Wait)
    }

    /// The same, with a say in what happens at blocks that are not at hand.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index; the items end with `NotAtHand`, if that is asked for.
    pub fn items_from_by(&self, key: &[u8], access: Access) -> Result<RunItems<'_, B>, SnapshotError> {
        let block = self.index()?.lower_bound(key);
        Ok(RunItems { run: self, next_block: Some(block), items: None, from: key.to_vec(), access })
    }

    /// Reads and checks every byte: the chunks against the checksum table, then each block, each item's shape and
    /// the order of the keys. Takes as long as reading the file does: not for a shard's thread.
    ///
    /// # Errors
    ///
    /// `Corrupt`, at the first damage found.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        self.check_chunks().map_err(|damage| damage.of(&self.path))?;
        let mut pass = CheckPass::default();
        while self.check_some(&mut pass, usize::MAX, |_| Ok(()))? {}
        Ok(())
    }

    /// Checks the next blocks, of about `bytes_max`: their checksums, each item's shape, the order of the keys and what `check`
    /// says; at the end also the counts. Answers whether more is left. A file that passed is not checked again when it is read.
    ///
    /// # Errors
    ///
    /// `Corrupt`, at the first damage found; `Item`, with what `check` said.
    pub fn check_some(
        &self,
        pass: &mut CheckPass,
        bytes_max: usize,
        mut check: impl FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<bool, SnapshotError> {
        let damaged = |damage: Damage| damage.of(&self.path);
        let (index, filters) = (self.index()?, self.filters());
        let mut bytes = 0;
        while pass.next_block < index.len() {
            if bytes >= bytes_max {
                return Ok(true);
            }
            let number = pass.next_block;
            let entry = index.entry(number);
            let block = Block::decode(&self.bytes[block_range(&entry)], &entry, Trust::Check);
            let block = block.map_err(damaged)?;
            let summary = &self.layout.summary;
            pass.order.block(summary, &entry, &index, number, filters, &block).map_err(damaged)?;
            for item in block.items() {
                check(item.map_err(damaged)?)
                    .map_err(|reason| SnapshotError::Item { path: self.path.clone(), reason })?;
            }
            bytes += block_range(&entry).len();
            self.residence.set(number, block_range(&entry).len());
            pass.next_block += 1;
        }
        pass.order.end(&self.layout.summary).map_err(damaged)?;
        Ok(false)
    }

    /// Where the bytes are that the next call of [`Run::check_some`] with `bytes_max` reads, for whoever brings them to memory
    /// before; the first time also the index and the filters.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index.
    pub fn next_checked(&self, pass: &CheckPass, bytes_max: usize) -> Result<Range<usize>, SnapshotError> {
        let index = self.index()?;
        let mut range = None;
        for number in pass.next_block..index.len() {
            let block = block_range(&index.entry(number));
            let range = range.get_or_insert(block.start..block.start);
            if range.len() >= bytes_max {
                break;
            }
            range.end = block.end;
        }
        Ok(range.unwrap_or(0..0))
    }

    /// Block `number`, for whoever brings it to memory. None: there is no such block.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index.
    pub fn place(&self, number: usize) -> Result<Option<BlockPlace>, SnapshotError> {
        let index = self.index()?;
        Ok((number < index.len()).then(|| BlockPlace { entry: index.entry(number) }))
    }

    /// Block `number`, whose place this is, was brought to memory and [found sound](BlockPlace::check).
    pub fn is_brought(&self, number: usize, place: &BlockPlace) {
        self.residence.set(number, place.range().len());
    }

    /// Where index and filters are: what any lookup needs.
    pub fn index_range(&self) -> Range<usize> {
        let footer = &self.layout.footer;
        let (index, filters) = (footer.index_range(), footer.filter_range());
        usize_range(index.start.min(filters.start)..index.end.max(filters.end))
    }

    fn check_chunks(&self) -> Result<(), Damage> {
        let table = ChecksumTable::new(&self.layout, &self.bytes[table_range(&self.layout)])?;
        (0..self.layout.chunks()).try_for_each(|number| {
            let range = self.layout.chunk_range(number);
            table.check(&self.layout, number, &self.bytes[usize_range(range)])
        })
    }

    pub(crate) fn index(&self) -> Result<IndexView<'_>, SnapshotError> {
        let footer = &self.layout.footer;
        let bytes = &self.bytes[usize_range(footer.index_range())];
        let index = IndexView::new(bytes, footer).expect("the footer's offsets were proven");
        if !self.index_checked.get() {
            let checked = index.check(footer).and_then(|()| footer.check_filters(self.filters()));
            checked.map_err(|damage| damage.of(&self.path))?;
            self.index_checked.set(true);
        }
        Ok(index)
    }

    fn filters(&self) -> &[u8] {
        &self.bytes[usize_range(self.layout.footer.filter_range())]
    }

    fn block(&self, number: usize, access: Access) -> Result<Block<'_>, SnapshotError> {
        let is_at_hand = access != Access::Peek && self.residence.use_block(number);
        if !is_at_hand && access == Access::AtHand {
            return Err(SnapshotError::NotAtHand { block: number });
        }
        let trust = if is_at_hand { Trust::CheckedBefore } else { Trust::Check };
        let entry = self.index()?.entry(number);
        let block = Block::decode(&self.bytes[block_range(&entry)], &entry, trust);
        let block = block.map_err(|damage| damage.of(&self.path))?;
        if access == Access::Wait && !is_at_hand {
            self.residence.set(number, block_range(&entry).len());
        }
        Ok(block)
    }
}

/// How far a check of a whole file is.
#[derive(Default)]
pub struct CheckPass {
    next_block: usize,
    order: OrderCheck,
}

/// The items of a [`Run`]. Ends after the first error.
pub struct RunItems<'a, B> {
    run: &'a Run<B>,
    /// None once it has ended.
    next_block: Option<usize>,
    items: Option<Items<'a>>,
    from: Vec<u8>,
    access: Access,
}

impl<'a, B: Deref<Target = [u8]>> RunItems<'a, B> {
    fn advance(&mut self) -> Result<Option<Item<'a>>, SnapshotError> {
        loop {
            if let Some(items) = &mut self.items {
                for item in items {
                    let item = item.map_err(|damage| damage.of(&self.run.path))?;
                    if item.key >= self.from.as_slice() {
                        return Ok(Some(item));
                    }
                }
            }
            let Some(number) = self.next_block else { return Ok(None) };
            if number >= self.run.index()?.len() {
                return Ok(None);
            }
            self.items = Some(self.run.block(number, self.access)?.items());
            self.next_block = Some(number + 1);
        }
    }
}

impl<'a, B: Deref<Target = [u8]>> Iterator for RunItems<'a, B> {
    type Item = Result<Item<'a>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if !matches!(item, Ok(Some(_))) {
            (self.next_block, self.items) = (None, None);
        }
        item.transpose()
    }
}

fn decode_layout(bytes: &[u8]) -> Result<Layout, Damage> {
    let file_bytes = bytes.len() as u64;
    check_file_bytes(file_bytes)?;
    let header = decode_header(bytes)?;
    let footer = decode_footer(&bytes[bytes.len() - FOOTER_BYTES..], file_bytes)?;
    let meta = footer.meta_offset..footer.meta_offset + footer.meta_bytes;
    Layout::decode(header, footer, &bytes[usize_range(meta)])
}

pub(crate) fn expect(summary: &Summary, reference: &RunReference, path: &Path) -> Result<(), SnapshotError> {
    let RunReference { name, offset: _, bytes, checksum } = reference;
    let fields = [
        ("the group", summary.group.to_string(), name.group.to_string()),
        ("the entry", summary.id.to_string(), name.id.to_string()),
        ("the size", summary.file_bytes.to_string(), bytes.to_string()),
        ("the checksum", format!("{:08x}", summary.checksum), format!("{checksum:08x}")),
    ];
    let wrong = fields.into_iter().find(|(_, found, expected)| found != expected);
    wrong.map_or(Ok(()), |(field, found, expected)| {
        Err(SnapshotError::Mismatch { path: path.to_path_buf(), field, found, expected })
    })
}

/// A range within bytes that are in memory.
pub(crate) fn usize_range(range: Range<u64>) -> Range<usize> {
    let at_hand = |offset| usize::try_from(offset).expect("within bytes in memory");
    at_hand(range.start)..at_hand(range.end)
}

pub(crate) fn block_range(entry: &IndexEntry) -> Range<usize> {
    usize_range(entry.block_offset..entry.block_offset + u64::from(entry.block_bytes))
}
