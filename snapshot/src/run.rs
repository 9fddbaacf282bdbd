//! Reading a snapshot file in place: from a mapping, or from any other bytes.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use crate::block::{Block, Item, Items, Trust};
use crate::error::{Damage, SnapshotError, ensure};
use crate::format::{CHUNK_BYTES, FOOTER_BYTES, IndexEntry, PAGE_BYTES, read_pod};
use crate::hash::key_hash;
use crate::index::IndexView;
use crate::layout::{Layout, Summary, check_file_bytes, decode_footer, decode_header};
use crate::manifest::RunReference;

/// A snapshot file whose bytes are at hand: a [`Map`](crate::Map), or bytes in memory.
///
/// Each block's checksum is verified when it is first read. Reading touches the pages it needs: on a mapping of a
/// file that is not resident this blocks the thread, so a shard maps only what was made resident off its thread.
pub struct Run<B> {
    bytes: B,
    path: PathBuf,
    layout: Layout,
    index_checked: Cell<bool>,
    /// One bit per block: its checksum was right.
    blocks_checked: RefCell<Vec<u64>>,
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
        let blocks_checked = RefCell::new(vec![0; blocks.div_ceil(64)]);
        Ok(Run { bytes, path: path.to_path_buf(), layout, index_checked: Cell::new(false), blocks_checked })
    }

    /// What the file says about itself.
    pub fn summary(&self) -> &Summary {
        &self.layout.summary
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
        self.find(key, self.index()?.candidates(key))
    }

    /// The same, for runs that most keys are not in: asks the filters first, and looks at one block in a hundred in vain.
    ///
    /// # Errors
    ///
    /// As for [`Run::get`].
    pub fn get_filtered(&self, key: &[u8]) -> Result<Option<&[u8]>, SnapshotError> {
        let (index, filters, hash) = (self.index()?, self.filters(), key_hash(key));
        let candidates = index.candidates(key);
        self.find(key, candidates.filter(|number| index.may_hold(filters, *number, hash)))
    }

    fn find(
        &self,
        key: &[u8],
        candidates: impl Iterator<Item = usize>,
    ) -> Result<Option<&[u8]>, SnapshotError> {
        let hash = key_hash(key);
        for number in candidates {
            let found = self.block(number)?.find(key, hash).map_err(|damage| damage.of(&self.path))?;
            if let Some(item) = found {
                return Ok(Some(item.value));
            }
        }
        Ok(None)
    }

    /// All items, in order.
    pub fn items(&self) -> RunItems<'_, B> {
        RunItems { run: self, next_block: Some(0), items: None, from: Vec::new() }
    }

    /// All items with a key of at least `key`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt`, for the index.
    pub fn items_from(&self, key: &[u8]) -> Result<RunItems<'_, B>, SnapshotError> {
        let block = self.index()?.lower_bound(key);
        Ok(RunItems { run: self, next_block: Some(block), items: None, from: key.to_vec() })
    }

    /// Reads and checks every byte: the chunks against the checksum table, then each block, each item's shape and
    /// the order of the keys. Takes as long as reading the file does: not for a shard's thread.
    ///
    /// # Errors
    ///
    /// `Corrupt`, at the first damage found.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        self.check_chunks().map_err(|damage| damage.of(&self.path))?;
        let mut check = OrderCheck::new(&self.layout);
        let index = self.index()?;
        for number in 0..index.len() {
            let entry = index.entry(number);
            let block = Block::decode(&self.bytes[block_range(&entry)], &entry, Trust::Check);
            let checked = block.and_then(|block| check.block(&entry, &index, number, self.filters(), &block));
            checked.map_err(|damage| damage.of(&self.path))?;
        }
        check.end().map_err(|damage| damage.of(&self.path))
    }

    fn check_chunks(&self) -> Result<(), Damage> {
        let table = ChecksumTable::new(&self.layout, &self.bytes[table_range(&self.layout)])?;
        (0..self.layout.chunks()).try_for_each(|number| {
            let range = self.layout.chunk_range(number);
            table.check(&self.layout, number, &self.bytes[usize_range(range)])
        })
    }

    fn index(&self) -> Result<IndexView<'_>, SnapshotError> {
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

    fn block(&self, number: usize) -> Result<Block<'_>, SnapshotError> {
        let (word, bit) = (number / 64, 1u64 << (number % 64));
        let checked = self.blocks_checked.borrow()[word] & bit != 0;
        let trust = if checked { Trust::CheckedBefore } else { Trust::Check };
        let entry = self.index()?.entry(number);
        let block = Block::decode(&self.bytes[block_range(&entry)], &entry, trust);
        let block = block.map_err(|damage| damage.of(&self.path))?;
        if !checked {
            self.blocks_checked.borrow_mut()[word] |= bit;
        }
        Ok(block)
    }
}

