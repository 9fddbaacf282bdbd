//! The bytes of the log: fixed headers as plain structs, and the checks that make them trustworthy.
//!
//! The layout is described in `raftlog/FORMAT.md`; the assertions below hold the structs to it.

mod batch;
mod index;
mod segment;
#[cfg(test)]
mod tests;

use bytemuck::{Pod, Zeroable};
use raft::{HardState, Standing};

#[cfg(feature = "fuzzing")]
pub(crate) use batch::reseal;
pub(crate) use batch::{
    Expected, decode_batch_header, decode_directory, membership_entries, seal_batch, verify_bodies,
    verify_body,
};
pub(crate) use index::{IndexRow, decode_index, encode_index_row};
pub(crate) use segment::{
    Identity, SegmentHeader, could_be_torn, decode_segment_header, encode_segment_header, looks_unused,
};

use crate::BatchSeq;

/// The unit of everything the log writes.
pub(crate) const BLOCK: usize = runtime::BLOCK_BYTES;
/// The same, for offsets in files.
pub(crate) const BLOCK_U64: u64 = 4096;
/// The version written and the only one read. 0 until the format is pinned: no compatibility yet.
pub(crate) const FORMAT_VERSION: u16 = 0;
/// `RTB1`
pub(crate) const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"RTB1");
/// Size of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 128;
/// Size of one directory row.
pub(crate) const RECORD_HEADER_BYTES: usize = 64;
/// Records of one batch; the place of a record in its batch fits 12 bits of its `lsn`.
pub(crate) const RECORDS_MAX: usize = 4095;
/// The greatest number of a batch, segment, slot or start. An `lsn` leaves 52 bits to a batch's number, which no log
/// comes near; nothing that is counted on from a number within it overflows.
pub(crate) const NUMBER_MAX: u64 = (1 << 52) - 1;
/// The greatest index in a record, for the same reason.
pub(crate) const INDEX_MAX: u64 = raft::Index::MAX.0;
/// Bodies start at multiples of this.
pub(crate) const BODY_ALIGN: usize = 16;

/// Bits of [`BatchHeader::flags`].
pub(crate) mod batch_flags {
    /// An empty batch whose `durable_seq` vouches for all batches before it.
    pub(crate) const SEAL: u16 = 1;
    /// The first batch of a checkpoint: opens with the segment table.
    pub(crate) const CHECKPOINT_BEGIN: u16 = 2;
    /// Any batch of a checkpoint.
    pub(crate) const CHECKPOINT: u16 = 4;
    /// The last batch of a checkpoint.
    pub(crate) const CHECKPOINT_END: u16 = 8;
    /// The last batch of a clean end: nothing was written behind it.
    pub(crate) const LAST: u16 = 16;
    /// All that are known.
    pub(crate) const ALL: u16 = SEAL | CHECKPOINT_BEGIN | CHECKPOINT | CHECKPOINT_END | LAST;
}

/// Bits of [`RecordHeader::flags`].
pub(crate) mod record_flags {
    /// HARD_STATE, CHECKPOINT_ROW: `aux` is the node voted for.
    pub(crate) const HAS_VOTE: u8 = 1;
    /// SNAPSHOT: the log restarts after the snapshot's id. TRUNCATE: the snapshot is gone, too.
    pub(crate) const RESET: u8 = 2;
    /// CHECKPOINT_ROW: the group has a snapshot; its body follows the row.
    pub(crate) const HAS_SNAPSHOT: u8 = 4;
    /// HARD_STATE, CHECKPOINT_ROW: the replica may have lost acknowledged entries and heals from its peers.
    pub(crate) const RECOVERING: u8 = 8;
    /// HARD_STATE, CHECKPOINT_ROW: the replica's history contradicts its group's.
    pub(crate) const FAULTED: u8 = 16;
    /// ENTRIES: some of them are configurations of the group.
    pub(crate) const MEMBERSHIP: u8 = 32;
    /// ENTRIES: they were written before and stand in their place; nothing is truncated.
    pub(crate) const RELOCATED: u8 = 64;
    /// What a hard state may have.
    pub(crate) const HARD_STATE: u8 = HAS_VOTE | RECOVERING | FAULTED;
}

