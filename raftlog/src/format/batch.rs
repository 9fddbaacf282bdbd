//! One batch: `[header 128][directory 64 x n][bodies, 16-aligned][zeros to the block]`.

use raft::{Check, EntryKind, entries};

use super::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BLOCK, BODY_ALIGN, BatchHeader, CheckpointRow, FORMAT_VERSION,
    INDEX_MAX, Invalid, NUMBER_MAX, RECORD_HEADER_BYTES, RECORDS_MAX, RecordHeader, RecordKind, batch_flags,
    lsn, record_flags, u32_of, usize_of,
};
use crate::BatchSeq;

const HEADER_CRC_OFFSET: usize = BATCH_HEADER_BYTES - 4;

/// Finishes a batch whose bodies are in place: checksums the bodies, writes directory and header at its front.
///
/// `header` brings identity and position; sizes, counts and checksums are filled in here. `body_end` is where the
/// last body ends. Returns the chain value that the next batch carries.
///
/// # Panics
/// If the bytes of an ENTRIES body are not the entries its record announces: written so, the log could not be opened.
pub(crate) fn seal_batch(
    batch: &mut [u8],
    mut header: BatchHeader,
    records: &[RecordHeader],
    body_end: usize,
) -> u32 {
    let directory_end = BATCH_HEADER_BYTES + records.len() * RECORD_HEADER_BYTES;
    let end = body_end.max(directory_end);
    assert!(
        records.len() <= RECORDS_MAX && batch.len() == end.next_multiple_of(BLOCK),
        "a batch of its size"
    );
    for (ordinal, record) in records.iter().enumerate() {
        let mut record = *record;
        let body_start = usize_of(record.body_offset);
        let body = &batch[body_start..body_start + usize_of(record.body_bytes)];
        if record.kind == RecordKind::Entries.byte() {
            let said = verify_entries(&record, body, Check::Shape);
            let Ok(entries) = said else {
                panic!("group {}: the encoded entries are not those announced: {said:?}", record.group)
            };
            record.flags |= if entries.memberships { record_flags::MEMBERSHIP } else { 0 };
            record.body_crc = entries.checksum;
        } else {
            record.body_crc = crc32fast::hash(body);
        }
        record.lsn = lsn(BatchSeq(header.batch_seq), ordinal);
        let at = BATCH_HEADER_BYTES + ordinal * RECORD_HEADER_BYTES;
        batch[at..at + RECORD_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&record));
    }
    header.magic = BATCH_MAGIC;
    header.version = FORMAT_VERSION;
    header.blocks = u32_of(batch.len() / BLOCK);
    header.directory_bytes = u32_of(directory_end - BATCH_HEADER_BYTES);
    header.records = u32_of(records.len());
    header.body_bytes = u32_of(end - directory_end);
    header.directory_crc =
        directory_checksum(header.salt, header.batch_seq, &batch[BATCH_HEADER_BYTES..directory_end]);
    header.header_crc = header_checksum(&header);
    batch[..BATCH_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    header.header_crc
}

fn header_checksum(header: &BatchHeader) -> u32 {
    crc32fast::hash(&bytemuck::bytes_of(header)[..HEADER_CRC_OFFSET])
}

/// Seeded, so that the directory of another batch, or of another use of the file, does not fit this header.
fn directory_checksum(salt: u64, batch_seq: u64, directory: &[u8]) -> u32 {
    let seed = salt ^ batch_seq;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(directory);
    hasher.finalize()
}

/// What the next batch of a walk through a segment must say of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) salt: u64,
    pub(crate) segment_seq: u64,
    pub(crate) batch_seq: u64,
    pub(crate) boot_epoch: u64,
    pub(crate) block: u32,
    pub(crate) chain: u32,
}

impl Expected {
    /// Whether `header` stands in the right place of the right use of the right file.
    pub(crate) fn is_in_place(&self, header: &BatchHeader) -> bool {
        header.salt == self.salt && header.segment_seq == self.segment_seq && header.block == self.block
    }

