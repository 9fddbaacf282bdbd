//! Looking into a log that nobody writes, for tools: what a start would make of it, and every record in it.
//!
//! Nothing is changed, by construction: files are opened for reading only, and what recovery asks of the disk beyond reads
//! is refused or left undone. It is recovery's own code that decides what counts, so tool and start agree.

mod verify;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use raft::{Check, EntryId, EntryKind, GroupId, Index, NodeId, Term, entries};
use runtime::{File, ReadDisk, ReadFile};

use crate::{
    OpenError, Options, Recovered,
    format::{BLOCK, BLOCK_U64, RecordHeader, RecordKind, record_flags, usize_of},
    open::describe,
    recover::{Extent, extent},
    replay::replay,
    salvage,
    scan::Scanned,
    survey::Survey,
};

pub use verify::{Damage, Verified};

/// A log as it lies on the disk.
pub struct Inspection {
    survey: Survey<ReadFile>,
    extent: Extent,
    recovered: Recovered,
}

/// What a slot file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its segment counts.
    Live,
    /// What is in it is not needed any more, or was never acknowledged.
    Free,
}

/// One slot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// The file.
    pub path: PathBuf,
    /// Its number.
    pub slot: u64,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// Whether it counts.
    pub state: SlotState,
    /// Its segment's number; 0 for one that never held a segment, or whose header is gone.
    pub segment: u64,
    /// The start that wrote the segment.
    pub boot_epoch: u64,
    /// The first batch, and the last one that counts; only of a live slot.
    pub batches: Option<(u64, u64)>,
    /// Where the last batch that counts ends, in bytes; 0 if none does.
    pub end_offset: u64,
}

/// One record of a batch that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// The file it stands in.
    pub path: PathBuf,
    /// The batch.
    pub batch: u64,
    /// Where in the file the batch begins, in bytes.
    pub batch_offset: u64,
    /// Where in the file the record's body begins, in bytes.
    pub body_offset: u64,
    /// How long it is, in bytes.
    pub body_bytes: u64,
    /// The group; 0 too for what concerns no group.
    pub group: GroupId,
    /// The incarnation of the replica that wrote it.
    pub incarnation: u32,
    /// What it says.
    pub said: Said,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Entries `first ..= last`, all of this term. A later record may have replaced them.
    Entries {
        /// The term.
        term: Term,
        /// The first index.
        first: Index,
        /// The last index.
        last: Index,
    },
    /// Term, vote and commit index.
    HardState {
        /// The term.
        term: Term,
        /// Whom the replica voted for.
        vote: Option<NodeId>,
        /// The commit index, as far as it was worth a note.
        commit: Index,
    },
    /// Everything up to this entry is dropped.
    Compact(EntryId),
    /// A snapshot at this entry.
    Snapshot(EntryId),
    /// The state of a group at a checkpoint: term and vote.
    CheckpointRow {
        /// The term.
        term: Term,
        /// Whom the replica voted for.
        vote: Option<NodeId>,
    },
    /// Everything from this index on could not be read any more; 0: not even the snapshot.
    Truncate(Index),
    /// The segments that a checkpoint counts on.
    SegmentTable,
    /// What lives in one of them.
    SegmentIndex,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Its id.
    pub id: EntryId,
    /// What it is.
    pub kind: EntryKind,
    /// Its command.
    pub command: Vec<u8>,
}

impl Inspection {
    /// Reads the log in `dir` as a start would. `options` say whose it must be; its sizes do not matter.
    ///
    /// # Errors
    /// [`OpenError`], as [`Log::open`](crate::Log::open) would give it: file and offset are in it. A directory that is not
    /// there is an error, too.
    pub fn of(dir: &Path, options: &Options) -> Result<Inspection, OpenError> {
        let mut survey = ReadDisk::answer(Survey::of(&ReadDisk, dir, options))?;
        survey.use_indexes = false; // all of it is looked at
        let extent = ReadDisk::answer(extent(&mut survey, dir))?;
        let mut replayed = replay(&survey, &extent);
        let recovered = describe(dir, &mut replayed, &survey, &extent)?;
        Ok(Inspection { survey, extent, recovered })
    }

