//! From a complete batch to a write in flight: its place, its header, and the roll to the next segment.

use std::{path::PathBuf, task::Context};

use bytemuck::Zeroable;
use raft::{GroupId, Index, Term, Time};
use runtime::{Buffer, BufferMut, Disk};

use crate::{
    BatchSeq, Log, LogError,
    build::{Builder, Closed, Shape},
    format::{
        BATCH_HEADER_BYTES, BLOCK, BLOCK_U64, BatchHeader, RECORD_HEADER_BYTES, RecordHeader, RecordKind,
        SegmentHeader, batch_flags, encode_segment_header, record_flags, seal_batch, u32_of,
    },
    group::Record,
    log::BATCH_BYTES_SOFT,
    scan::End,
    segments::{Segment, Spot},
};

/// A complete batch that waits for a place in the pipeline or for a segment.
pub(crate) struct Waiting {
    pub(crate) closed: Closed,
    /// When it was begun.
    since: Time,
}

impl<D: Disk> Log<D> {
    /// Issues what can be issued: closed batches in order, then the one being built if its turn has ended.
    pub(crate) fn pump(&mut self, context: &mut Context<'_>) {
        self.issue(context);
        let grown = self.building.as_ref().is_some_and(|builder| builder.bytes() >= BATCH_BYTES_SOFT);
        if grown || self.checkpoint.due {
            self.close_submitted();
            self.take_checkpoint();
            // With nothing in flight nobody would come back for what was closed just now.
            self.issue(context);
        }
    }

    fn issue(&mut self, context: &mut Context<'_>) {
        while self.pipeline.error().is_none() && self.pipeline.len() < self.options.in_flight_max {
            if self.queue.is_empty() {
                self.close_submitted();
            }
            if self.queue.is_empty() || !self.issue_front(context) {
                break;
            }
        }
    }

    /// Between two turns: the batch being built is complete.
    fn close_submitted(&mut self) {
        if self.building.as_ref().is_some_and(|builder| builder.submitted) {
            self.close_building();
        }
    }

    /// Between two batches, when the groups are exactly what the batches so far make them: a checkpoint that is due is taken once it
    /// is listed what lives in the segments before it.
    fn take_checkpoint(&mut self) {
        if self.checkpoint.due && self.building.is_none() && self.list_on(self.options.looks_per_turn) {
            self.enqueue_checkpoint();
        }
    }

    /// Hands the oldest complete batch to the disk. False if it needs a segment and none is ready.
    fn issue_front(&mut self, context: &mut Context<'_>) -> bool {
        let Some(front) = self.queue.front() else { return false };
        let (bytes, first_seq) = (front.closed.bytes() as u64, front.closed.seq);
        let rolled = !self.segments.fits(bytes);
        let segment_header = if rolled {
            match self.roll(first_seq) {
                Some(header) => Some(header),
                None => return false,
            }
        } else {
            None
        };
        let Waiting { mut closed, since } = self.queue.pop_front().expect("seen above");
        self.stats.waited.add(since, self.now);
        self.queued_bytes -= bytes;
        if closed.flags & batch_flags::CHECKPOINT_BEGIN != 0 {
            self.fill_segment_table(&mut closed);
        }
        self.write(closed, segment_header, context);
        true
    }

    /// Starts the next segment; its header goes out with its first batch.
    fn roll(&mut self, first_batch: BatchSeq) -> Option<SegmentHeader> {
        let Some(slot) = self.segments.take_ready() else {
            self.stalled_since.get_or_insert(self.now);
            return None;
        };
        if let Some(since) = self.stalled_since.take() {
            self.stats.stalled.add(since, self.now);
        }
        let seq = self.segments.next_seq();
        let durable = self.pipeline.durable();
        let now = self.now;
        let previous = self
            .segments
            .active()
            .map(|segment| (segment.seq, segment.end_offset, segment.last_batch_seq, segment.chain));
        let (previous_seq, previous_end, previous_last, chain) = previous.unwrap_or((0, 0, BatchSeq(0), 0));
        let salt = salt(self.options.seed, seq, self.boot_epoch);
        let header = SegmentHeader {
            segment_seq: seq,
            salt,
            segment_bytes: slot.file_bytes,
            boot_epoch: self.boot_epoch,
            slot: slot.number,
            first_batch_seq: first_batch.0,
            previous_segment_seq: previous_seq,
            previous_end_offset: previous_end,
            previous_last_seq: previous_last.0,
            previous_chain: chain,
            durable_seq: durable.0,
            created_us: now.0,
            ..SegmentHeader::new(self.identity)
        };
        let end = End { offset: BLOCK_U64, last_seq: previous_last.0, chain };
        self.segments.note_deaths();
        self.segments.push_live(Segment::new(seq, slot, salt, first_batch, end));
        self.checkpoint.rolled();
        self.stats.rolls += 1;
        Some(header)
    }

