//! What a start believes though no header says that it was durable is written once more.
//!
//! A sync that fails may drop what it was to make durable, and a later one says that all is well (Rebello et al., "Can
//! applications recover from fsync failures?", ATC 2020). The process that saw it fail has ended; this one sees the bytes, syncs
//! without an error, and would build on what the next power cut takes away. Only a write of its own makes sure.

use runtime::File;

use crate::{
    OpenError,
    format::{BLOCK_U64, usize_of},
    recover::Extent,
    survey::{Survey, io_error},
};

/// Bytes in one write.
const PIECE_BYTES: u64 = 1 << 20;

/// Writes all that counts behind the durable mark again, in its place: a few batches, what was under way when the last process
/// ended. A power cut in the midst of it changes nothing, since every sector stays what it is.
///
/// # Errors
/// [`OpenError::Io`]: what the disk says.
pub(crate) async fn rewrite<F: File>(survey: &Survey<F>, extent: &Extent) -> Result<(), OpenError> {
    for counted in &extent.segments {
        let found = &survey.segments[&counted.segment];
        let Some(walk) = &found.walk else { continue }; // of an index, all of which was durable
        let batches = walk.batches.iter().map(|batch| &batch.header);
        let mut unsure = batches
            .filter(|header| header.batch_seq > survey.durable_max && header.batch_seq <= counted.limit);
        let Some(first) = unsure.next() else { continue };
        // The header of a segment is as sure as its first batch.
        let is_whole = first.batch_seq == found.header.first_batch_seq;
        let mut offset = if is_whole { 0 } else { u64::from(first.block) * BLOCK_U64 };
        let end = walk.end_at(&found.header, counted.limit).offset;
        let (file, path) = (&found.slot.file, &found.slot.path);
        while offset < end {
            let bytes = usize_of(u32::try_from(PIECE_BYTES.min(end - offset)).expect("a piece is small"));
            let data = file.read_at(offset, bytes).await.map_err(io_error("reading", path))?;
            file.write_durable(offset, data).await.map_err(io_error("writing again", path))?;
            offset += bytes as u64;
        }
    }
    Ok(())
}
