//! Doors to private decoders, for the fuzzer in `tests/fuzz`. Not an interface: no other build has them.

use crate::format::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BLOCK, BatchHeader, decode_batch_header, decode_directory,
    decode_segment_header, encode_segment_header, reseal, seal_batch, usize_of, verify_bodies,
};

/// Block 0 of a segment as it is written again after it was read; `None`: it was refused.
pub fn segment_header_again(block: &[u8]) -> Option<Vec<u8>> {
    let header = decode_segment_header(block).ok()?;
    let mut again = vec![0; BLOCK];
    encode_segment_header(&header, &mut again);
    Some(again)
}

/// The batch at the front of `bytes`, and as it is written again after it was read; `None`: it was refused.
pub fn batch_again(bytes: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let header = decode_batch_header(bytes).ok()?;
    let batch = bytes.get(..usize_of(header.blocks).checked_mul(BLOCK)?)?;
    let records = decode_directory(&header, batch).ok()?;
    verify_bodies(batch, &records).ok()?;
    let body_end = BATCH_HEADER_BYTES + usize_of(header.directory_bytes) + usize_of(header.body_bytes);
    let mut again = batch.to_vec();
    seal_batch(&mut again, header, &records, body_end);
    Some((batch, again))
}

/// Makes all checksums of a segment right again, and has each batch continue the one before it.
pub fn repair(segment: &mut [u8]) {
    let (first, mut rest) = segment.split_at_mut(BLOCK.min(segment.len()));
    reseal::segment_header(first);
    let mut chain = first.get(120..124).map(bytemuck::pod_read_unaligned::<u32>);
    while rest.len() >= BLOCK {
        let header: BatchHeader = bytemuck::pod_read_unaligned(&rest[..BATCH_HEADER_BYTES]);
        if header.magic != BATCH_MAGIC {
            rest = &mut rest[BLOCK..];
            continue;
        }
        let blocks = usize_of(header.blocks).clamp(1, rest.len() / BLOCK);
        let (batch, behind) = rest.split_at_mut(blocks * BLOCK);
        chain = Some(reseal::batch(batch, chain));
        rest = behind;
    }
}