    /// Gives a batch its place and header and starts its write.
    fn write(
        &mut self,
        mut closed: Closed,
        segment_header: Option<SegmentHeader>,
        context: &mut Context<'_>,
    ) {
        let bytes = closed.bytes();
        let segment = self.segments.active().expect("a batch is written to the active segment");
        let offset = segment.end_offset;
        let spot = Spot { block: block_of(offset), bodies_start: u32_of(closed.bodies_start) };
        let header = BatchHeader {
            flags: closed.flags,
            salt: segment.salt,
            segment_seq: segment.seq,
            batch_seq: closed.seq.0,
            durable_seq: self.pipeline.durable().0,
            boot_epoch: self.boot_epoch,
            block: spot.block,
            previous_chain: segment.chain,
            time_us: self.now.0,
            ..BatchHeader::zeroed()
        };
        let chain = seal_batch(&mut closed.buffer[..bytes], header, &closed.records, closed.body_end);
        segment.chain = chain;
        segment.end_offset += bytes as u64;
        segment.last_batch_seq = closed.seq;
        segment.set_spot(closed.seq, spot);
        let file = segment.slot.file.clone();
        let holds = self.place_records(&closed);
        let cost = closed.buffer.len() as u64;
        let (write_offset, data, batch) = match segment_header {
            Some(header) => with_header(&header, &closed.buffer[..bytes]),
            None => {
                let batch = closed.buffer.freeze().slice(0..bytes);
                (offset, batch.clone(), batch)
            }
        };
        self.cache.insert(closed.seq, batch, closed.bodies_start, cost, holds);
        self.issued = closed.seq;
        self.note_index(closed.seq, closed.flags, (spot.block, block_of(bytes as u64)));
        if closed.flags & batch_flags::SEAL != 0 {
            self.sealed = closed.seq;
        }
        self.checkpoint.issued(closed.seq, closed.flags);
        self.stats.batches += 1;
        self.stats.records += closed.records.len() as u64;
        self.stats.bytes += data.len() as u64;
        if closed.flags & batch_flags::CHECKPOINT != 0 {
            self.stats.checkpoint_bytes += data.len() as u64;
        }
        self.pipeline.start(closed.seq, &file, write_offset, data, self.now, context);
    }

    /// The records of an issued batch count for its segment. Answers the newest entry of each group in it: nothing else is looked up
    /// of the groups, which are many and far apart.
    fn place_records(&mut self, closed: &Closed) -> Vec<(GroupId, Index)> {
        let mut holds: Vec<(GroupId, Index)> = Vec::with_capacity(closed.records.len());
        let (mut live, mut live_bytes) = (0, 0);
        let mut has_moved = false;
        for (ordinal, record) in closed.records.iter().enumerate() {
            if record.kind != RecordKind::Entries.byte() {
                continue;
            }
            let group = GroupId(u32::try_from(record.group).expect("made from a GroupId"));
            let memberships = has_memberships(&closed.buffer, ordinal);
            if record.flags & record_flags::RELOCATED != 0 {
                has_moved = true;
                let moved = Record { memberships, ..moved_record(record, closed) };
                let Some(before) = self.move_record(group, record.incarnation, moved) else { continue };
                self.segments.moved_out(&before, closed.seq);
            } else if memberships && let Some(log) = self.groups.get_mut(group) {
                log.note_memberships(closed.seq, Index(record.first_index));
            }
            live += 1;
            live_bytes += u64::from(record.body_bytes);
            holds.push((group, Index(record.first_index + u64::from(record.count) - 1)));
        }
        // A record that died while its batch waited was killed by a batch up to the newest: until that one counts,
        // it may live again.
        let newest = BatchSeq(self.next_seq.0 - 1);
        let (dead, dead_bytes) = self.segments.take_waiting_dead(closed.seq);
        let segment = self.segments.active().expect("the batch was just placed in it");
        segment.has_moved |= has_moved;
        segment.live_records += live - dead;
        segment.live_bytes += live_bytes - dead_bytes;
        segment.dying_since = if dead > 0 { newest } else { segment.dying_since };
        holds
    }

