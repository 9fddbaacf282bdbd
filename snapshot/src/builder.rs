//! Writing a snapshot file in slices.

use std::collections::VecDeque;

use raft::EntryId;
use runtime::{Buffer, Disk};

use crate::aside::Aside;
use crate::begun::Begun;
use crate::block_builder::{BlockBuilder, front_of_one, to_u32};
use crate::error::SnapshotError;
use crate::format::{
    BLOCK_BYTES, FILTER_ALIGN, FOOTER_BYTES, FOOTER_MAGIC, FileHeader, Footer, HEADER_MAGIC, KEY_BYTES_MAX,
    MEMBERSHIP_BYTES_MAX, MetaHeader, PAGE_BYTES, SECTION_ALIGN, VALUE_BYTES_MAX, VERSION,
};
use crate::index_builder::IndexBuilder;
use crate::manifest::RunReference;
use crate::name::SnapshotName;
use crate::output::{Output, WRITE_BYTES};
use crate::store::{Guard, Slot};

/// What a builder needs to know besides the items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSpec {
    /// The data directory's random id.
    pub store: [u8; 16],
    /// The shard that builds.
    pub shard: u32,
    /// The membership in force at the entry the file is named after; at most [`MEMBERSHIP_BYTES_MAX`].
    pub membership: Vec<u8>,
}

/// Whether the builder can take more before it must write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a builder that is not flushed when it asks for it grows without bound"]
pub enum Room {
    /// Go on.
    More,
    /// At least one buffer is full: call [`Builder::flush`].
    Flush,
}

/// Why an item was not taken. The builder is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The key is below the one before it.
    #[error("a key is smaller than the one before it")]
    OutOfOrder,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("a key of {0} bytes is longer than {KEY_BYTES_MAX}")]
    KeyTooLong(usize),
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("a value of {0} bytes is longer than {VALUE_BYTES_MAX}")]
    ValueTooLong(usize),
}

/// A complete file: synced under its final name, its directory entry durable too, and kept from deletion by the
/// guard until it is published or given up.
#[derive(Debug)]
pub struct Finished {
    /// What the manifest says about the file.
    pub reference: RunReference,
    /// Keeps the file.
    pub guard: Guard,
}

/// A value that is being pushed in parts.
struct OpenValue {
    left: usize,
    hasher: crc32fast::Hasher,
    /// Where its block begins.
    offset: u64,
}

/// Writes that are under way while more is added. Beside a busy shard one takes a few of its turns, however small it is.
const WRITES_UNDER_WAY_MAX: usize = 8;

/// Writes a snapshot file: items in, in order; bytes out in buffers of 128 KiB.
///
/// Nothing here blocks: `push` copies into memory, `flush` and `finish` await the disk. A background task calls
/// `push` for at most a slice of time, then `flush` when told, then lets others run. Dropping it gives the file up.
pub struct Builder<D: Disk> {
    aside: Aside<D>,
    id: EntryId,
    membership: Vec<u8>,
    header_checksum: u32,
    output: Output,
    /// The oldest first.
    writes: VecDeque<Begun<'static, ()>>,
    block: BlockBuilder,
    open_value: Option<OpenValue>,
    /// What the index says of the blocks so far, of the one being filled only its first key.
    index: IndexBuilder,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    items: u64,
    keys_bytes: u64,
    values_bytes: u64,
}

impl<D: Disk> Builder<D> {
    /// Creates the file in `slot`, from [`Store::begin_build`](crate::Store::begin_build).
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be created; the slot is free again.
    ///
    /// # Panics
    ///
    /// When the membership is longer than [`MEMBERSHIP_BYTES_MAX`].
    pub async fn create(slot: Slot<D>, spec: BuildSpec) -> Result<Builder<D>, SnapshotError> {
        assert!(spec.membership.len() <= MEMBERSHIP_BYTES_MAX, "a membership is small");
        let aside = Aside::create(slot).await?;
        let SnapshotName { group, id, .. } = aside.name();
        let header = FileHeader {
            magic: HEADER_MAGIC,
            version: VERSION,
            shard: spec.shard,
            store: spec.store,
            group: group.0,
            index: id.index.0,
            term: id.term.0,
            ..FileHeader::default()
        };
        let header = header.sealed();
        let mut output = Output::new();
        output.add(bytemuck::bytes_of(&header));
        output.pad(PAGE_BYTES);
        Ok(Builder {
            aside,
            id,
            membership: spec.membership,
            header_checksum: crc32fast::hash(bytemuck::bytes_of(&header)),
            output,
            writes: VecDeque::new(),
            block: BlockBuilder::default(),
            open_value: None,
            index: IndexBuilder::default(),
            first_key: Vec::new(),
            last_key: Vec::new(),
            items: 0,
            keys_bytes: 0,
            values_bytes: 0,
        })
    }

