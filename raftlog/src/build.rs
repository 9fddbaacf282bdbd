//! The batch being built: entries are encoded straight into the memory that is written, cached and sent.
//!
//! That memory may have been a batch before: what is not overwritten is zeroed, gap by gap.
//! Room for a directory is left in front of the bodies. When the directory outgrows it, or the bodies outgrow the
//! memory, they move once; the sizes of recent batches make that rare.

use raft::{EntryId, GroupId};
use runtime::BufferMut;

use crate::{
    BatchSeq,
    format::{
        BATCH_HEADER_BYTES, BLOCK, BODY_ALIGN, RECORD_HEADER_BYTES, RECORDS_MAX, RecordHeader, RecordKind,
        record_flags, u32_of, usize_of,
    },
    log::BATCH_BYTES_SOFT,
    spare::Spare,
};

/// What recent batches were like: decaying peaks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    records: usize,
    bytes: usize,
}

/// A first block holds the header, this many directory rows, and small bodies besides.
const DIRECTORY_MIN: usize = 28;
/// Memory of a new batch is not more than this, however large recent ones were: a full batch and room for its directory.
const INITIAL_BYTES_MAX: usize = BATCH_BYTES_SOFT + (256 << 10);

/// How far ahead memory is asked for: a few small entries, which is the time that a line takes.
const TOUCH_BYTES: usize = 2048;
/// A processor's cache line.
const LINE_BYTES: usize = 64;

impl Shape {
    /// Learns from a finished batch.
    fn learn(&mut self, records: usize, bytes: usize) {
        self.records = records.max(self.records - self.records / 8);
        self.bytes = bytes.max(self.bytes - self.bytes / 8);
    }
}

/// A batch that records are still added to.
pub(crate) struct Builder {
    pub(crate) seq: BatchSeq,
    pub(crate) flags: u16,
    /// The turn that filled it has ended: it may be issued.
    pub(crate) submitted: bool,
    buffer: BufferMut,
    /// Their body offsets count from the first body until the batch is closed.
    records: Vec<RecordHeader>,
    directory_max: usize,
    bodies_bytes: usize,
    /// Up to here the memory was asked for: the processor has it, or it is on its way.
    touched: usize,
}

/// A batch that is complete but for what only its place in the log can tell.
pub(crate) struct Closed {
    pub(crate) seq: BatchSeq,
    pub(crate) flags: u16,
    pub(crate) buffer: BufferMut,
    /// Their body offsets count from the start of the batch.
    pub(crate) records: Vec<RecordHeader>,
    /// Where each record's body was while the batch was being built is its offset less this.
    pub(crate) bodies_start: usize,
    pub(crate) body_end: usize,
}

impl Closed {
    /// What it takes on disk: whole blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.body_end.next_multiple_of(BLOCK)
    }
}

impl Builder {
    pub(crate) fn new(seq: BatchSeq, shape: Shape, spare: &mut Spare) -> Builder {
        let directory_max = (shape.records + shape.records / 4).clamp(DIRECTORY_MIN, RECORDS_MAX);
        // Batches of many records with small bodies or none were smaller than the room for as many and some more.
        let directory_bytes = BATCH_HEADER_BYTES + directory_max * RECORD_HEADER_BYTES;
        let bytes = shape.bytes.clamp(BLOCK, INITIAL_BYTES_MAX).max(directory_bytes.next_multiple_of(BLOCK));
        Builder {
            seq,
            flags: 0,
            submitted: false,
            buffer: spare.take(bytes),
            records: Vec::with_capacity(directory_max),
            directory_max,
            bodies_bytes: 0,
            touched: 0,
        }
    }

    fn bodies_start(&self) -> usize {
        BATCH_HEADER_BYTES + self.directory_max * RECORD_HEADER_BYTES
    }

    /// The directory's room once it has `records` rows.
    fn directory_for(&self, records: usize) -> usize {
        if records > self.directory_max {
            (self.directory_max * 2).min(RECORDS_MAX)
        } else {
            self.directory_max
        }
    }

