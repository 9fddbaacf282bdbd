//! A door for the fuzzer in `tests/fuzz`. Not an interface: no other build has it.

use std::ops::Range;

use crate::format::{
    BLOCK_TRAILER_BYTES, CHUNK_BYTES, FILTER_ALIGN, FOOTER_BYTES, FileHeader, Footer, HEADER_BYTES,
    INDEX_ENTRY_BYTES, IndexEntry, PREFIX_BYTES, read_pod,
};

/// Makes all checksums of a file right again, as far as its offsets lead anywhere: what is behind them is to be
/// reached.
pub fn repair(file: &mut [u8]) {
    let Some(footer_at) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let (Some(header), Some(mut footer)) =
        (read_pod::<FileHeader>(file), read_pod::<Footer>(&file[footer_at..]))
    else {
        return;
    };
    file[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header.sealed()));
    footer.header_checksum = crc32fast::hash(&file[..HEADER_BYTES]);
    let blocks = footer.blocks.min(file.len() as u64 / INDEX_ENTRY_BYTES as u64);
    for number in 0..blocks {
        let at = blocks * PREFIX_BYTES as u64 + number * INDEX_ENTRY_BYTES as u64;
        let at = footer.index_offset.saturating_add(at);
        let entry: Option<IndexEntry> = usize::try_from(at).ok().and_then(|at| read_pod(file.get(at..)?));
        let Some(entry) = entry else { break };
        repair_block(file, range(entry.block_offset, u64::from(entry.block_bytes)));
    }
    let sum = |file: &[u8], place: Range<usize>| file.get(place).map_or(0, crc32fast::hash);
    footer.index_checksum = sum(file, range(footer.index_offset, footer.index_bytes));
    let filters =
        footer.index_offset.saturating_add(footer.index_bytes).checked_next_multiple_of(FILTER_ALIGN);
    footer.filter_checksum = sum(file, range(filters.unwrap_or(u64::MAX), footer.filter_bytes));
    footer.meta_checksum = sum(file, range(footer.meta_offset, footer.meta_bytes));
    let table_at = usize::try_from(footer.table_offset).unwrap_or(usize::MAX);
    if table_at <= footer_at {
        let (covered, table) = file.split_at_mut(table_at);
        for (chunk, place) in covered.chunks(CHUNK_BYTES).zip(table.chunks_exact_mut(4)) {
            place.copy_from_slice(&crc32fast::hash(chunk).to_le_bytes());
        }
        footer.table_checksum = crc32fast::hash(&file[table_at..footer_at]);
    }
    file[footer_at..].copy_from_slice(bytemuck::bytes_of(&footer.sealed()));
}

fn repair_block(file: &mut [u8], place: Range<usize>) {
    let Some(block) = file.get_mut(place) else { return };
    let Some(trailer_at) = block.len().checked_sub(BLOCK_TRAILER_BYTES) else { return };
    let sum = crc32fast::hash(&block[..trailer_at]);
    block[trailer_at..].copy_from_slice(&sum.to_le_bytes());
}

/// Out of every file if it cannot be counted.
fn range(offset: u64, bytes: u64) -> Range<usize> {
    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    at(offset)..at(offset.saturating_add(bytes))
}
