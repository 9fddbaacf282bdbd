//! Reading a snapshot file through the disk seam, without blocking the thread.

mod verify;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use runtime::{Buffer, Disk, File};

use crate::begun::Begun;
use crate::block::{Block, Item, Items, Trust};
use crate::error::{Damage, SnapshotError};
use crate::format::{FOOTER_BYTES, HEADER_BYTES, IndexEntry};
use crate::hash::key_hash;
use crate::index::IndexView;
use crate::layout::{Layout, Summary, check_file_bytes, decode_footer, decode_header};
use crate::manifest::RunReference;
use crate::merge::Place;
use crate::run::expect;

/// What a pass over a file reads at once, unless a block is larger: others wait for the same disk, and for the thread while a piece
/// is verified.
const READ_BYTES: u64 = 256 << 10;

/// What is read while what came before is gone through: eight reads, as beside a busy shard one takes a few of its turns, however small
/// it is. A large block may go beyond it, alone.
const AHEAD_BYTES: u64 = 8 * READ_BYTES;

/// A snapshot file that is read on demand. What is read is verified.
pub struct FileRun<F> {
    file: F,
    path: PathBuf,
    layout: Layout,
    /// The index section, once it was needed; it stays in memory.
    index: Option<Buffer>,
}

impl<F: File> FileRun<F> {
    /// Opens a complete file and checks header, footer and meta, in a time that does not depend on its size.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt`.
    pub async fn open<D: Disk<File = F>>(disk: &D, path: &Path) -> Result<FileRun<F>, SnapshotError> {
        let file = disk.open(path).await.map_err(|error| SnapshotError::io(path, "open", error))?;
        FileRun::of_file(file, path).await
    }

    /// The same for a file that is open already.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt`.
    pub async fn of_file(file: F, path: &Path) -> Result<FileRun<F>, SnapshotError> {
        let file_bytes = file.file_bytes();
        let damaged = |damage: Damage| damage.of(path);
        check_file_bytes(file_bytes).map_err(damaged)?;
        let header = decode_header(&read(&file, path, 0, HEADER_BYTES as u64).await?).map_err(damaged)?;
        let footer = read(&file, path, file_bytes - FOOTER_BYTES as u64, FOOTER_BYTES as u64).await?;
        let footer = decode_footer(&footer, file_bytes).map_err(damaged)?;
        let meta = read(&file, path, footer.meta_offset, footer.meta_bytes).await?;
        let layout = Layout::decode(header, footer, &meta).map_err(damaged)?;
        Ok(FileRun { file, path: path.to_path_buf(), layout, index: None })
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

    /// The value of the first item with exactly this key.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` for the index or a block that the search came by.
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<Buffer>, SnapshotError> {
        self.load_index().await?;
        for number in self.index().candidates(key) {
            let entry = self.index().entry(number);
            let bytes = self.read(entry.block_offset, u64::from(entry.block_bytes)).await?;
            let block = Block::decode(&bytes, &entry, Trust::Check);
            let found = block.and_then(|block| block.find(key, key_hash(key)));
            if let Some(item) = found.map_err(|damage| damage.of(&self.path))? {
                let start = item.value.as_ptr().addr() - bytes.as_ptr().addr();
                return Ok(Some(bytes.slice(start..start + item.value.len())));
            }
        }
        Ok(None)
    }

    /// All items, in order, from the first.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` for the index.
    pub async fn scan(mut self) -> Result<Scan<F>, SnapshotError> {
        self.load_index().await?;
        Ok(Scan { run: self, next_block: 0, ahead: VecDeque::new() })
    }

    async fn load_index(&mut self) -> Result<(), SnapshotError> {
        if self.index.is_none() {
            let footer = &self.layout.footer;
            let bytes = self.read(footer.index_offset, footer.index_bytes).await?;
            let view = IndexView::new(&bytes, footer).expect("the footer's offsets were proven");
            view.check(footer).map_err(|damage| damage.of(&self.path))?;
            self.index = Some(bytes);
        }
        Ok(())
    }

    fn index(&self) -> IndexView<'_> {
        let bytes = self.index.as_ref().expect("the caller has loaded it");
        IndexView::new(bytes, &self.layout.footer).expect("checked when it was loaded")
    }

    /// Consecutive blocks that are read at once, from block `first` on: at least one, unless there is none.
    fn blocks_from(&self, first: usize) -> Vec<IndexEntry> {
        let index = self.index();
        let mut entries: Vec<IndexEntry> = Vec::new();
        for number in first..index.len() {
            let entry = index.entry(number);
            let start = entries.first().unwrap_or(&entry).block_offset;
            let fits = end_of(&entry) - start <= READ_BYTES;
            if !entries.is_empty() && !fits {
                break;
            }
            entries.push(entry);
        }
        entries
    }

