//! Reading all of a file once, to see whether it is sound.

use std::collections::VecDeque;
use std::ops::Range;

use runtime::File;

use super::{FileRun, end_of};
use crate::begun::Begun;
use crate::block::{Block, Trust};
use crate::checksums::{ChecksumTable, Rolling};
use crate::error::{Damage, SnapshotError};
use crate::format::{CHUNK_BYTES, FOOTER_BYTES, IndexEntry};
use crate::index::IndexView;
use crate::layout::Layout;
use crate::order::OrderCheck;
use crate::run::usize_range;

/// Chunks that are read while another is checked: the disk is not to wait for that. Work at low priority comes to submit its reads
/// only when it waits itself, so one alone would often begin late.
const READS_AHEAD: usize = 2;

/// The check of the blocks in a file that comes piece by piece.
struct Blocks<'a> {
    layout: &'a Layout,
    index: IndexView<'a>,
    filters: &'a [u8],
    order: OrderCheck,
    next: usize,
    /// What has come of the next one.
    begun: Vec<u8>,
}

impl Blocks<'_> {
    /// Takes the piece that follows the one before, from byte `start` on.
    fn take(&mut self, start: u64, piece: &[u8]) -> Result<(), Damage> {
        let end = start + piece.len() as u64;
        while self.next < self.index.len() {
            let entry = self.index.entry(self.next);
            if entry.block_offset >= end {
                break;
            }
            let within = entry.block_offset.max(start) - start..end_of(&entry).min(end) - start;
            let part = &piece[usize_range(within)];
            if end_of(&entry) > end {
                self.begun.extend_from_slice(part);
                break;
            }
            if self.begun.is_empty() {
                self.check(&entry, part)?;
            } else {
                let mut block = std::mem::take(&mut self.begun);
                block.extend_from_slice(part);
                self.check(&entry, &block)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn check(&mut self, entry: &IndexEntry, bytes: &[u8]) -> Result<(), Damage> {
        let block = Block::decode(bytes, entry, Trust::Check)?;
        self.order.block(&self.layout.summary, entry, &self.index, self.next, self.filters, &block)
    }
}

impl<F: File> FileRun<F> {
    /// Reads and checks every byte: each chunk against the checksum table, then the blocks that end in it, each item's shape and
    /// the order of the keys. Holds the index, the filters and a few megabytes (or one item) at a time.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` at the first damage found.
    pub async fn verify(&mut self) -> Result<(), SnapshotError> {
        let table_offset = self.layout.footer.table_offset;
        let table_end = self.layout.footer.file_bytes - FOOTER_BYTES as u64;
        let table = self.read(table_offset, table_end - table_offset).await?;
        self.load_index().await?;
        let place = self.layout.footer.filter_range();
        let filters = self.read(place.start, place.end - place.start).await?;
        self.layout.footer.check_filters(&filters).map_err(|damage| damage.of(&self.path))?;
        self.verify_chunks(&table, &filters).await
    }

    /// Checks that the bytes whose chunks had these checksums on their way to the disk are this file's. Reads the table, and what is
    /// left of the last chunk.
    ///
    /// # Errors
    ///
    /// As for [`FileRun::verify`].
    pub(crate) async fn verify_received(&self, received: &Rolling) -> Result<(), SnapshotError> {
        let damaged = |damage: Damage| damage.of(&self.path);
        let layout = &self.layout;
        let table_offset = layout.footer.table_offset;
        let table_end = layout.footer.file_bytes - FOOTER_BYTES as u64;
        let table = self.read(table_offset, table_end - table_offset).await?;
        let table = ChecksumTable::new(layout, &table).map_err(damaged)?;
        for number in 0..layout.chunks() {
            let Range { start, end } = layout.chunk_range(number);
            let at = usize::try_from(number).expect("within the table");
            let is_whole = end - start == CHUNK_BYTES as u64;
            match received.get(at).filter(|_| is_whole) {
                Some(checksum) if table.get(at) == Some(checksum) => {}
                Some(_) => return Err(damaged(Damage::new(start, "the chunk's checksum does not match"))),
                None => {
                    let chunk = self.read(start, end - start).await?;
                    table.check(layout, number, &chunk).map_err(damaged)?;
                }
            }
        }
        Ok(())
    }

    async fn verify_chunks(&self, table: &[u8], filters: &[u8]) -> Result<(), SnapshotError> {
        let damaged = |damage: Damage| damage.of(&self.path);
        let layout = &self.layout;
        let table = ChecksumTable::new(layout, table).map_err(damaged)?;
        let (index, order) = (self.index(), OrderCheck::default());
        let mut blocks = Blocks { layout, index, filters, order, next: 0, begun: Vec::new() };
        let (mut numbers, mut ahead) = (0..layout.chunks(), VecDeque::new());
        loop {
            while ahead.len() <= READS_AHEAD
                && let Some(number) = numbers.next()
            {
                let Range { start, end } = layout.chunk_range(number);
                ahead.push_back((number, start, Begun::new(self.read(start, end - start)).await));
            }
            let Some((number, start, reading)) = ahead.pop_front() else { break };
            let chunk = reading.end().await?;
            table.check(layout, number, &chunk).map_err(damaged)?;
            blocks.take(start, &chunk).map_err(damaged)?;
        }
        blocks.order.end(&layout.summary).map_err(damaged)
    }
}