    /// Every group as of the end of the log, and what recovery saw.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Every slot file, by number.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotView> {
        let live: BTreeMap<u64, u64> =
            self.extent.segments.iter().map(|counted| (counted.segment, counted.limit)).collect();
        let mut slots = Vec::new();
        for (segment, found) in &self.survey.segments {
            let end = live.get(segment).map(|limit| self.survey.walk(*segment).end_at(&found.header, *limit));
            slots.push(SlotView {
                state: if end.is_some() { SlotState::Live } else { SlotState::Free },
                segment: *segment,
                boot_epoch: found.header.boot_epoch,
                batches: end.map(|end| (found.header.first_batch_seq, end.last_seq)),
                end_offset: end.map_or(0, |end| end.offset),
                ..blank(&found.slot)
            });
        }
        let headless = self.survey.headless.iter().map(|headless| &headless.slot);
        slots.extend(headless.chain(&self.survey.unused).chain(&self.survey.unreadable).map(blank));
        slots.sort_unstable_by_key(|slot| slot.slot);
        slots
    }

    /// Hands out every record of every batch that counts, in the order they were written, until `each` says no.
    pub fn records(&self, mut each: impl FnMut(RecordView) -> bool) {
        for (path, _, batch) in self.batches() {
            for record in &batch.records {
                if !each(view(path, batch, record)) {
                    return;
                }
            }
        }
    }

    /// The entries of a record that holds some, verified; none of any other.
    ///
    /// # Errors
    /// The file cannot be read, or the bytes are not what was written: `InvalidData`.
    pub fn entries_of(&self, record: &RecordView) -> io::Result<Vec<EntryView>> {
        if !matches!(record.said, Said::Entries { .. }) {
            return Ok(Vec::new());
        }
        let file = ReadDisk::answer(runtime::Disk::open(&ReadDisk, &record.path))?;
        let len = usize::try_from(record.body_bytes).map_err(io::Error::other)?;
        let body = ReadDisk::answer(file.read_at(record.body_offset, len))?;
        let mut list = Vec::new();
        for entry in entries(&body, Check::Checksum) {
            let entry =
                entry.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            list.push(EntryView { id: entry.id, kind: entry.kind, command: entry.command.to_vec() });
        }
        Ok(list)
    }

    /// Every batch that counts, with its file.
    fn batches(&self) -> impl Iterator<Item = (&Path, &ReadFile, &Scanned)> {
        self.extent.segments.iter().flat_map(|counted| {
            let slot = &self.survey.segments[&counted.segment].slot;
            let batches = self.survey.batches(*counted).iter();
            batches.map(move |batch| (slot.path.as_path(), &slot.file, batch))
        })
    }
}

fn blank<F>(slot: &crate::segments::Slot<F>) -> SlotView {
    SlotView {
        path: slot.path.clone(),
        slot: slot.number,
        file_bytes: slot.file_bytes,
        state: SlotState::Free,
        segment: 0,
        boot_epoch: 0,
        batches: None,
        end_offset: 0,
    }
}

fn view(path: &Path, batch: &Scanned, record: &RecordHeader) -> RecordView {
    let batch_offset = u64::from(batch.header.block) * BLOCK_U64;
    let id = EntryId::new(Term(record.term), Index(record.first_index));
    let vote = (record.flags & record_flags::HAS_VOTE != 0).then_some(NodeId(record.aux));
    let said = match RecordKind::from_byte(record.kind).expect("checked by decode_directory") {
        RecordKind::Entries => Said::Entries {
            term: id.term,
            first: id.index,
            last: Index(record.first_index + u64::from(record.count) - 1),
        },
        RecordKind::HardState => Said::HardState { term: id.term, vote, commit: Index(record.commit) },
        RecordKind::Compact => Said::Compact(id),
        RecordKind::Snapshot => Said::Snapshot(id),
        RecordKind::Truncate => Said::Truncate(id.index),
        RecordKind::CheckpointRow => Said::CheckpointRow { term: id.term, vote },
        RecordKind::SegmentTable => Said::SegmentTable,
        RecordKind::SegmentIndex => Said::SegmentIndex,
    };
    RecordView {
        path: path.to_owned(),
        batch: batch.header.batch_seq,
        batch_offset,
        body_offset: batch_offset + u64::from(record.body_offset),
        body_bytes: u64::from(record.body_bytes),
        group: GroupId(u32::try_from(record.group).expect("checked by decode_directory")),
        incarnation: record.incarnation,
        said,
    }
}

/// The whole batch, as it is on the disk.
fn batch_bytes(file: &ReadFile, batch: &Scanned) -> io::Result<runtime::Buffer> {
    let offset = u64::from(batch.header.block) * BLOCK_U64;
    let read = salvage::read(file, offset, usize_of(batch.header.blocks) * BLOCK, usize::MAX);
    Ok(ReadDisk::answer(read)?.bytes)
}