    async fn read(&self, offset: u64, count: u64) -> Result<Buffer, SnapshotError> {
        read(&self.file, &self.path, offset, count).await
    }
}

fn end_of(entry: &IndexEntry) -> u64 {
    entry.block_offset + u64::from(entry.block_bytes)
}

/// Reads exactly `count` bytes.
async fn read<F: File>(file: &F, path: &Path, offset: u64, count: u64) -> Result<Buffer, SnapshotError> {
    let cut_off = || Damage::new(offset, "the file is cut off").of(path);
    let count = usize::try_from(count).map_err(|_| cut_off())?;
    let bytes = file.read_at(offset, count).await.map_err(|error| SnapshotError::io(path, "read", error))?;
    if bytes.len() == count { Ok(bytes) } else { Err(cut_off()) }
}

/// A pass over all items of a file. While what was read is gone through, what follows is on its way.
pub struct Scan<F> {
    run: FileRun<F>,
    /// The first block that is neither read nor on its way.
    next_block: usize,
    /// Blocks on their way, the first first.
    ahead: VecDeque<(Vec<IndexEntry>, Begun<'static, Buffer>)>,
}

impl<F: File> Scan<F> {
    /// What the file says about itself.
    pub fn summary(&self) -> &Summary {
        self.run.summary()
    }

    /// The next blocks, about a quarter of a megabyte; None behind the last. Nothing has to be awaited while their items
    /// are gone through.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` for a file that is cut off. The pass is over then.
    pub async fn next(&mut self) -> Result<Option<Blocks>, SnapshotError> {
        self.begin_reads().await;
        let Some((entries, read)) = self.ahead.pop_front() else { return Ok(None) };
        let bytes = read.end().await?;
        self.begin_reads().await;
        Ok(Some(Blocks { bytes, path: self.run.path.clone(), entries }))
    }

    async fn begin_reads(&mut self) {
        let bytes = |(entries, _): &(Vec<IndexEntry>, _)| {
            entries.iter().map(|one| u64::from(one.block_bytes)).sum::<u64>()
        };
        while (self.ahead.is_empty() || self.ahead.iter().map(bytes).sum::<u64>() < AHEAD_BYTES)
            && let Some(read) = self.begin().await
        {
            self.ahead.push_back(read);
        }
    }

    async fn begin(&mut self) -> Option<(Vec<IndexEntry>, Begun<'static, Buffer>)> {
        let entries = self.run.blocks_from(self.next_block);
        let (start, end) = (entries.first()?.block_offset, end_of(entries.last()?));
        self.next_block += entries.len();
        let (file, path) = (self.run.file.clone(), self.run.path.clone());
        let read = async move { read(&file, &path, start, end - start).await };
        Some((entries, Begun::new(read).await))
    }
}

/// Consecutive data blocks in memory.
pub struct Blocks {
    bytes: Buffer,
    path: PathBuf,
    entries: Vec<IndexEntry>,
}

impl Blocks {
    fn blocks(&self) -> impl Iterator<Item = Result<Block<'_>, Damage>> {
        let base = self.entries.first().map_or(0, |entry| entry.block_offset);
        self.entries.iter().map(move |entry| {
            let within = crate::run::usize_range(entry.block_offset - base..end_of(entry) - base);
            Block::decode(&self.bytes[within], entry, Trust::Check)
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where an item of these blocks is in their bytes.
    pub(crate) fn place(&self, item: &Item<'_>) -> Place {
        let range = |part: &[u8]| {
            let start = part.as_ptr().addr() - self.bytes.as_ptr().addr();
            start..start + part.len()
        };
        Place { key: range(item.key), value: range(item.value) }
    }

    /// The items, in order. Each block's checksum is verified when its first item is asked for; ends after the
    /// first error.
    ///
    /// Each step's error is `Corrupt`.
    pub fn items(&self) -> impl Iterator<Item = Result<Item<'_>, SnapshotError>> {
        let mut failed = false;
        let blocks = self.blocks().flat_map(|block| {
            let (items, damage): (Option<Items<'_>>, _) = match block {
                Ok(block) => (Some(block.items()), None),
                Err(damage) => (None, Some(Err(damage))),
            };
            items.into_iter().flatten().chain(damage)
        });
        blocks
            .take_while(move |item| !std::mem::replace(&mut failed, item.is_err()))
            .map(|item| item.map_err(|damage| damage.of(&self.path)))
    }
}