/// The items of a [`Run`]. Ends after the first error.
pub struct RunItems<'a, B> {
    run: &'a Run<B>,
    /// None once it has ended.
    next_block: Option<usize>,
    items: Option<Items<'a>>,
    from: Vec<u8>,
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
            self.items = Some(self.run.block(number)?.items());
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

fn block_range(entry: &IndexEntry) -> Range<usize> {
    usize_range(entry.block_offset..entry.block_offset + u64::from(entry.block_bytes))
}

/// The checksum table and the zeros behind it, up to the footer.
fn table_range(layout: &Layout) -> Range<usize> {
    usize_range(layout.footer.table_offset..layout.footer.file_bytes - FOOTER_BYTES as u64)
}

/// The checksum table, its own checksum verified.
pub(crate) struct ChecksumTable<'a> {
    checksums: &'a [u8],
}

impl<'a> ChecksumTable<'a> {
    /// `bytes` reach from the table to the footer.
    pub fn new(layout: &Layout, bytes: &'a [u8]) -> Result<ChecksumTable<'a>, Damage> {
        let at = layout.footer.table_offset;
        let damage = Damage::new(at, "the checksum table's checksum does not match");
        if crc32fast::hash(bytes) != layout.footer.table_checksum {
            return Err(damage);
        }
        let table_bytes = usize::try_from(layout.footer.table_bytes).map_err(|_| damage)?;
        Ok(ChecksumTable { checksums: bytes.get(..table_bytes).ok_or(damage)? })
    }

    /// Checks chunk `number`.
    pub fn check(&self, layout: &Layout, number: u64, chunk: &[u8]) -> Result<(), Damage> {
        let at = layout.chunk_range(number).start;
        let start = usize::try_from(number).expect("within the table") * 4;
        let expected: Option<u32> = self.checksums.get(start..).and_then(read_pod);
        if expected != Some(crc32fast::hash(chunk)) {
            return Err(Damage::new(at, "the chunk's checksum does not match"));
        }
        let padding = at == 0
            && chunk[size_of::<crate::format::FileHeader>()..PAGE_BYTES].iter().any(|byte| *byte != 0);
        if padding { Err(Damage::new(64, "the header's padding is not zero")) } else { Ok(()) }
    }
}

const _: () = assert!(CHUNK_BYTES >= PAGE_BYTES);

/// What `verify` proves beyond checksums: shape, order and counts of the items.
pub(crate) struct OrderCheck<'a> {
    summary: &'a Summary,
    previous: Option<Vec<u8>>,
    items: u64,
    keys_bytes: u64,
    values_bytes: u64,
}

impl<'a> OrderCheck<'a> {
    pub fn new(layout: &'a Layout) -> OrderCheck<'a> {
        OrderCheck { summary: &layout.summary, previous: None, items: 0, keys_bytes: 0, values_bytes: 0 }
    }

    /// Takes the next block, which is `number` of the index and has this entry there.
    pub fn block(
        &mut self,
        entry: &IndexEntry,
        index: &IndexView<'_>,
        number: usize,
        filters: &[u8],
        block: &Block<'_>,
    ) -> Result<(), Damage> {
        let offset = entry.block_offset;
        if let Some(Ok(first)) = block.items().next()
            && first.key != index.key(number)
        {
            return Err(Damage::new(offset, "a block starts with another key than the index says"));
        }
        block.check_directory()?;
        for item in block.items() {
            let item = item?;
            let is_found = index.may_hold(filters, number, key_hash(item.key));
            ensure(is_found, offset, "the filter of a block lacks one of its keys")?;
            let in_order = match &self.previous {
                Some(previous) => previous.as_slice() <= item.key,
                None => self.summary.first_key.as_deref() == Some(item.key),
            };
            if !in_order {
                return Err(Damage::new(offset, "the keys of a block are not in order"));
            }
            let previous = self.previous.get_or_insert_default();
            previous.clear();
            previous.extend_from_slice(item.key);
            self.items += 1;
            self.keys_bytes += item.key.len() as u64;
            self.values_bytes += item.value.len() as u64;
        }
        Ok(())
    }

    /// After the last block.
    pub fn end(self) -> Result<(), Damage> {
        let Summary { items, keys_bytes, values_bytes, last_key, file_bytes, .. } = self.summary;
        let counted = (self.items, self.keys_bytes, self.values_bytes, &self.previous);
        let agrees = counted == (*items, *keys_bytes, *values_bytes, last_key);
        if agrees {
            Ok(())
        } else {
            Err(Damage::new(*file_bytes, "the counts of the meta section are wrong"))
        }
    }
}
