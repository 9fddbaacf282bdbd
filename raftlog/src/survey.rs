//! The first look at a log's directory: which files there are and what their first blocks say.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use runtime::{Disk, File};

use crate::{
    OpenError, Options, Progress,
    format::{
        BLOCK, BLOCK_U64, BatchHeader, Identity, SegmentHeader, could_be_torn, decode_batch_header,
        decode_segment_header, looks_unused,
    },
    salvage,
    scan::Walk,
    segments::{Slot, slot_number},
};

/// A file with a sound header.
pub(crate) struct Found<F> {
    pub(crate) slot: Slot<F>,
    pub(crate) header: SegmentHeader,
    /// What is in it, once it was read.
    pub(crate) walk: Option<Walk>,
}

/// A file whose header is unreadable, or older than its first batch: a torn roll, or rot. What was durable elsewhere
/// tells which.
pub(crate) struct Headless<F> {
    pub(crate) slot: Slot<F>,
    /// The number of the first batch in it.
    pub(crate) first_batch_seq: u64,
}

/// All files of a log.
pub(crate) struct Survey<F> {
    /// By segment number.
    pub(crate) segments: BTreeMap<u64, Found<F>>,
    pub(crate) headless: Vec<Headless<F>>,
    pub(crate) unused: Vec<Slot<F>>,
    /// Files whose front is neither a segment's nor what a torn write leaves.
    pub(crate) unreadable: Vec<Slot<F>>,
    /// Everything up to here was durable once, by what some header says.
    pub(crate) durable_max: u64,
    /// The greatest batch number seen.
    pub(crate) batch_max: u64,
    /// The greatest segment number seen.
    pub(crate) segment_max: u64,
    pub(crate) epoch_max: u64,
    pub(crate) slot_max: u64,
    pub(crate) read_bytes: u64,
    /// Segments that have an index are not walked.
    pub(crate) use_indexes: bool,
    progress: Progress,
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}

impl<F: File> Survey<F> {
    /// Opens every slot, syncs it (what a killed process wrote may be seen but not yet be durable), reads its front.
    pub(crate) async fn of<D: Disk<File = F>>(
        disk: &D,
        dir: &Path,
        options: &Options,
    ) -> Result<Survey<F>, OpenError> {
        let mut survey = Survey {
            segments: BTreeMap::new(),
            headless: Vec::new(),
            unused: Vec::new(),
            unreadable: Vec::new(),
            durable_max: 0,
            batch_max: 0,
            segment_max: 0,
            epoch_max: 0,
            slot_max: 0,
            read_bytes: 0,
            use_indexes: options.uses_indexes,
            progress: options.progress.clone(),
        };
        for name in disk.list(dir).await.map_err(io_error("listing", dir))? {
            let path = dir.join(&name);
            if name.ends_with(".tmp") {
                disk.remove(&path).await.map_err(io_error("removing", &path))?;
            } else if let Some(number) = slot_number(&name) {
                survey.slot(disk, path, number, options).await?;
            } else {
                tracing::warn!(path = %path.display(), "not a file of the log; left alone");
            }
        }
        disk.sync_dir(dir).await.map_err(io_error("syncing", dir))?;
        Ok(survey)
    }

