//! Where the log ends, and what counts.
//!
//! The segments are followed from the newest back to one in which a complete checkpoint begins; the checkpoint's
//! table names the older ones that count besides. Where the batches stop before they should, `s` is the number of the
//! first that is missing and `M` the greatest `durable_seq` in any header that is sound in itself:
//!
//! | case | found                                                | M < s                          | M >= s |
//! |-----:|------------------------------------------------------|--------------------------------|--------|
//! |    1 | the newest segment stops                             | the end of the log             | a hole |
//! |    2 | a segment stops before its successor's `previous_*`  | torn: successors are dropped   | a hole |
//! |    3 | a segment stops before the table's `last_batch_seq`  | torn: successors are dropped   | a hole |
//! |    4 | a predecessor is not there (`s` = its last batch)    | torn: successors are dropped   | rot    |
//! |    5 | no segment has a sound header (`s` = 1)              | a new log                      | rot    |
//! |    6 | a segment in the table is not there (as case 4)      | torn: successors are dropped   | a hole |
//! |    7 | history and chain do not match                       | rot                            | rot    |
//! |    8 | the body of a record is not what was written         | as if its batch were missing   | a loss |
//!
//! Rot ends the start: votes may be gone, which no peer can give back. What is in a hole (`holes.rs`), or was in a body, they can.
//! A table's body is as good as the hard states. A block that the disk refuses to read is not what was written; but no end is
//! inferred from one: it may hold what was acknowledged last, or what tells that it was.
//!
//! After a torn end is found the search starts anew from there, for the checkpoint may lie behind it. That a segment
//! is missing because it was used again cannot be: it is used again only when a durable checkpoint leaves it out.

use std::{collections::BTreeMap, path::Path};

use raft::{GroupId, Index, Term};
use runtime::File;

use crate::{
    Loss, OpenError,
    format::{BLOCK_U64, RecordHeader, RecordKind, SegmentRow, batch_flags},
    holes::{Hole, Older},
    indexed::Indexed,
    lost::{Lost, LostRows},
    scan::{Scanned, Walk},
    survey::{Found, Survey, check_read, io_error},
};

/// A segment that counts, with the batches up to `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) segment: u64,
    pub(crate) limit: u64,
}

/// What the log consists of.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// Oldest first; none for a new log.
    pub(crate) segments: Vec<Counted>,
    /// The first and the last batch of the newest complete checkpoint.
    pub(crate) checkpoint: Option<(u64, u64)>,
    /// Bytes of batches that were never acknowledged and are dropped.
    pub(crate) torn_bytes: u64,
    /// What should be there and cannot be read.
    pub(crate) losses: Vec<Loss>,
    /// Batches before the checkpoint cannot be read.
    pub(crate) has_holes: bool,
    /// What was in these.
    pub(crate) lost_rows: LostRows,
    /// Batches behind it cannot be read.
    pub(crate) has_late_holes: bool,
    /// Segments that were not walked.
    pub(crate) indexed: BTreeMap<u64, Indexed>,
    /// Slots of segments that should be there and are not.
    pub(crate) lost_slots: Vec<u64>,
}

enum Attempt {
    Complete(Extent),
    /// Everything newer than this segment is torn off; none: everything.
    TornAt(Option<u64>),
}

/// Finds the extent of the log. Leaves in `survey` the walks of all segments that count.
pub(crate) async fn extent<F: File>(survey: &mut Survey<F>, dir: &Path) -> Result<Extent, OpenError> {
    let mut top = survey.segments.keys().next_back().copied();
    let mut torn_bytes = 0;
    while let Some(newest) = top {
        match attempt(survey, dir, newest).await? {
            Attempt::Complete(mut extent) => {
                extent.torn_bytes = torn_bytes + survey.walk(newest).stray_bytes;
                survey.check_unreadable(&extent.lost_slots)?;
                return Ok(extent);
            }
            Attempt::TornAt(at) => {
                runtime::mark!("log.torn.again");
                survey.check_all_read()?;
                let dropped = survey.segments.range(at.map_or(0, |at| at + 1)..=newest);
                torn_bytes +=
                    dropped.filter_map(|(_, found)| found.walk.as_ref()).map(sound_bytes).sum::<u64>();
                top = at;
            }
        }
    }
    // Case 5.
    survey.check_unreadable(&[])?;
    if survey.durable_max > 0 {
        runtime::mark!("log.case5.rot");
        let path = survey.headless.first().map_or(dir, |headless| &headless.slot.path);
        let what = format!("no segment can be read, though batch {} was durable", survey.durable_max);
        return Err(OpenError::Damaged { path: path.to_owned(), offset: 0, what });
    }
    runtime::mark!("log.case5.new");
    Ok(Extent { torn_bytes, ..Extent::default() })
}

