//! A segment that is not walked: what lives in it is read from its index.

use std::io;

use raft::{Check, EntryKind};
use runtime::File;

use crate::{
    BatchSeq, OpenError,
    format::{
        BLOCK, BLOCK_U64, Expected, IndexRow, RecordKind, SegmentHeader, SegmentRow, batch_flags,
        decode_batch_header, decode_index, usize_of,
    },
    recover::Counted,
    salvage,
    scan::{End, Scanned, read_batch},
    segments::{IndexPlace, Segment, Slot, Spot},
    survey::{Found, Survey, io_error},
};

/// What the index of a segment says.
#[derive(Debug)]
pub(crate) struct Indexed {
    /// In the order in which they were written.
    pub(crate) rows: Vec<IndexedRow>,
    pub(crate) end: End,
    /// Where it stands, for the checkpoints to come.
    place: Option<IndexPlace>,
}

impl Indexed {
    /// Its segment, to go on with.
    pub(crate) fn adopt<F>(&self, header: &SegmentHeader, slot: Slot<F>) -> Segment<F> {
        let first = BatchSeq(header.first_batch_seq);
        let mut segment = Segment::new(header.segment_seq, slot, header.salt, first, self.end);
        segment.index = self.place;
        for IndexedRow { row, .. } in &self.rows {
            segment.set_spot(row.batch, Spot { block: row.block, bodies_start: 0 });
        }
        segment
    }
}

/// A record, with the configurations among its entries.
#[derive(Debug)]
pub(crate) struct IndexedRow {
    pub(crate) row: IndexRow,
    /// Whole entries, back to back; `None`: they cannot be read.
    pub(crate) memberships: Option<Vec<u8>>,
}

impl<F: File> Survey<F> {
    /// The index of the segment of `row`: from the checkpoint that counts, whose batches are `begin..=end` of `chain`, or from where
    /// the row says. `None`: there is none, or it is not what was written.
    pub(crate) async fn read_index(
        &mut self,
        row: &SegmentRow,
        chain: &[Counted],
        checkpoint: (u64, u64),
    ) -> Result<Option<Indexed>, OpenError> {
        if !self.use_indexes {
            return Ok(None);
        }
        let Some((mut rows, place)) = self.index_rows(row, chain, checkpoint).await? else { return Ok(None) };
        let found = &self.segments[&row.segment_seq];
        let batches = found.header.first_batch_seq..=row.last_batch_seq;
        let fits = |at: &IndexRow| {
            let offset = u64::from(at.block) * BLOCK_U64 + u64::from(at.body_offset);
            let end = offset + u64::from(at.body_bytes);
            // Each batch before it took a block at least, behind that of the header.
            batches.contains(&at.batch.0)
                && at.batch.0 - batches.start() < u64::from(at.block)
                && end <= row.end_offset.min(found.slot.file_bytes)
        };
        if !rows.iter().all(fits) {
            return Ok(None);
        }
        rows.sort_by_key(|row| (row.batch, row.body_offset));
        let mut indexed = Vec::with_capacity(rows.len());
        let mut read_bytes = 0;
        for row in rows {
            let memberships = if row.memberships {
                read_bytes += u64::from(row.body_bytes);
                memberships(found, &row).await.map_err(io_error("reading", &found.slot.path))?
            } else {
                Some(Vec::new())
            };
            indexed.push(IndexedRow { row, memberships });
        }
        self.count_read(read_bytes);
        let end = End { offset: row.end_offset, last_seq: row.last_batch_seq, chain: row.chain };
        Ok(Some(Indexed { rows: indexed, end, place }))
    }

    /// The rows of the index of the segment of `row`, and where they stand, if that is one segment. `None`: as with
    /// [`Survey::read_index`].
    pub(crate) async fn index_rows(
        &mut self,
        row: &SegmentRow,
        chain: &[Counted],
        (begin, end): (u64, u64),
    ) -> Result<Option<(Vec<IndexRow>, Option<IndexPlace>)>, OpenError> {
        if row.index_segment != 0 {
            return self.read_index_batches(row).await;
        }
        let here = chain.iter().flat_map(|counted| self.batches(*counted));
        let here = here.filter(|batch| (begin..=end).contains(&batch.header.batch_seq));
        Ok(rows_of(here, row.segment_seq))
    }