    async fn slot<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        path: PathBuf,
        number: u64,
        options: &Options,
    ) -> Result<(), OpenError> {
        let (identity, segment_bytes) = (Identity::of(options), options.segment_bytes);
        let file = disk.open(&path).await.map_err(io_error("opening", &path))?;
        file.sync().await.map_err(io_error("syncing", &path))?;
        let front = file.read_at(0, 2 * BLOCK).await.map_err(io_error("reading", &path))?;
        self.count_read(front.len() as u64);
        self.slot_max = self.slot_max.max(number);
        let slot = Slot { number, file_bytes: file.file_bytes(), file, path };
        if slot.file_bytes < 2 * BLOCK_U64 || !slot.file_bytes.is_multiple_of(BLOCK_U64) {
            // Never so by an interrupted creation: a slot gets its name when it is complete.
            let (path, file_bytes) = (slot.path, slot.file_bytes);
            return Err(OpenError::Truncated { path, file_bytes, segment_bytes });
        }
        let first = front.get(BLOCK..).and_then(|block| decode_batch_header(block).ok());
        match decode_segment_header(&front) {
            Ok(header) => {
                check_header(&slot, &header, identity)?;
                self.see(
                    header.segment_seq,
                    header.first_batch_seq - 1,
                    header.durable_seq,
                    header.boot_epoch,
                );
                match first {
                    Some(first) if first.segment_seq > header.segment_seq && first.block == 1 => {
                        self.headless(slot, &first).await
                    }
                    _ => self.found(slot, header),
                }
            }
            Err(invalid) if invalid.intact => {
                Err(OpenError::Unsupported { path: slot.path, offset: 0, what: invalid.what })
            }
            Err(_) => match first {
                Some(first) if first.block == 1 => self.headless(slot, &first).await,
                _ if !could_be_torn(front.get(..BLOCK).unwrap_or_default()) => {
                    self.unreadable.push(slot);
                    Ok(())
                }
                _ => {
                    if !looks_unused(front.get(..BLOCK).unwrap_or_default()) {
                        tracing::warn!(path = %slot.path.display(), "a segment header that was never whole");
                    }
                    self.unused.push(slot);
                    Ok(())
                }
            },
        }
    }

    fn found(&mut self, slot: Slot<F>, header: SegmentHeader) -> Result<(), OpenError> {
        let path = slot.path.clone();
        let found = Found { slot, header, walk: None };
        match self.segments.insert(header.segment_seq, found) {
            None => Ok(()),
            Some(other) => Err(OpenError::Damaged {
                path,
                offset: 0,
                what: format!("it has the same segment number as {}", other.slot.path.display()),
            }),
        }
    }

    async fn headless(&mut self, slot: Slot<F>, first: &BatchHeader) -> Result<(), OpenError> {
        let walk = Walk::without_header(&slot.file, first, slot.file_bytes)
            .await
            .map_err(io_error("reading", &slot.path))?;
        self.count_read(walk.read_bytes);
        check_read(&walk.refused, &slot.path)?; // it is judged by what is in it
        self.see(first.segment_seq, walk.seq_max, walk.durable_max, first.boot_epoch);
        self.headless.push(Headless { slot, first_batch_seq: first.batch_seq });
        Ok(())
    }

    pub(crate) fn count_read(&mut self, bytes: u64) {
        self.read_bytes += bytes;
        self.progress.add(bytes);
    }

    pub(crate) fn see(&mut self, segment: u64, batch: u64, durable: u64, epoch: u64) {
        self.segment_max = self.segment_max.max(segment);
        self.batch_max = self.batch_max.max(batch);
        self.durable_max = self.durable_max.max(durable);
        self.epoch_max = self.epoch_max.max(epoch);
    }
}

/// An error if the disk refused to read blocks of the file that would have told what counts.
pub(crate) fn check_read(refused: &BTreeSet<u64>, path: &Path) -> Result<(), OpenError> {
    match refused.first() {
        None => Ok(()),
        Some(_) => Err(io_error("reading", path)(salvage::refusal())),
    }
}

fn check_header<F>(slot: &Slot<F>, header: &SegmentHeader, identity: Identity) -> Result<(), OpenError> {
    if let Some(what) = identity.difference(header) {
        return Err(OpenError::Foreign { path: slot.path.clone(), what });
    }
    if header.slot != slot.number {
        let what = format!("it was slot {} when it was written: files were swapped or renamed", header.slot);
        return Err(OpenError::Foreign { path: slot.path.clone(), what });
    }
    if header.segment_bytes != slot.file_bytes {
        return Err(OpenError::Truncated {
            path: slot.path.clone(),
            file_bytes: slot.file_bytes,
            segment_bytes: header.segment_bytes,
        });
    }
    Ok(())
}