    /// The file being built.
    pub fn name(&self) -> SnapshotName {
        self.aside.name()
    }

    /// Bytes that wait for the next flush.
    pub fn held_bytes(&self) -> usize {
        self.output.held_bytes() + self.block.held_bytes()
    }

    /// Adds an item behind all others. Keys may be equal. Costs time for each byte: see [`Builder::push_value`]
    /// for values of many megabytes.
    ///
    /// # Errors
    ///
    /// [`ItemError`] for an item that does not belong here; nothing was added.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Room, ItemError> {
        if BlockBuilder::bytes_of_one(key.len(), value.len()) > BLOCK_BYTES {
            self.push_value(key, value.len())?;
            return Ok(self.extend_value(value));
        }
        self.check(key, value.len())?;
        if !self.block.fits(key.len(), value.len()) {
            self.close_block();
        }
        if self.block.items() == 0 {
            self.index.begin(key);
        }
        self.block.push(key, value);
        self.count(key, value.len());
        Ok(self.room())
    }

    /// Begins an item whose value follows in parts, in a block of its own. The parts, all of them, are given to
    /// [`Builder::extend_value`], with flushes in between, before anything else happens.
    ///
    /// # Errors
    ///
    /// [`ItemError`] as for `push`.
    pub fn push_value(&mut self, key: &[u8], value_bytes: usize) -> Result<(), ItemError> {
        self.check(key, value_bytes)?;
        self.close_block();
        self.index.begin(key);
        let offset = self.output.position();
        let front = front_of_one(key, value_bytes, self.index.filters());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&front);
        self.output.add(&front);
        self.count(key, value_bytes);
        self.open_value = Some(OpenValue { left: value_bytes, hasher, offset });
        let _room = self.extend_value(&[]);
        Ok(())
    }

    /// The next part of the value begun by [`Builder::push_value`].
    ///
    /// # Panics
    ///
    /// When the parts are longer than the value was said to be.
    pub fn extend_value(&mut self, part: &[u8]) -> Room {
        if let Some(open) = &mut self.open_value {
            open.left = open.left.checked_sub(part.len()).expect("the parts are as long as the value");
            open.hasher.update(part);
            self.output.add(part);
        } else {
            assert!(part.is_empty(), "a value was begun");
        }
        if let Some(open) = self.open_value.take_if(|open| open.left == 0) {
            self.output.add(bytemuck::bytes_of(&open.hasher.finalize()));
            self.index.end(open.offset, self.output.position(), 1);
            self.output.pad(PAGE_BYTES);
        }
        self.room()
    }

    fn room(&self) -> Room {
        if self.output.has_full() { Room::Flush } else { Room::More }
    }

    fn check(&self, key: &[u8], value_bytes: usize) -> Result<(), ItemError> {
        assert!(self.open_value.is_none(), "the value begun before is whole");
        if key.len() > KEY_BYTES_MAX {
            return Err(ItemError::KeyTooLong(key.len()));
        }
        if value_bytes > VALUE_BYTES_MAX {
            return Err(ItemError::ValueTooLong(value_bytes));
        }
        if self.items > 0 && key < self.last_key.as_slice() {
            return Err(ItemError::OutOfOrder);
        }
        Ok(())
    }

    fn count(&mut self, key: &[u8], value_bytes: usize) {
        if self.items == 0 {
            self.first_key = key.to_vec();
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.items += 1;
        self.keys_bytes += key.len() as u64;
        self.values_bytes += value_bytes as u64;
    }

    fn close_block(&mut self) {
        let items = self.block.items();
        if items == 0 {
            return;
        }
        let offset = self.output.position();
        let Builder { block, index, output, .. } = self;
        block.close(index.filters(), |piece| output.add(piece));
        index.end(offset, output.position(), items);
        output.pad(PAGE_BYTES);
    }

    /// Begins to write all full buffers, and waits until only a few writes are under way.
    ///
    /// # Errors
    ///
    /// `Io`, of these writes or of earlier ones: the file cannot be finished any more; drop the builder.
    pub async fn flush(&mut self) -> Result<(), SnapshotError> {
        while let Some((offset, piece)) = self.output.take_full() {
            self.begin_write(offset, piece).await?;
        }
        Ok(())
    }

    async fn begin_write(&mut self, offset: u64, piece: Buffer) -> Result<(), SnapshotError> {
        if self.writes.len() == WRITES_UNDER_WAY_MAX
            && let Some(oldest) = self.writes.pop_front()
        {
            oldest.end().await?;
        }
        self.writes.push_back(self.aside.begin_write(offset, piece).await?);
        Ok(())
    }

    /// Writes the rest, syncs, renames the file to its final name and syncs the directory, in this order.
    ///
    /// # Errors
    ///
    /// `Io`: the file is given up; the store's next collection removes what there is of it.
    ///
    /// # Panics
    ///
    /// When a value begun by [`Builder::push_value`] is not whole.
    pub async fn finish(mut self) -> Result<Finished, SnapshotError> {
        assert!(self.open_value.is_none(), "the value begun before is whole");
        self.close_block();
        let footer = self.add_sections().await?;
        self.output.add(bytemuck::bytes_of(&footer));
        self.flush().await?;
        if let Some((offset, rest)) = self.output.take_last() {
            self.begin_write(offset, rest).await?;
        }
        for write in std::mem::take(&mut self.writes) {
            write.end().await?;
        }
        self.aside.set_len(footer.file_bytes).await?;
        self.aside.sync().await?;
        let name = self.aside.name();
        let reference = RunReference { name, offset: 0, bytes: footer.file_bytes, checksum: footer.checksum };
        let guard = self.aside.complete().await?;
        Ok(Finished { reference, guard })
    }

    /// Adds index, meta, checksum table and the zeros up to the footer, which it returns.
    async fn add_sections(&mut self) -> Result<Footer, SnapshotError> {
        let mut footer = Footer { magic: FOOTER_MAGIC, version: VERSION, ..Footer::default() };
        footer.header_checksum = self.header_checksum;
        footer.items = self.items;

        let index = std::mem::take(&mut self.index);
        footer.blocks = index.blocks();
        footer.index_offset = self.output.position();
        footer.index_bytes = index.sections().iter().map(|section| section.len() as u64).sum();
        footer.index_checksum = self.add_section(&index.sections(), FILTER_ALIGN).await?;
        let filters = index.into_filters();
        footer.filter_bytes = filters.len() as u64;
        footer.filter_checksum = self.add_section(&[&filters], SECTION_ALIGN).await?;
        drop(filters);

        let meta = self.meta();
        footer.meta_offset = self.output.position();
        footer.meta_bytes = meta.len() as u64;
        footer.meta_checksum = self.add_section(&[&meta], SECTION_ALIGN).await?;

        footer.table_offset = self.output.position();
        let table = self.output.end_table();
        let mut rest: Vec<u8> = bytemuck::cast_slice(&table).to_vec();
        footer.table_bytes = rest.len() as u64;
        let end = footer.table_offset + footer.table_bytes + FOOTER_BYTES as u64;
        footer.file_bytes = end.next_multiple_of(PAGE_BYTES as u64);
        rest.resize(rest.len() + usize::try_from(footer.file_bytes - end).expect("less than a page"), 0);
        footer.table_checksum = crc32fast::hash(&rest);
        for part in rest.chunks(WRITE_BYTES) {
            self.output.add(part);
            self.flush().await?;
        }
        Ok(footer.sealed())
    }

    /// Adds one section in slices, and zeros to where the next may begin; returns its checksum.
    async fn add_section(&mut self, pieces: &[&[u8]], align: u64) -> Result<u32, SnapshotError> {
        let mut hasher = crc32fast::Hasher::new();
        for part in pieces.iter().flat_map(|piece| piece.chunks(WRITE_BYTES)) {
            hasher.update(part);
            self.output.add(part);
            self.flush().await?;
        }
        self.output.pad(usize::try_from(align).expect("a small constant"));
        self.flush().await?;
        Ok(hasher.finalize())
    }

    fn meta(&self) -> Vec<u8> {
        let header = MetaHeader {
            index: self.id.index.0,
            term: self.id.term.0,
            items: self.items,
            keys_bytes: self.keys_bytes,
            values_bytes: self.values_bytes,
            membership_bytes: to_u32(self.membership.len()),
            first_key_bytes: to_u32(self.first_key.len()),
            last_key_bytes: to_u32(self.last_key.len()),
            ..MetaHeader::default()
        };
        [bytemuck::bytes_of(&header), &self.membership, &self.first_key, &self.last_key].concat()
    }
}