/// The bits that say what a hard state's replica is worth, and whom it voted for.
pub(crate) fn hard_state_flags(hard_state: &HardState) -> u8 {
    let vote = if hard_state.vote.is_some() { record_flags::HAS_VOTE } else { 0 };
    vote | match hard_state.standing {
        Standing::Normal => 0,
        Standing::Recovering => record_flags::RECOVERING,
        Standing::Faulted => record_flags::FAULTED,
        Standing::Joining => record_flags::RECOVERING | record_flags::FAULTED,
    }
}

/// The standing in a checked record's flags.
pub(crate) fn standing(flags: u8) -> Standing {
    match flags & (record_flags::RECOVERING | record_flags::FAULTED) {
        0 => Standing::Normal,
        record_flags::RECOVERING => Standing::Recovering,
        record_flags::FAULTED => Standing::Faulted,
        _ => Standing::Joining,
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Consecutive whole entries of one group and term; truncates what it overlaps.
    Entries,
    /// Term, vote, commit.
    HardState,
    /// Everything up to an entry id is no longer needed.
    Compact,
    /// The group's snapshot from now on; compacts to its id.
    Snapshot,
    /// Everything from an index on could not be read any more.
    Truncate,
    /// A group's state at a checkpoint.
    CheckpointRow,
    /// Which older segments a checkpoint counts on.
    SegmentTable,
    /// What lives in one of them.
    SegmentIndex,
}

impl RecordKind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            RecordKind::Entries => 1,
            RecordKind::HardState => 2,
            RecordKind::Compact => 3,
            RecordKind::Snapshot => 4,
            RecordKind::Truncate => 5,
            RecordKind::CheckpointRow => 8,
            RecordKind::SegmentTable => 9,
            RecordKind::SegmentIndex => 10,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<RecordKind> {
        Some(match byte {
            1 => RecordKind::Entries,
            2 => RecordKind::HardState,
            3 => RecordKind::Compact,
            4 => RecordKind::Snapshot,
            5 => RecordKind::Truncate,
            8 => RecordKind::CheckpointRow,
            9 => RecordKind::SegmentTable,
            10 => RecordKind::SegmentIndex,
            _ => return None,
        })
    }

    /// The bits that `flags` may have.
    pub(crate) const fn flags_allowed(self) -> u8 {
        match self {
            RecordKind::HardState => record_flags::HARD_STATE,
            RecordKind::Snapshot | RecordKind::Truncate => record_flags::RESET,
            RecordKind::CheckpointRow => record_flags::HARD_STATE | record_flags::HAS_SNAPSHOT,
            RecordKind::Entries => record_flags::MEMBERSHIP | record_flags::RELOCATED,
            RecordKind::Compact | RecordKind::SegmentTable | RecordKind::SegmentIndex => 0,
        }
    }
}

/// The first 128 bytes of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct BatchHeader {
    pub(crate) magic: u32,
    pub(crate) version: u16,
    pub(crate) flags: u16,
    pub(crate) salt: u64,
    pub(crate) segment_seq: u64,
    pub(crate) batch_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) boot_epoch: u64,
    pub(crate) block: u32,
    pub(crate) blocks: u32,
    pub(crate) directory_bytes: u32,
    pub(crate) records: u32,
    pub(crate) body_bytes: u32,
    pub(crate) directory_crc: u32,
    pub(crate) previous_chain: u32,
    pub(crate) key_id: u32,
    pub(crate) time_us: u64,
    pub(crate) aux: u64,
    pub(crate) zero: [u32; 7],
    pub(crate) header_crc: u32,
}

/// One row of a batch's directory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct RecordHeader {
    pub(crate) group: u64,
    pub(crate) first_index: u64,
    pub(crate) term: u64,
    pub(crate) commit: u64,
    pub(crate) lsn: u64,
    pub(crate) incarnation: u32,
    pub(crate) count: u32,
    pub(crate) body_offset: u32,
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) aux: u16,
}

/// The front of a CHECKPOINT_ROW's body; the snapshot's body follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct CheckpointRow {
    pub(crate) compacted_index: u64,
    pub(crate) compacted_term: u64,
    pub(crate) last_index: u64,
    pub(crate) last_term: u64,
    pub(crate) snapshot_index: u64,
    pub(crate) snapshot_term: u64,
}