fn sound_bytes(walk: &Walk) -> u64 {
    walk.end_offset() - crate::format::BLOCK_U64 + walk.stray_bytes
}

/// Case 1: where the newest segment, `top`, ends, past what cannot be read but was durable.
async fn find_end<F: File>(survey: &mut Survey<F>, top: u64, holes: &mut Vec<Hole>) -> Result<(), OpenError> {
    survey.load(top).await?;
    if survey.walk(top).is_closed() {
        runtime::mark!("log.case1.closed");
    } else {
        survey.look_behind(top).await?;
    }
    survey.tear(top);
    while survey.check_not_durable(top).is_err() {
        let before = survey.walk(top).next.batch_seq;
        survey.pass_holes(top, survey.durable_max, None, holes).await?;
        if survey.walk(top).next.batch_seq == before {
            break; // nothing more can be read: to be judged below
        }
        survey.look_behind(top).await?;
        survey.tear(top);
    }
    survey.check_end_read(top)?;
    runtime::mark!("log.case1.end");
    Ok(())
}

async fn attempt<F: File>(survey: &mut Survey<F>, dir: &Path, top: u64) -> Result<Attempt, OpenError> {
    let mut holes = Vec::new();
    find_end(survey, top, &mut holes).await?;
    let mut chain = vec![Counted { segment: top, limit: u64::MAX }];
    let checkpoint = loop {
        let oldest = *chain.last().expect("starts with the newest");
        if let Some(checkpoint) = survey.newest_checkpoint(&chain) {
            break Some(checkpoint);
        }
        let header = survey.segments[&oldest.segment].header;
        let (previous, limit) = (header.previous_segment_seq, header.previous_last_seq);
        if previous == 0 {
            break None;
        }
        if !survey.segments.contains_key(&previous) {
            // Case 4.
            if survey.durable_max >= limit {
                runtime::mark!("log.case4.rot");
                let what =
                    format!("segment {previous} before it is missing, though durable to batch {limit}");
                return Err(survey.damaged(oldest.segment, 0, what));
            }
            runtime::mark!("log.case4.torn");
            return Ok(Attempt::TornAt(survey.below(oldest.segment)));
        }
        // Case 2.
        if survey.stops_before(previous, limit).await? {
            if survey.check_not_durable(previous).is_ok() {
                runtime::mark!("log.case2.torn");
                return Ok(Attempt::TornAt(Some(previous)));
            }
            let successor = survey.walk(oldest.segment).batches.first().map(|batch| batch.header);
            survey.pass_holes(previous, limit, successor, &mut holes).await?;
        }
        if survey.walk(previous).next.batch_seq > limit {
            survey.check_end(previous, limit, header.previous_end_offset, header.previous_chain)?;
        }
        chain.push(Counted { segment: previous, limit });
    };
    let mut extent = Extent { checkpoint, ..Extent::default() };
    survey.judge_holes(holes, &mut extent)?;
    let table = survey.table(&chain, checkpoint)?;
    let oldest_in_chain = chain.last().expect("starts with the newest").segment;
    for row in table.into_iter().filter(|row| row.segment_seq < oldest_in_chain) {
        match survey.older(dir, row, &chain, &mut extent).await? {
            Older::TornAt(at) => return Ok(Attempt::TornAt(at)),
            Older::Missing => {}
            Older::There => {
                extent.segments.push(Counted { segment: row.segment_seq, limit: row.last_batch_seq })
            }
        }
    }
    extent.segments.extend(chain.iter().rev());
    survey.note_damaged_bodies(&mut extent);
    Ok(Attempt::Complete(extent))
}

/// What `record` says, in words.
fn said_of(record: &RecordHeader) -> String {
    let group = GroupId(u32::try_from(record.group).expect("checked by decode_directory"));
    let (first, term) = (Index(record.first_index), Term(record.term));
    match RecordKind::from_byte(record.kind) {
        Some(RecordKind::Entries) => Lost::record(group, first, record.count, term).to_string(),
        Some(RecordKind::Snapshot) => format!("the snapshot of group {group} at {first}"),
        Some(RecordKind::CheckpointRow) => format!("the checkpoint's row of group {group}"),
        _ => format!("a record of group {group}"),
    }
}

