//! Block 0 of a segment file: whose it is, which use of the slot this is, and how the segment before it ended.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, BLOCK_U64, FORMAT_VERSION, Invalid, NUMBER_MAX};
use crate::Options;

const MAGIC: [u8; 8] = *b"RTLGSEG1";
const CRC_OFFSET: usize = BLOCK - 4;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The front of block 0. Zeros follow up to byte 4092, then the crc32 of all before it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct SegmentHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
    pub(crate) header_bytes: u32,
    pub(crate) store_uuid: [u8; 16],
    pub(crate) shard: u32,
    pub(crate) shard_count: u32,
    pub(crate) segment_seq: u64,
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) block_bytes: u32,
    pub(crate) stream: u32,
    pub(crate) boot_epoch: u64,
    pub(crate) slot: u64,
    pub(crate) first_batch_seq: u64,
    pub(crate) previous_segment_seq: u64,
    pub(crate) previous_end_offset: u64,
    pub(crate) previous_last_seq: u64,
    pub(crate) previous_chain: u32,
    pub(crate) key_id: u32,
    pub(crate) durable_seq: u64,
    pub(crate) zero_checkpoint: [u64; 3],
    pub(crate) created_us: u64,
    pub(crate) features_incompatible: u64,
    pub(crate) features_compatible: u64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SegmentHeader>() == 184);
    assert!(offset_of!(SegmentHeader, store_uuid) == 16);
    assert!(offset_of!(SegmentHeader, segment_seq) == 40);
    assert!(offset_of!(SegmentHeader, salt) == 48);
    assert!(offset_of!(SegmentHeader, block_bytes) == 64);
    assert!(offset_of!(SegmentHeader, boot_epoch) == 72);
    assert!(offset_of!(SegmentHeader, first_batch_seq) == 88);
    assert!(offset_of!(SegmentHeader, previous_chain) == 120);
    assert!(offset_of!(SegmentHeader, durable_seq) == 128);
    assert!(offset_of!(SegmentHeader, zero_checkpoint) == 136);
    assert!(offset_of!(SegmentHeader, created_us) == 160);
};

/// What every header of one log has in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) shard: u32,
    pub(crate) shard_count: u32,
}

impl Identity {
    pub(crate) fn of(options: &Options) -> Identity {
        Identity { store_uuid: options.store_uuid, shard: options.shard, shard_count: options.shard_count }
    }

    /// In what `header` belongs to another log, if it does.
    pub(crate) fn difference(&self, header: &SegmentHeader) -> Option<String> {
        if header.store_uuid != self.store_uuid {
            return Some(format!(
                "it belongs to store {}, this is store {}",
                hex(&header.store_uuid),
                hex(&self.store_uuid)
            ));
        }
        if (header.shard, header.shard_count) != (self.shard, self.shard_count) {
            return Some(format!(
                "it belongs to shard {} of {}, this is shard {} of {}",
                header.shard, header.shard_count, self.shard, self.shard_count
            ));
        }
        None
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl SegmentHeader {
    /// The header of `identity`'s log with every constant filled in and all else zero.
    pub(crate) fn new(identity: Identity) -> SegmentHeader {
        SegmentHeader {
            magic: MAGIC,
            version: u32::from(FORMAT_VERSION),
            header_bytes: 4096,
            store_uuid: identity.store_uuid,
            shard: identity.shard,
            shard_count: identity.shard_count,
            block_bytes: 4096,
            ..SegmentHeader::zeroed()
        }
    }
}

/// Writes `header` over the whole block 0 in `block`.
pub(crate) fn encode_segment_header(header: &SegmentHeader, block: &mut [u8]) {
    assert_eq!(block.len(), BLOCK, "a segment header is one block");
    let (front, rest) = block.split_at_mut(size_of::<SegmentHeader>());
    front.copy_from_slice(bytemuck::bytes_of(header));
    rest.fill(0);
    let crc = crc32fast::hash(&block[..CRC_OFFSET]);
    block[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
}

/// Reads block 0. Total: any bytes give an answer. Whether the header is *ours* is [`Identity::difference`].
pub(crate) fn decode_segment_header(block: &[u8]) -> Result<SegmentHeader, Invalid> {
    let block = block.get(..BLOCK).ok_or(Invalid::new("the file has no whole first block"))?;
    let (covered, crc) = block.split_at(CRC_OFFSET);
    if crc != crc32fast::hash(covered).to_le_bytes() {
        return Err(Invalid::new("segment header checksum mismatch"));
    }
    let (front, rest) = covered.split_at(size_of::<SegmentHeader>());
    let header: SegmentHeader = bytemuck::pod_read_unaligned(front);
    if header.magic != MAGIC {
        return Err(Invalid::unknown("no segment header magic"));
    }
    if header.version != u32::from(FORMAT_VERSION) || header.features_incompatible != 0 {
        return Err(Invalid::unknown("segment header of an unknown format version"));
    }
    let geometry_ok = header.header_bytes == 4096
        && header.block_bytes == 4096
        && header.segment_bytes.is_multiple_of(BLOCK_U64)
        && header.segment_bytes >= 2 * BLOCK_U64
        && header.segment_bytes <= u64::from(u32::MAX);
    let zero_ok = header.stream == 0
        && header.key_id == 0
        && header.zero_checkpoint == [0; 3]
        && rest.iter().all(|byte| *byte == 0);
    let order_ok = header.segment_seq > header.previous_segment_seq
        && header.first_batch_seq > header.previous_last_seq
        && header.durable_seq < header.first_batch_seq;
    let numbers = [header.segment_seq, header.first_batch_seq, header.boot_epoch, header.slot];
    let numbers_ok = numbers.iter().all(|number| *number <= NUMBER_MAX);
    if !geometry_ok || !zero_ok || !order_ok || !numbers_ok {
        return Err(Invalid::unknown("segment header with impossible fields"));
    }
    Ok(header)
}

/// Whether block 0 is that of a prepared segment no one has written to yet.
pub(crate) fn looks_unused(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Whether block 0 can be what a header's write left that was cut short: some sectors of it, the others zeros or those of the header
/// before. Anything else was written here by mistake, and nobody knows over what.
pub(crate) fn could_be_torn(block: &[u8]) -> bool {
    let (front, rest) = block.split_at(SECTOR_BYTES.min(block.len()));
    let is_header = front.starts_with(&MAGIC) || looks_unused(front);
    is_header && rest.iter().rev().skip(size_of::<u32>()).all(|byte| *byte == 0)
}

/// Makes the checksum right again, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(super) fn reseal(block: &mut [u8]) {
    let crc = crc32fast::hash(&block[..CRC_OFFSET]);
    block[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
}
