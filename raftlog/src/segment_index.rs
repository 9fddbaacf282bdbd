//! Indexes of segments: what lives in a segment that is complete is listed in the next checkpoint, so that a start needs to read
//! the list only. A list that is gone or damaged costs nothing but a walk through its segment.

use std::collections::VecDeque;

use bytemuck::Zeroable;
use runtime::Disk;

use crate::{
    BatchSeq, Log, LogError,
    build::Builder,
    format::{RECORDS_MAX, RecordHeader, RecordKind, batch_flags},
    listing::{Chunk, Listing},
    segments::IndexPlace,
};

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
    /// Adds the indexes that were made to the checkpoint at the end of the queue, behind `builder`. Answers its last batch.
    pub(crate) fn enqueue_indexes(&mut self, mut builder: Builder, bytes_max: usize) -> Builder {
        for list in self.listing.take() {
            if self.segments.get(list.segment).is_none_or(|segment| segment.live_records == 0) {
                continue; // all of it died meanwhile
            }
            let next = self.checkpoint_builder();
            self.enqueue(std::mem::replace(&mut builder, next));
            let first = builder.seq;
            for Chunk { count, body } in list.chunks {
                if builder.records() == RECORDS_MAX || builder.bytes_with(body.len()) > bytes_max {
                    let next = self.checkpoint_builder();
                    self.enqueue(std::mem::replace(&mut builder, next));
                }
                let header = RecordHeader {
                    first_index: list.segment,
                    count,
                    kind: RecordKind::SegmentIndex.byte(),
                    ..RecordHeader::zeroed()
                };
                builder.push(header, body.len()).1.copy_from_slice(&body);
            }
            self.indexings.0.push_back(Indexing {
                segment: list.segment,
                first,
                last: builder.seq,
                at: None,
            });
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
        self.listing = Listing::default(); // one that was begun does without the newest segment
        self.list_on(usize::MAX);
        self.drain().await?;
        runtime::mark!("log.close.listed");
        self.enqueue_empty(batch_flags::SEAL | batch_flags::LAST);
        self.drain().await
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