    /// Reads an index from an older checkpoint.
    async fn read_index_batches(
        &mut self,
        row: &SegmentRow,
    ) -> Result<Option<(Vec<IndexRow>, Option<IndexPlace>)>, OpenError> {
        let Some(home) = self.segments.get(&row.index_segment) else { return Ok(None) };
        let mut place = Expected {
            salt: home.header.salt,
            segment_seq: home.header.segment_seq,
            batch_seq: row.index_batch,
            boot_epoch: home.header.boot_epoch,
            block: row.index_block,
            chain: 0,
        };
        let (offset, bytes) =
            (u64::from(row.index_block) * BLOCK_U64, u64::from(row.index_blocks) * BLOCK_U64);
        if offset + bytes > home.slot.file_bytes {
            return Ok(None);
        }
        let len = usize::try_from(bytes).expect("a segment fits memory: Options::check");
        let read = salvage::read(&home.slot.file, offset, len, 1).await;
        let read = read.map_err(io_error("reading", &home.slot.path))?;
        self.count_read(bytes);
        let mut rest = &read.bytes[..];
        let mut batches = Vec::new();
        while !rest.is_empty() {
            let Some(batch) = batch_at(rest, &place) else { return Ok(None) };
            rest = &rest[usize_of(batch.header.blocks) * BLOCK..];
            place.batch_seq += 1;
            place.block += batch.header.blocks;
            batches.push(batch);
        }
        Ok(rows_of(batches.iter(), row.segment_seq))
    }
}

/// The batch of a checkpoint at the front of `bytes`, which stand at `place`; verified.
fn batch_at(bytes: &[u8], place: &Expected) -> Option<Scanned> {
    let header = decode_batch_header(bytes).ok()?;
    let is_its = place.is_in_place(&header)
        && header.batch_seq == place.batch_seq
        && header.flags & batch_flags::CHECKPOINT != 0;
    let batch = bytes.get(..usize_of(header.blocks) * BLOCK).filter(|_| is_its)?;
    read_batch(header, batch, true).ok()
}

/// The rows of `segment` in `batches`, and where they stand, if that is one segment; `None` if nothing is said of it there, or not
/// all can be read.
fn rows_of<'a>(
    batches: impl Iterator<Item = &'a Scanned>,
    segment: u64,
) -> Option<(Vec<IndexRow>, Option<IndexPlace>)> {
    let mut rows = None;
    let mut place: Option<IndexPlace> = None;
    let mut is_one = true;
    for batch in batches {
        let header = &batch.header;
        for (at, record) in batch.records.iter().enumerate() {
            if record.kind == RecordKind::SegmentIndex.byte() && record.first_index == segment {
                if batch.is_damaged(at) {
                    return None;
                }
                rows.get_or_insert_with(Vec::new).extend(decode_index(batch.body(at), record.count).ok()?);
                let first = IndexPlace {
                    segment: header.segment_seq,
                    batch: BatchSeq(header.batch_seq),
                    block: header.block,
                    blocks: 0,
                };
                let known = place.get_or_insert(first);
                is_one &= known.segment == header.segment_seq;
                known.blocks = (header.block + header.blocks).saturating_sub(known.block);
            }
        }
    }
    Some((rows?, place.filter(|_| is_one)))
}

/// The configurations among the entries of `row`; `None` if they are not what was written.
async fn memberships<F: File>(found: &Found<F>, row: &IndexRow) -> io::Result<Option<Vec<u8>>> {
    let offset = u64::from(row.block) * BLOCK_U64 + u64::from(row.body_offset);
    // What the disk refuses to read is not what was written.
    let body = salvage::read(&found.slot.file, offset, usize_of(row.body_bytes), 1).await?.bytes;
    let mut found = Vec::new();
    let mut index = row.first;
    for entry in raft::entries(&body, Check::Checksum).take(usize_of(row.count)) {
        let Ok(entry) = entry else { return Ok(None) };
        let is_its = (entry.group, entry.incarnation) == (row.group, row.incarnation);
        if !is_its || (entry.id.index, entry.id.term) != (index, row.term) {
            return Ok(None);
        }
        if entry.kind == EntryKind::Membership {
            found.extend_from_slice(entry.bytes);
        }
        index = index.next();
    }
    Ok((index.0 == row.first.0 + u64::from(row.count)).then_some(found))
}
