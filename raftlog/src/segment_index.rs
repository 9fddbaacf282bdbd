//! Indexes of segments: what lives in a segment that is complete is listed in the next checkpoint, so that a start needs to read
//! the list only. A list that is gone or damaged costs nothing but a walk through its segment.

use std::collections::VecDeque;

use bytemuck::Zeroable;
use raft::GroupId;
use runtime::Disk;

use crate::{
    BatchSeq, Log, LogError,
    build::Builder,
    format::{IndexRow, RECORDS_MAX, RecordHeader, RecordKind, batch_flags, encode_index_row},
    group::{GroupLog, Record},
    segments::IndexPlace,
};

/// One record of an index holds about so much: several fit a batch of a checkpoint.
const CHUNK_BYTES: usize = 60 << 10;
/// What a row takes at most, in bytes.
const ROW_BYTES_MAX: usize = 1 + 12 * 10;

/// An index on its way to the disk.
#[derive(Debug)]
struct Indexing {
    /// The segment it is of.
    segment: u64,
    /// Its batches.
    first: BatchSeq,
    last: BatchSeq,
    /// Where the first one stands.
    at: Option<(u64, u32)>,
}

/// The indexes on their way, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Indexings(VecDeque<Indexing>);

impl<D: Disk> Log<D> {
    /// Adds the indexes of segments that have none to the checkpoint at the end of the queue, behind `builder`. Answers its last
    /// batch.
    pub(crate) fn enqueue_indexes(&mut self, mut builder: Builder, bytes_max: usize) -> Builder {
        for (segment, has_moved) in self.segments.unindexed() {
            let next = self.checkpoint_builder();
            self.enqueue(std::mem::replace(&mut builder, next));
            let first = builder.seq;
            for (count, body) in self.index_chunks(segment, has_moved, CHUNK_BYTES.min(bytes_max / 2)) {
                if builder.records() == RECORDS_MAX || builder.bytes_with(body.len()) > bytes_max {
                    let next = self.checkpoint_builder();
                    self.enqueue(std::mem::replace(&mut builder, next));
                }
                let header = RecordHeader {
                    first_index: segment,
                    count,
                    kind: RecordKind::SegmentIndex.byte(),
                    ..RecordHeader::zeroed()
                };
                builder.push(header, body.len()).1.copy_from_slice(&body);
            }
            self.indexings.0.push_back(Indexing { segment, first, last: builder.seq, at: None });
        }
        builder
    }

    /// A clean end: everything is durable, and the next start finds a checkpoint and indexes of all segments, and need not look at
    /// anything else. A log that is short of segments does without, and its next start reads more.
    ///
    /// # Errors
    /// As [`Log::drain`].
    pub async fn close(&mut self) -> Result<BatchSeq, LogError> {
        let durable = self.drain().await?;
        if self.segments.is_full() || self.segments.ready_len() == 0 {
            runtime::mark!("log.close.short");
            return Ok(durable);
        }
        self.segments.close_active();
        self.checkpoint.wanted();
        self.drain().await?;
        runtime::mark!("log.close.listed");
        self.enqueue_empty(batch_flags::SEAL | batch_flags::LAST);
        self.drain().await
    }

    /// The rows of what lives in `segment`, by groups, in pieces of about `bytes_max`; one piece at least.
    fn index_chunks(&self, segment: u64, has_moved: bool, bytes_max: usize) -> Vec<(u32, Vec<u8>)> {
        let mut chunks = vec![(0, Vec::new())];
        let mut previous = IndexRow::default();
        for (group, log) in self.groups.iter() {
            for row in log.rows_in(group, segment, has_moved) {
                let (count, body) = chunks.last_mut().expect("one at least");
                if body.len() + ROW_BYTES_MAX > bytes_max.max(2 * ROW_BYTES_MAX) {
                    let mut body = Vec::new();
                    encode_index_row(&mut body, &IndexRow::default(), &row);
                    chunks.push((1, body));
                } else {
                    encode_index_row(body, &previous, &row);
                    *count += 1;
                }
                previous = row;
            }
        }
        chunks
    }

    /// Batch `seq`, which takes `blocks`, was placed at `block` of the active segment: if it ends an index that lies in this segment as a whole, that one
    /// can be used from now on.
    pub(crate) fn note_index(&mut self, seq: BatchSeq, flags: u16, (block, blocks): (u32, u32)) {
        if flags & batch_flags::CHECKPOINT == 0 {
            return;
        }
        let Some(active) = self.segments.active().map(|segment| segment.seq) else { return };
        let Some(front) = self.indexings.0.front_mut() else { return };
        if front.first == seq {
            front.at = Some((active, block));
        }
        if front.last == seq
            && let Some(Indexing { segment, first, at, .. }) = self.indexings.0.pop_front()
        {
            let place = at.filter(|(home, _)| *home == active);
            let place = place.map(|(home, from)| IndexPlace {
                segment: home,
                batch: first,
                block: from,
                blocks: block + blocks - from,
            });
            if let Some(indexed) = self.segments.get_mut(segment) {
                indexed.index = place;
            }
        }
    }
}

impl GroupLog {
    /// The records in `segment`, as its index lists them, ascending. `has_moved`: there may be relocated ones among them.
    fn rows_in(&self, group: GroupId, segment: u64, has_moved: bool) -> Vec<IndexRow> {
        let is_here = |record: &Record| record.place.is_some_and(|place| place.segment == segment);
        // Records stand in the order of their segments, but for those that were moved.
        let is_older = |record: &Record| {
            !has_moved && !record.moved && record.place.is_some_and(|place| place.segment < segment)
        };
        let recent = self.records().rev().take_while(|record| !is_older(record));
        let mut rows: Vec<IndexRow> =
            recent.filter(|record| is_here(record)).map(|record| self.row(group, record)).collect();
        rows.reverse();
        rows
    }

    fn row(&self, group: GroupId, record: &Record) -> IndexRow {
        let place = record.place.expect("it stands in a segment");
        IndexRow {
            group,
            incarnation: self.incarnation,
            first: record.first,
            count: record.count,
            term: record.term,
            before: self.term_before(self.incarnation, record.first).min(record.term),
            batch: record.batch,
            block: place.block,
            body_offset: record.body_offset,
            body_bytes: record.body_bytes,
            cut: record.cut,
            moved: record.moved,
            memberships: record.memberships,
        }
    }
}