    /// The relocated `moved` was issued. Answers what was in its place, if that still lives.
    fn move_record(&mut self, group: GroupId, incarnation: u32, moved: Record) -> Option<Record> {
        let log = self.groups.get_mut(group).expect("a group with records is known");
        let before = log.move_to(incarnation, moved);
        if before.is_some() {
            runtime::mark!("log.relocated");
        }
        before
    }

    /// An empty batch whose header vouches for all before it.
    pub(crate) fn issue_seal(&mut self, context: &mut Context<'_>) {
        self.enqueue_empty(batch_flags::SEAL);
        self.pump(context);
    }

    /// Puts a batch with nothing in it, but for what is repeated, at the end of the queue.
    pub(crate) fn enqueue_empty(&mut self, flags: u16) {
        self.building_since = self.now;
        let mut builder = Builder::new(self.next_seq, Shape::default(), &mut self.spare);
        self.next_seq = BatchSeq(self.next_seq.0 + 1);
        builder.flags = flags;
        self.repeat_promises(&mut builder);
        self.push(builder.close(&mut Shape::default()));
    }

    pub(crate) fn enqueue(&mut self, builder: Builder) {
        let closed = builder.close(&mut self.shape);
        self.push(closed);
    }

    fn push(&mut self, closed: Closed) {
        self.queued_bytes += closed.bytes() as u64;
        self.queue.push_back(Waiting { closed, since: self.building_since });
    }

    /// Why batches cannot be written that wait for a segment.
    pub(crate) fn no_segment(&self) -> LogError {
        let path =
            self.segments.live().next_back().map_or_else(PathBuf::new, |segment| segment.slot.path.clone());
        LogError {
            batch: self.queue.front().map_or(self.next_seq, |waiting| waiting.closed.seq),
            path,
            offset: self.options.segment_bytes,
            kind: std::io::ErrorKind::StorageFull,
            what: "no segment is prepared to go on in".to_owned(),
        }
    }
}

/// A roll: header and first batch in one write at the front of the file. The only copy a batch ever sees, once per
/// segment.
fn with_header(header: &SegmentHeader, batch: &[u8]) -> (u64, Buffer, Buffer) {
    let mut buffer = BufferMut::zeroed(BLOCK + batch.len());
    encode_segment_header(header, &mut buffer[..BLOCK]);
    buffer[BLOCK..].copy_from_slice(batch);
    let whole = buffer.freeze();
    let batch = whole.slice(BLOCK..whole.len());
    (0, whole, batch)
}

/// Whether the sealed `batch` says that its record `ordinal` holds configurations.
fn has_memberships(batch: &[u8], ordinal: usize) -> bool {
    let at = BATCH_HEADER_BYTES + ordinal * RECORD_HEADER_BYTES + std::mem::offset_of!(RecordHeader, flags);
    batch[at] & record_flags::MEMBERSHIP != 0
}

/// What the group knows of a relocated record, now that its batch is issued.
fn moved_record(header: &RecordHeader, closed: &Closed) -> Record {
    Record {
        first: Index(header.first_index),
        count: header.count,
        cut: false,
        moved: true,
        memberships: false,
        term: Term(header.term),
        batch: closed.seq,
        body_offset: header.body_offset - u32_of(closed.bodies_start),
        body_bytes: header.body_bytes,
    }
}

fn block_of(offset: u64) -> u32 {
    u32::try_from(offset / BLOCK_U64).expect("segments are below 4 GiB")
}

/// Differs for every use of every slot: segment numbers are not reused but after a crash that lost their header, and
/// then the seed differs.
fn salt(seed: u64, segment_seq: u64, boot_epoch: u64) -> u64 {
    // SplitMix64's finaliser: a bijection, so distinct inputs of one seed stay distinct.
    let mut mixed = seed ^ segment_seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ boot_epoch.rotate_left(48);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
