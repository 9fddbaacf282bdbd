//! Every byte that counts, against its checksums: also the bodies of old segments, which a start does not read.

use std::{io, path::PathBuf};

use super::{Inspection, RecordView, batch_bytes, view};
use crate::format::{BLOCK_U64, verify_bodies};

/// What a log that was verified holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Batches that count.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes, padding included.
    pub bytes: u64,
    /// Records whose bodies are not what was written.
    pub damaged: Vec<Damage>,
}

/// A body that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whose.
    pub record: RecordView,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Inspection {
    /// Reads all batches that count and checks every body. What a damaged record held is named exactly: its entries may be
    /// gone on this node, and nothing else is.
    ///
    /// # Errors
    /// A file cannot be read: which one, and why. Nothing is known about the rest.
    pub fn verify(&self) -> Result<Verified, (PathBuf, io::Error)> {
        let mut verified = Verified::default();
        for (path, file, batch) in self.batches() {
            let bytes = batch_bytes(file, batch).map_err(|error| (path.to_owned(), error))?;
            for record in &batch.records {
                if let Err(invalid) = verify_bodies(&bytes, std::slice::from_ref(record)) {
                    verified.damaged.push(Damage { record: view(path, batch, record), what: invalid.what });
                }
            }
            verified.batches += 1;
            verified.records += batch.records.len() as u64;
            verified.bytes += u64::from(batch.header.blocks) * BLOCK_U64;
        }
        Ok(verified)
    }
}