impl<F: File> Survey<F> {
    pub(crate) fn walk(&self, segment: u64) -> &Walk {
        self.segments[&segment].walk.as_ref().expect("every segment that counts was walked")
    }

    /// The sound batches of `counted`.
    pub(crate) fn batches(&self, counted: Counted) -> &[Scanned] {
        // What has an index is not walked.
        let walk = self.segments[&counted.segment].walk.as_ref();
        walk.map_or(&[], |walk| walk.up_to(counted.limit))
    }

    /// The newest segment older than `segment`.
    pub(crate) fn below(&self, segment: u64) -> Option<u64> {
        self.segments.range(..segment).next_back().map(|(seq, _)| *seq)
    }

    pub(crate) async fn load(&mut self, segment: u64) -> Result<(), OpenError> {
        let durable = self.durable_max;
        let found = self.segments.get_mut(&segment).expect("the caller saw it");
        if found.walk.is_some() {
            return Ok(());
        }
        let Found { slot, header, .. } = &*found;
        // The newest segments are verified to the last byte. In older ones bodies known to be durable are not: their
        // damage is found when they are read.
        let walk = Walk::of(&slot.file, header, durable).await.map_err(io_error("reading", &slot.path))?;
        let (seq_max, durable_max, epoch) = (walk.seq_max, walk.durable_max, header.boot_epoch);
        let read = walk.read_bytes;
        found.walk = Some(walk);
        self.count_read(read);
        self.see(segment, seq_max, durable_max, epoch);
        Ok(())
    }

    pub(crate) async fn look_behind(&mut self, segment: u64) -> Result<(), OpenError> {
        let found = self.segments.get_mut(&segment).expect("the caller saw it");
        let walk = found.walk.as_mut().expect("loaded before");
        let before = walk.read_bytes;
        walk.look_behind(&found.slot.file, found.slot.file_bytes)
            .await
            .map_err(io_error("reading", &found.slot.path))?;
        let (read, seq_max, durable_max) = (walk.read_bytes - before, walk.seq_max, walk.durable_max);
        self.count_read(read);
        self.see(segment, seq_max, durable_max, 0);
        Ok(())
    }

    /// Case 8: bodies that count and are not what was written.
    fn note_damaged_bodies(&self, extent: &mut Extent) {
        for counted in &extent.segments {
            let path = &self.segments[&counted.segment].slot.path;
            for batch in self.batches(*counted) {
                for (record, invalid) in batch.damaged() {
                    runtime::mark!("log.case8.loss");
                    let offset = u64::from(batch.header.block) * BLOCK_U64 + u64::from(record.body_offset);
                    let what = format!("{}: {}", said_of(record), invalid.what);
                    extent.losses.push(Loss { path: path.clone(), offset, what });
                }
            }
        }
    }

    /// Files that are no segments, in other slots than those of segments that a hole leaves out. Nobody knows what they were.
    fn check_unreadable(&self, lost_slots: &[u64]) -> Result<(), OpenError> {
        let unknown = self.unreadable.iter().find(|slot| !lost_slots.contains(&slot.number));
        let Some(slot) = unknown else { return Ok(()) };
        let what = "this is no segment header, not even half of one".to_owned();
        Err(OpenError::Damaged { path: slot.path.clone(), offset: 0, what })
    }

    /// That some blocks cannot be read says nothing about what is in them: an end of the log that they could hide is none.
    fn check_end_read(&self, segment: u64) -> Result<(), OpenError> {
        let walk = self.walk(segment);
        let path = &self.segments[&segment].slot.path;
        if walk.is_end_refused() { check_read(&walk.refused, path) } else { Ok(()) }
    }

    /// As before a segment is torn off: all that could tell that it was durable was read.
    fn check_all_read(&self) -> Result<(), OpenError> {
        let walks = self.segments.values().filter_map(|found| Some((found.walk.as_ref()?, &found.slot.path)));
        walks.into_iter().try_for_each(|(walk, path)| check_read(&walk.refused, path))
    }

    pub(crate) fn tear(&mut self, segment: u64) {
        let durable = self.durable_max;
        let found = self.segments.get_mut(&segment).expect("the caller saw it");
        found.walk.as_mut().expect("loaded before").tear(durable);
    }