    /// Whether `header` is the very next batch.
    pub(crate) fn accepts(&self, header: &BatchHeader) -> Result<(), Invalid> {
        if !self.is_in_place(header) {
            return Err(Invalid::new("a batch of another use of this file"));
        }
        if header.batch_seq != self.batch_seq {
            return Err(Invalid::new("a batch with another number than the next"));
        }
        if header.previous_chain != self.chain || header.boot_epoch != self.boot_epoch {
            return Err(Invalid::new("a batch that continues another history"));
        }
        Ok(())
    }
}

/// Reads a batch's header from the front of a block. Total; says nothing about directory and bodies.
pub(crate) fn decode_batch_header(block: &[u8]) -> Result<BatchHeader, Invalid> {
    let front = block.get(..BATCH_HEADER_BYTES).ok_or(Invalid::new("no room for a batch header"))?;
    let header: BatchHeader = bytemuck::pod_read_unaligned(front);
    if header.magic != BATCH_MAGIC {
        return Err(Invalid::new("no batch header magic"));
    }
    if header.header_crc != header_checksum(&header) {
        return Err(Invalid::new("batch header checksum mismatch"));
    }
    if header.version != FORMAT_VERSION || header.flags & !batch_flags::ALL != 0 {
        return Err(Invalid::new("a batch of an unknown format version"));
    }
    let records = usize_of(header.records);
    let end = u64::from(header.directory_bytes) + u64::from(header.body_bytes) + 128;
    let sizes_ok = records <= RECORDS_MAX
        && usize_of(header.directory_bytes) == records * RECORD_HEADER_BYTES
        && end.div_ceil(4096) == u64::from(header.blocks)
        && header.block > 0
        && header.durable_seq < header.batch_seq;
    let numbers = [header.segment_seq, header.batch_seq, header.boot_epoch];
    let numbers_ok = numbers.iter().all(|number| *number <= NUMBER_MAX);
    if !sizes_ok || !numbers_ok || header.key_id != 0 || header.aux != 0 || header.zero != [0; 7] {
        return Err(Invalid::new("a batch header with impossible fields"));
    }
    Ok(header)
}

/// Reads and checks the directory of the batch that starts at the front of `batch`. Total.
pub(crate) fn decode_directory(header: &BatchHeader, batch: &[u8]) -> Result<Vec<RecordHeader>, Invalid> {
    let directory_end = BATCH_HEADER_BYTES + usize_of(header.directory_bytes);
    let end = directory_end + usize_of(header.body_bytes);
    let directory = batch
        .get(BATCH_HEADER_BYTES..directory_end)
        .ok_or(Invalid::new("the batch's directory is cut short"))?;
    if directory_checksum(header.salt, header.batch_seq, directory) != header.directory_crc {
        return Err(Invalid::new("batch directory checksum mismatch"));
    }
    let mut records = Vec::with_capacity(usize_of(header.records));
    let mut free_from = directory_end;
    for (ordinal, row) in directory.chunks_exact(RECORD_HEADER_BYTES).enumerate() {
        let record: RecordHeader = bytemuck::pod_read_unaligned(row);
        let body_start = usize_of(record.body_offset);
        let body_end = body_start.saturating_add(usize_of(record.body_bytes));
        if body_start < free_from || body_end > end || !body_start.is_multiple_of(BODY_ALIGN) {
            return Err(Invalid::new("a record whose body lies outside its place"));
        }
        if record.lsn != lsn(BatchSeq(header.batch_seq), ordinal) {
            return Err(Invalid::new("a record numbered out of order"));
        }
        check_record(&record)?;
        free_from = body_end;
        records.push(record);
    }
    Ok(records)
}

/// Entries begin with 1, and so do terms: what has the one has the other.
fn is_id(index: u64, term: u64) -> bool {
    (index == 0) == (term == 0)
}