/// One row of a SEGMENT_TABLE's body.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct SegmentRow {
    pub(crate) segment_seq: u64,
    pub(crate) slot: u64,
    pub(crate) end_offset: u64,
    pub(crate) last_batch_seq: u64,
    pub(crate) chain: u32,
    /// Where its index begins, in blocks; if it has one.
    pub(crate) index_block: u32,
    /// The segment its index stands in; 0: it has none.
    pub(crate) index_segment: u64,
    /// The first batch of its index.
    pub(crate) index_batch: u64,
    /// How many blocks its index takes.
    pub(crate) index_blocks: u32,
    pub(crate) zero: u32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(cfg!(target_endian = "little"), "headers are read in place: little-endian machines only");
    assert!(BLOCK == 4096 && BLOCK_U64 == 4096);
    assert!(size_of::<BatchHeader>() == BATCH_HEADER_BYTES);
    assert!(offset_of!(BatchHeader, salt) == 8);
    assert!(offset_of!(BatchHeader, segment_seq) == 16);
    assert!(offset_of!(BatchHeader, batch_seq) == 24);
    assert!(offset_of!(BatchHeader, durable_seq) == 32);
    assert!(offset_of!(BatchHeader, boot_epoch) == 40);
    assert!(offset_of!(BatchHeader, block) == 48);
    assert!(offset_of!(BatchHeader, directory_bytes) == 56);
    assert!(offset_of!(BatchHeader, body_bytes) == 64);
    assert!(offset_of!(BatchHeader, directory_crc) == 68);
    assert!(offset_of!(BatchHeader, previous_chain) == 72);
    assert!(offset_of!(BatchHeader, time_us) == 80);
    assert!(offset_of!(BatchHeader, zero) == 96);
    assert!(offset_of!(BatchHeader, header_crc) == 124);
    assert!(size_of::<RecordHeader>() == RECORD_HEADER_BYTES);
    assert!(offset_of!(RecordHeader, lsn) == 32);
    assert!(offset_of!(RecordHeader, incarnation) == 40);
    assert!(offset_of!(RecordHeader, body_offset) == 48);
    assert!(offset_of!(RecordHeader, body_crc) == 56);
    assert!(offset_of!(RecordHeader, kind) == 60);
    assert!(offset_of!(RecordHeader, aux) == 62);
    assert!(size_of::<CheckpointRow>() == 48);
    assert!(size_of::<SegmentRow>() == 64);
    // A relocated body stays aligned, so entries can be read in place.
    assert!(BATCH_HEADER_BYTES.is_multiple_of(BODY_ALIGN) && RECORD_HEADER_BYTES.is_multiple_of(BODY_ALIGN));
    assert!(raft::ENTRY_ALIGN == BODY_ALIGN);
};

/// Why bytes are not what the log wrote there. Not an error by itself: the end of the log looks so too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// What is wrong, for people.
    pub(crate) what: &'static str,
    /// The checksum was right: these bytes were written so, by another version of this program.
    pub(crate) intact: bool,
}

impl Invalid {
    /// Torn, rotten, stale or never written.
    pub(crate) const fn new(what: &'static str) -> Invalid {
        Invalid { what, intact: false }
    }

    /// Written so on purpose, and not by this version.
    pub(crate) const fn unknown(what: &'static str) -> Invalid {
        Invalid { what, intact: true }
    }
}

/// `lsn` of the record `ordinal` of batch `seq`.
pub(crate) fn lsn(seq: BatchSeq, ordinal: usize) -> u64 {
    debug_assert!(ordinal < RECORDS_MAX);
    (seq.0 << 12) | u64::try_from(ordinal).expect("ordinals are below 4096")
}

/// A size known to be below 4 GiB because it lies in a segment.
pub(crate) fn u32_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("sizes within a segment are below 4 GiB: Options::check")
}

/// A size from a header as a length in memory; `usize` has at least 32 bits here.
pub(crate) fn usize_of(bytes: u32) -> usize {
    usize::try_from(bytes).expect("usize has at least 32 bits on every supported machine")
}