    /// What it will take on disk at most, with one more record of `body_bytes`.
    pub(crate) fn bytes_with(&self, body_bytes: usize) -> usize {
        let directory = self.directory_for(self.records.len() + 1) * RECORD_HEADER_BYTES;
        let bodies = self.bodies_bytes.next_multiple_of(BODY_ALIGN) + body_bytes;
        (BATCH_HEADER_BYTES + directory + bodies).next_multiple_of(BLOCK)
    }

    /// What it takes now, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_with(0)
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// Whether the newest record ends where `first` of the same group, incarnation and term goes on.
    pub(crate) fn continues(&self, group: GroupId, incarnation: u32, first: EntryId) -> bool {
        self.records.last().is_some_and(|record| {
            record.kind == RecordKind::Entries.byte()
                && record.flags & record_flags::RELOCATED == 0
                && record.group == u64::from(group.0)
                && record.incarnation == incarnation
                && record.term == first.term.0
                && record.first_index + u64::from(record.count) == first.index.0
        })
    }

    /// Grows the newest record by `count` entries; its place is the answer's second half.
    pub(crate) fn extend_newest(&mut self, count: u32, body_bytes: usize) -> &mut [u8] {
        self.make_room(0, body_bytes);
        let record = self.records.last_mut().expect("checked by continues()");
        record.count += count;
        record.body_bytes += u32_of(body_bytes);
        self.take(body_bytes)
    }

    /// Adds a record; answers where its body starts (counted from the first body) and the place for it.
    pub(crate) fn push(&mut self, mut record: RecordHeader, body_bytes: usize) -> (u32, &mut [u8]) {
        self.make_room(1, body_bytes);
        let (start, before) = (self.bodies_start(), self.bodies_bytes);
        self.bodies_bytes = before.next_multiple_of(BODY_ALIGN);
        self.buffer[start + before..start + self.bodies_bytes].fill(0);
        let offset = u32_of(self.bodies_bytes);
        record.body_offset = offset;
        record.body_bytes = u32_of(body_bytes);
        self.records.push(record);
        (offset, self.take(body_bytes))
    }

    fn take(&mut self, body_bytes: usize) -> &mut [u8] {
        let start = self.bodies_start() + self.bodies_bytes;
        self.bodies_bytes += body_bytes;
        self.touch(start + body_bytes);
        &mut self.buffer[start..start + body_bytes]
    }

    /// Looks at each cache line that comes soon behind `end`. Used memory comes from far away, and a checksum over what was
    /// just written would wait for each of its lines.
    fn touch(&mut self, end: usize) {
        let to = (end + TOUCH_BYTES).min(self.buffer.len());
        for line in (self.touched.max(end).next_multiple_of(LINE_BYTES)..to).step_by(LINE_BYTES) {
            std::hint::black_box(self.buffer[line]);
        }
        self.touched = to;
    }

    fn make_room(&mut self, records: usize, body_bytes: usize) {
        let directory_wanted = self.records.len() + records;
        assert!(directory_wanted <= RECORDS_MAX, "the caller closes a batch whose directory is full");
        let directory_max = self.directory_for(directory_wanted);
        let from = self.bodies_start();
        let to = BATCH_HEADER_BYTES + directory_max * RECORD_HEADER_BYTES;
        let wanted = to + self.bodies_bytes.next_multiple_of(BODY_ALIGN) + body_bytes;
        if wanted > self.buffer.len() {
            let mut larger = BufferMut::zeroed(wanted.max(self.buffer.len() * 2));
            larger[to..to + self.bodies_bytes].copy_from_slice(&self.buffer[from..from + self.bodies_bytes]);
            self.buffer = larger;
        } else if to != from {
            self.buffer.copy_within(from..from + self.bodies_bytes, to);
        }
        self.directory_max = directory_max;
    }