/// Fields that a record's kind does not use are zero; those it uses make sense.
fn check_record(record: &RecordHeader) -> Result<(), Invalid> {
    let kind = RecordKind::from_byte(record.kind).ok_or(Invalid::new("a record of an unknown kind"))?;
    let vote_ok = record.aux == 0 || record.flags & record_flags::HAS_VOTE != 0;
    let fields_ok = match kind {
        RecordKind::Entries => {
            record.count > 0 && record.first_index > 0 && record.term > 0 && record.commit <= record.term // the term of the entry before the first
        }
        RecordKind::HardState => record.first_index == 0 && record.count == 0 && record.body_bytes == 0,
        RecordKind::Compact => {
            record.commit == 0
                && record.count == 0
                && record.body_bytes == 0
                && is_id(record.first_index, record.term)
        }
        RecordKind::Snapshot => {
            record.commit == 0 && record.count == 0 && is_id(record.first_index, record.term)
        }
        RecordKind::Truncate => {
            record.commit == 0
                && record.count == 0
                && record.term == 0
                && record.body_bytes == 0
                && (record.first_index == 0) == (record.flags & record_flags::RESET != 0)
        }
        RecordKind::CheckpointRow => {
            record.first_index == 0
                && record.count == 0
                && usize_of(record.body_bytes) >= size_of::<super::CheckpointRow>()
        }
        RecordKind::SegmentIndex => {
            record.group == 0
                && record.first_index > 0
                && record.term == 0
                && record.commit == 0
                && record.incarnation == 0
        }
        RecordKind::SegmentTable => {
            record.group == 0
                && record.first_index == 0
                && record.term == 0
                && record.commit == 0
                && record.incarnation == 0
                && usize_of(record.body_bytes).is_multiple_of(size_of::<super::SegmentRow>())
                && usize_of(record.count) <= usize_of(record.body_bytes) / size_of::<super::SegmentRow>()
        }
    };
    let group_ok = u32::try_from(record.group).is_ok();
    let index_ok = record.first_index <= INDEX_MAX;
    if !fields_ok || !vote_ok || !group_ok || !index_ok || record.flags & !kind.flags_allowed() != 0 {
        return Err(Invalid::new("a record with impossible fields"));
    }
    Ok(())
}

/// Checks the cursors in a CHECKPOINT_ROW's body, whose length is checked.
pub(super) fn check_checkpoint_row(body: &[u8]) -> Result<(), Invalid> {
    let row: CheckpointRow = bytemuck::pod_read_unaligned(&body[..size_of::<CheckpointRow>()]);
    let ordered = row.compacted_index <= row.last_index && row.last_index <= INDEX_MAX;
    let are_ids = is_id(row.compacted_index, row.compacted_term)
        && is_id(row.last_index, row.last_term)
        && is_id(row.snapshot_index, row.snapshot_term);
    if ordered && are_ids && row.snapshot_index <= INDEX_MAX {
        Ok(())
    } else {
        Err(Invalid::new("a checkpoint row with impossible cursors"))
    }
}

/// Checks every body of the batch against its directory row, entries down to their own checksums. Total.
pub(crate) fn verify_bodies(batch: &[u8], records: &[RecordHeader]) -> Result<(), Invalid> {
    records.iter().try_for_each(|record| verify_body(batch, record).map(drop))
}

/// The body of `record` in `batch`, if it is what the record says. Total.
pub(crate) fn verify_body<'a>(batch: &'a [u8], record: &RecordHeader) -> Result<&'a [u8], Invalid> {
    let start = usize_of(record.body_offset);
    let body = batch
        .get(start..start.saturating_add(usize_of(record.body_bytes)))
        .ok_or(Invalid::new("a record's body is cut short"))?;
    let is_entries = record.kind == RecordKind::Entries.byte();
    let entries = if is_entries { Some(verify_entries(record, body, Check::Checksum)?) } else { None };
    let crc = entries.map_or_else(|| crc32fast::hash(body), |entries| entries.checksum);
    if crc != record.body_crc {
        return Err(Invalid::new("record body checksum mismatch"));
    }
    if entries.is_some_and(|found| found.memberships != (record.flags & record_flags::MEMBERSHIP != 0)) {
        return Err(Invalid::new("a record that says wrongly whether it holds configurations"));
    }
    if record.kind == RecordKind::CheckpointRow.byte() {
        check_checkpoint_row(body)?;
    }
    Ok(body)
}

