//! Checkpoints: after each roll, and when segments are nearly all used, every group's state is written once, so that older
//! segments are needed for their entries only. A segment without live entries is left out of the table, and free once
//! the checkpoint is durable: then every recovery finds this checkpoint or a newer one, and none looks for the segment.
//!
//! A checkpoint is a run of batches: the first opens with the table of the segments before it, the rows of all groups
//! follow, the last says that it is complete. It describes exactly what the batches before it make.

use bytemuck::Zeroable;
use raft::{EntryId, GroupId, Time};
use runtime::Disk;

use crate::{
    BatchSeq, Log,
    build::{Builder, Closed, Shape},
    format::{
        CheckpointRow, RECORDS_MAX, RecordHeader, RecordKind, SegmentRow, batch_flags, hard_state_flags,
        record_flags, usize_of,
    },
    group::GroupLog,
};

/// Checkpoint batches are closed at this size: small enough not to hold up the turn's batches behind them.
const CHECKPOINT_BATCH_BYTES: usize = 256 << 10;

/// Where the current checkpoint is on its way.
#[derive(Debug, Default)]
pub(crate) struct CheckpointState {
    /// A roll happened: take one between the next two turns.
    pub(crate) due: bool,
    /// One is in the queue, not all of it issued.
    queued: bool,
    /// The first batch of the one being issued.
    begin: BatchSeq,
    /// When the newest was begun.
    since: Time,
    /// All issued: first and last batch of the one that is to become durable, and when it was begun.
    awaited: Option<(BatchSeq, BatchSeq, Time)>,
}

impl CheckpointState {
    /// Of a log that was just opened.
    pub(crate) fn due_now() -> CheckpointState {
        CheckpointState { due: true, ..CheckpointState::default() }
    }

    /// One checkpoint at a time: a roll in the midst of one starts no other, or a checkpoint larger than a segment
    /// would never end.
    pub(crate) fn rolled(&mut self) {
        self.due |= !self.queued;
    }

    /// One more is worth its bytes, unless one is on its way.
    pub(crate) fn wanted(&mut self) {
        self.due |= !self.queued && self.awaited.is_none();
    }

    /// A batch was issued.
    pub(crate) fn issued(&mut self, seq: BatchSeq, flags: u16) {
        if flags & batch_flags::CHECKPOINT_BEGIN != 0 {
            self.begin = seq;
        }
        if flags & batch_flags::CHECKPOINT_END != 0 {
            self.queued = false;
            self.awaited = Some((self.begin, seq, self.since));
        }
    }
}

impl<D: Disk> Log<D> {
    /// The state of all groups as batches at the end of the queue.
    pub(crate) fn enqueue_checkpoint(&mut self) {
        self.checkpoint.due = false;
        self.checkpoint.queued = true;
        self.checkpoint.since = self.now;
        let mut builder = self.checkpoint_builder();
        builder.flags |= batch_flags::CHECKPOINT_BEGIN;
        // Filled when issued, for each batch in the queue may still roll once.
        let rows = self.segments.live_len() + self.queue.len() + 1;
        let table = RecordHeader { kind: RecordKind::SegmentTable.byte(), ..RecordHeader::zeroed() };
        builder.push(table, rows * size_of::<SegmentRow>());
        let bytes_max = CHECKPOINT_BATCH_BYTES.min(self.batch_bytes_max());
        let groups = std::mem::take(&mut self.groups);
        for (group, log) in groups.iter() {
            let body_bytes =
                size_of::<CheckpointRow>() + log.snapshot.as_ref().map_or(0, |(_, body)| body.len());
            if builder.records() == RECORDS_MAX || builder.bytes_with(body_bytes) > bytes_max {
                let next = self.checkpoint_builder();
                self.enqueue(std::mem::replace(&mut builder, next));
            }
            encode_row(&mut builder, group, log, body_bytes);
        }
        self.groups = groups;
        let mut builder = self.enqueue_indexes(builder, bytes_max);
        builder.flags |= batch_flags::CHECKPOINT_END;
        self.enqueue(builder);
        self.stats.checkpoints += 1;
    }

    pub(crate) fn checkpoint_builder(&mut self) -> Builder {
        self.building_since = self.now;
        let mut builder = Builder::new(self.next_seq, Shape::default(), &mut self.spare);
        builder.flags = batch_flags::CHECKPOINT;
        self.next_seq = BatchSeq(self.next_seq.0 + 1);
        builder
    }

    /// Now that the first batch of a checkpoint has its segment: the ends of all segments before it.
    pub(crate) fn fill_segment_table(&mut self, closed: &mut Closed) {
        let rows = self.segments.table(closed.seq);
        let record = closed.records.first_mut().expect("a checkpoint opens with the table");
        let start = usize_of(record.body_offset);
        let bytes: &[u8] = bytemuck::cast_slice(&rows);
        assert!(
            bytes.len() <= usize_of(record.body_bytes),
            "room was left for every roll there may have been"
        );
        record.count = u32::try_from(rows.len()).expect("few segments");
        let place = &mut closed.buffer[start..start + usize_of(record.body_bytes)];
        let (filled, rest) = place.split_at_mut(bytes.len());
        filled.copy_from_slice(bytes);
        rest.fill(0);
    }

    /// After the durable end moved: a complete checkpoint lets the segments go that it left out.
    pub(crate) fn checkpoint_progress(&mut self) {
        if let Some((begin, end, since)) = self.checkpoint.awaited
            && end <= self.pipeline.durable()
        {
            self.checkpoint.awaited = None;
            self.stats.checkpointed.add(since, self.now);
            self.segments.checkpointed(begin);
        }
        self.segments.free();
        if self.segments.wants_checkpoint() {
            self.checkpoint.wanted();
        }
    }
}

fn encode_row(builder: &mut Builder, group: GroupId, log: &GroupLog, body_bytes: usize) {
    let hard_state = log.hard_state;
    let snapshot_flag = if log.snapshot.is_some() { record_flags::HAS_SNAPSHOT } else { 0 };
    let header = RecordHeader {
        group: u64::from(group.0),
        term: hard_state.term.0,
        commit: hard_state.commit.0,
        incarnation: log.incarnation,
        kind: RecordKind::CheckpointRow.byte(),
        flags: hard_state_flags(&hard_state) | snapshot_flag,
        aux: hard_state.vote.map_or(0, |node| node.0),
        ..RecordHeader::zeroed()
    };
    let snapshot = log.snapshot.as_ref().map_or(EntryId::ZERO, |(id, _)| *id);
    let row = CheckpointRow {
        compacted_index: log.compacted.index.0,
        compacted_term: log.compacted.term.0,
        last_index: log.last.index.0,
        last_term: log.last.term.0,
        snapshot_index: snapshot.index.0,
        snapshot_term: snapshot.term.0,
    };
    let (_, place) = builder.push(header, body_bytes);
    let (front, rest) = place.split_at_mut(size_of::<CheckpointRow>());
    front.copy_from_slice(bytemuck::bytes_of(&row));
    if let Some((_, body)) = &log.snapshot {
        rest.copy_from_slice(body);
    }
}