    /// Whether `segment` stops before `last`. If so, what lies behind the stop was looked at.
    pub(crate) async fn stops_before(&mut self, segment: u64, last: u64) -> Result<bool, OpenError> {
        self.load(segment).await?;
        self.tear(segment);
        let stops = self.walk(segment).next.batch_seq <= last;
        if stops {
            self.look_behind(segment).await?;
        }
        Ok(stops)
    }

    /// The batch where `segment` stops was never durable, or this is rot.
    pub(crate) fn check_not_durable(&self, segment: u64) -> Result<(), OpenError> {
        let walk = self.walk(segment);
        let missing = walk.next.batch_seq;
        let torn = self.durable_max < missing || runtime::mutant!("log.damage_taken_for_torn");
        if torn && !runtime::mutant!("log.torn_taken_for_damage") {
            return Ok(());
        }
        runtime::mark!("log.stop.rot");
        let why = walk.stop.as_ref().map_or("the segment ends", |stop| stop.what);
        let durable = self.durable_max;
        let what = format!("batch {missing} is not there ({why}), though batches to {durable} were durable");
        match self.headless.iter().find(|headless| headless.first_batch_seq == missing) {
            Some(headless) => Err(OpenError::Damaged { path: headless.slot.path.clone(), offset: 0, what }),
            None => Err(self.damaged(segment, walk.end_offset(), what)),
        }
    }

    /// Case 7: `segment` ends where others say it does.
    pub(crate) fn check_end(
        &self,
        segment: u64,
        limit: u64,
        offset: u64,
        chain: u32,
    ) -> Result<(), OpenError> {
        let end = self.walk(segment).end_at(&self.segments[&segment].header, limit);
        if (end.offset, end.chain, end.last_seq) == (offset, chain, limit) {
            return Ok(());
        }
        let what = format!("it ends with batch {}, another history than the one recorded", end.last_seq);
        Err(self.damaged(segment, end.offset, what))
    }

    fn damaged(&self, segment: u64, offset: u64, what: String) -> OpenError {
        OpenError::Damaged { path: self.segments[&segment].slot.path.clone(), offset, what }
    }

    /// The newest complete checkpoint in `chain`, which runs from the newest segment back.
    fn newest_checkpoint(&self, chain: &[Counted]) -> Option<(u64, u64)> {
        let mut end = None;
        let mut before = 0;
        for header in
            chain.iter().flat_map(|counted| self.batches(*counted).iter().rev()).map(|batch| &batch.header)
        {
            if header.batch_seq + 1 != before {
                end = None; // a batch of it may be missing
            }
            before = header.batch_seq;
            if header.flags & batch_flags::CHECKPOINT_END != 0 && end.is_none() {
                end = Some(header.batch_seq);
            }
            if header.flags & batch_flags::CHECKPOINT_BEGIN != 0
                && let Some(end) = end
            {
                return Some((header.batch_seq, end));
            }
        }
        None
    }

    /// The segment table of `checkpoint`, which begins in `chain`.
    fn table(&self, chain: &[Counted], checkpoint: Option<(u64, u64)>) -> Result<Vec<SegmentRow>, OpenError> {
        let Some((begin, _)) = checkpoint else { return Ok(Vec::new()) };
        let is_begin = |batch: &&Scanned| batch.header.batch_seq == begin;
        let found = chain.iter().find_map(|counted| {
            let batch = self.batches(*counted).iter().find(is_begin)?;
            Some((counted.segment, batch))
        });
        let Some((segment, batch)) = found else { return Ok(Vec::new()) };
        let is_table = |kind: u8| kind == RecordKind::SegmentTable.byte();
        let Some(at) = batch.records.iter().position(|record| is_table(record.kind)) else {
            return Ok(Vec::new());
        };
        let count = crate::format::usize_of(batch.records[at].count);
        let rows = batch.body(at).chunks_exact(size_of::<SegmentRow>());
        let rows: Vec<SegmentRow> = rows.take(count).map(bytemuck::pod_read_unaligned).collect();
        let ascend = rows.is_sorted_by(|row, next| row.segment_seq < next.segment_seq);
        if batch.is_damaged(at) || !ascend {
            let offset = u64::from(batch.header.block) * BLOCK_U64;
            let what = format!("the segment table of checkpoint {begin} is not what was written");
            return Err(self.damaged(segment, offset, what));
        }
        Ok(rows)
    }
}