/// The configurations among the entries of a verified record, whole and back to back.
pub(crate) fn membership_entries(body: &[u8]) -> Vec<u8> {
    let mut memberships = Vec::new();
    for entry in entries(body, Check::Shape).flatten() {
        if entry.kind == EntryKind::Membership {
            memberships.extend_from_slice(entry.bytes);
        }
    }
    memberships
}

/// What an ENTRIES body was found to hold.
#[derive(Clone, Copy, Debug)]
struct Verified {
    /// There are configurations among the entries.
    memberships: bool,
    /// Of the body: it covers the entries' checksums, which cover their bytes, so nothing is summed twice.
    checksum: u32,
}

/// Checks that the entries are what their record says.
fn verify_entries(record: &RecordHeader, body: &[u8], check: Check) -> Result<Verified, Invalid> {
    let mut index = record.first_index;
    let mut memberships = false;
    let mut hasher = crc32fast::Hasher::new();
    for entry in entries(body, check) {
        let entry = entry.map_err(|_| Invalid::new("an entry that is not sound"))?;
        let as_said = u64::from(entry.group.0) == record.group
            && entry.incarnation == record.incarnation
            && entry.id.term.0 == record.term
            && entry.id.index.0 == index;
        if !as_said {
            return Err(Invalid::new("an entry that is not what its record says"));
        }
        memberships |= entry.kind == EntryKind::Membership;
        hasher.update(&entry.bytes[..4]);
        index += 1;
    }
    if index != record.first_index + u64::from(record.count) {
        return Err(Invalid::new("a record with another number of entries than it says"));
    }
    Ok(Verified { memberships, checksum: hasher.finalize() })
}

/// Makes checksums right again, for the fuzzer: what lies behind them is to be reached.
#[cfg(feature = "fuzzing")]
pub(crate) mod reseal {
    use raft::EntryError;

    use super::super::segment;
    use super::*;

    /// The checksum of a body. For entries it covers their checksums, which cover their bytes: nothing is summed twice.
    fn body_checksum(kind: u8, body: &[u8]) -> Result<u32, EntryError> {
        if kind != RecordKind::Entries.byte() {
            return Ok(crc32fast::hash(body));
        }
        let mut hasher = crc32fast::Hasher::new();
        for entry in entries(body, Check::Shape) {
            hasher.update(&entry?.bytes[..4]);
        }
        Ok(hasher.finalize())
    }

    /// Of block 0.
    pub(crate) fn segment_header(block: &mut [u8]) {
        if block.len() == BLOCK {
            segment::reseal(block);
        }
    }

    /// Of a whole batch, which continues `chain` if given. Returns the chain value that the next one carries.
    pub(crate) fn batch(batch: &mut [u8], chain: Option<u32>) -> u32 {
        let mut header: BatchHeader = bytemuck::pod_read_unaligned(&batch[..BATCH_HEADER_BYTES]);
        header.previous_chain = chain.unwrap_or(header.previous_chain);
        let directory_end = (BATCH_HEADER_BYTES + usize_of(header.directory_bytes)).min(batch.len());
        let (front, bodies) = batch.split_at_mut(directory_end);
        let (front, directory) = front.split_at_mut(BATCH_HEADER_BYTES);
        for row in directory.chunks_exact_mut(RECORD_HEADER_BYTES) {
            let mut record: RecordHeader = bytemuck::pod_read_unaligned(row);
            let start = usize_of(record.body_offset).checked_sub(directory_end);
            let body =
                start.and_then(|start| bodies.get(start..start.checked_add(usize_of(record.body_bytes))?));
            record.body_crc = body.and_then(|body| body_checksum(record.kind, body).ok()).unwrap_or(0);
            row.copy_from_slice(bytemuck::bytes_of(&record));
        }
        header.directory_crc = directory_checksum(header.salt, header.batch_seq, directory);
        header.header_crc = header_checksum(&header);
        front.copy_from_slice(bytemuck::bytes_of(&header));
        header.header_crc
    }
}