    /// No more records: the directory shrinks to its size where that saves a block of small bodies.
    pub(crate) fn close(mut self, shape: &mut Shape) -> Closed {
        let tight = BATCH_HEADER_BYTES + self.records.len() * RECORD_HEADER_BYTES;
        let from = self.bodies_start();
        let saves = (from + self.bodies_bytes).div_ceil(BLOCK) > (tight + self.bodies_bytes).div_ceil(BLOCK);
        let small = self.bodies_bytes <= 4 * BLOCK;
        let bodies_start = if (saves && small) || self.bodies_bytes == 0 { tight } else { from };
        if bodies_start != from {
            self.buffer.copy_within(from..from + self.bodies_bytes, bodies_start);
        }
        let end = bodies_start + self.bodies_bytes;
        self.buffer[tight..bodies_start].fill(0);
        self.buffer[end..end.next_multiple_of(BLOCK)].fill(0);
        for record in &mut self.records {
            record.body_offset += u32_of(bodies_start);
        }
        let body_end = bodies_start + self.bodies_bytes;
        shape.learn(self.records.len(), usize_of(u32_of(body_end)));
        Closed {
            seq: self.seq,
            flags: self.flags,
            buffer: self.buffer,
            records: self.records,
            bodies_start,
            body_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    fn fill(builder: &mut Builder, bodies: &[usize]) -> Vec<(u32, Vec<u8>)> {
        let mut written = Vec::new();
        for (number, bytes) in bodies.iter().enumerate() {
            let (offset, place) = builder.push(RecordHeader::zeroed(), *bytes);
            let body: Vec<u8> = (1..=255).cycle().skip(number).take(*bytes).collect();
            place.copy_from_slice(&body);
            written.push((offset, body));
        }
        written
    }

    /// Memory that was something else before.
    fn used(bytes: usize) -> Spare {
        let mut spare = Spare::default();
        let mut buffer = BufferMut::zeroed(bytes);
        buffer.fill(0xa5);
        spare.give_back(buffer);
        spare
    }

    /// Bodies survive every relocation, stay aligned and disjoint, and all else is zero.
    fn check(bodies: &[usize]) {
        check_in(bodies, &mut Spare::default());
        check_in(bodies, &mut used(BLOCK));
        check_in(bodies, &mut used(2 * BLOCK));
    }

    fn check_in(bodies: &[usize], spare: &mut Spare) {
        let mut builder = Builder::new(BatchSeq(1), Shape::default(), spare);
        let written = fill(&mut builder, bodies);
        let closed = builder.close(&mut Shape::default());
        let mut rest = closed.buffer[..closed.bytes()].to_vec();
        let mut free_from = BATCH_HEADER_BYTES + bodies.len() * RECORD_HEADER_BYTES;
        rest[..free_from].fill(0); // overwritten when it is sealed
        for (record, (offset, body)) in closed.records.iter().zip(&written) {
            let start = usize_of(record.body_offset);
            assert_eq!(start, closed.bodies_start + usize_of(*offset));
            assert!(start.is_multiple_of(BODY_ALIGN) && start >= free_from);
            assert_eq!(&closed.buffer[start..start + body.len()], &body[..]);
            rest[start..start + body.len()].fill(0);
            free_from = start + body.len();
        }
        assert!(rest.iter().all(|byte| *byte == 0), "nothing stale between or after the bodies");
        assert!(closed.body_end >= free_from && closed.bytes() <= closed.buffer.len());
    }

    #[test]
    fn bodies_survive_growth_of_directory_and_memory() {
        check(&[]);
        check(&[0, 0]);
        check(&[48; 10]);
        check(&[64; 29]);
        check(&[16; 500]);
        check(&[4096, 10, 70_000, 3]);
        check(&[100_000]);
        let many: Vec<usize> = (0..200).map(|n| n * 7 % 300).collect();
        check(&many);
    }

    #[test]
    fn a_batch_after_one_of_many_records_without_bodies_is_built() {
        let mut shape = Shape::default();
        for records in [3300, 1, RECORDS_MAX, 2] {
            let mut builder = Builder::new(BatchSeq(1), shape, &mut Spare::default());
            let written = fill(&mut builder, &vec![0; records]);
            assert_eq!(written.len(), records);
            assert_eq!(builder.close(&mut shape).records.len(), records);
            let mut builder = Builder::new(BatchSeq(2), shape, &mut Spare::default());
            fill(&mut builder, &[16, 0, 100]);
            assert_eq!(builder.close(&mut Shape::default()).records.len(), 3);
        }
    }

    #[test]
    fn a_small_batch_is_one_block() {
        let mut builder = Builder::new(BatchSeq(1), Shape::default(), &mut Spare::default());
        fill(&mut builder, &[3800]);
        let closed = builder.close(&mut Shape::default());
        assert_eq!(closed.bytes(), BLOCK, "the unused directory gave its room to the body");
    }
}
