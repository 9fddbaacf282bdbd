//! What cannot be read though it was durable, and where a start goes on behind it.
//!
//! A **hole** is a run of batches that cannot be read. Before the checkpoint it takes entries only (see `doubt.rs`). Behind it,
//! it may take everything that a batch can say. Of one batch that is not too much: the next one repeats the hard states that
//! changed in it, so all groups know their terms and votes, and get the rest from their leaders. Of more it is: nobody can give
//! back a vote.

use std::path::Path;

use runtime::File;

use crate::{
    Loss, Lost, OpenError,
    format::{BLOCK_U64, BatchHeader, SegmentRow, batch_flags},
    recover::{Counted, Extent},
    segments::slot_name,
    survey::{Survey, io_error},
};

/// Batches that should be there and cannot be read.
#[derive(Debug)]
pub(crate) struct Hole {
    /// The number of the first.
    missing: u64,
    /// The first batch behind them, if there is one.
    next: Option<BatchHeader>,
    loss: Loss,
}

impl Hole {
    /// Whether what comes next says all about terms and votes that was lost. (What a checkpoint's batches hold is repeated by
    /// none; but they do not change anything, and the batch before them is there.)
    fn is_repeated(&self) -> bool {
        let in_checkpoint = |flags: u16| flags & batch_flags::CHECKPOINT != 0;
        let begins = |flags: u16| flags & batch_flags::CHECKPOINT_BEGIN != 0;
        self.next.is_some_and(|next| {
            next.batch_seq == self.missing + 1 && (!in_checkpoint(next.flags) || !begins(next.flags))
        })
    }
}

/// What became of a segment that a checkpoint's table names.
pub(crate) enum Older {
    There,
    Missing,
    TornAt(Option<u64>),
}

impl<F: File> Survey<F> {
    /// Goes on behind what cannot be read in `segment` of the batches up to `limit`, all of which were durable. `successor` is what
    /// comes behind the segment, if there is something.
    pub(crate) async fn pass_holes(
        &mut self,
        segment: u64,
        limit: u64,
        successor: Option<BatchHeader>,
        holes: &mut Vec<Hole>,
    ) -> Result<(), OpenError> {
        let damage = self.check_not_durable(segment).err().and_then(Loss::of);
        let loss = damage.expect("the caller saw that something is missing");
        self.resume(segment, limit).await?;
        let walk = self.walk(segment);
        let found = walk.holes.iter().map(|(missing, next)| (*missing, Some(*next)));
        let is_missing = walk.next.batch_seq <= limit || runtime::mutant!("log.torn_taken_for_damage");
        let at_end = is_missing.then_some((walk.next.batch_seq, successor));
        for (missing, next) in found.chain(at_end) {
            holes.push(Hole { missing, next, loss: loss.clone() });
        }
        Ok(())
    }

    /// Whether a start can go on though there are `holes`, now that the newest checkpoint is known.
    pub(crate) fn judge_holes(&self, holes: Vec<Hole>, extent: &mut Extent) -> Result<(), OpenError> {
        let begin = extent.checkpoint.map_or(0, |(begin, _)| begin);
        for hole in holes {
            if hole.missing < begin {
                extent.has_holes = true;
                extent.lost_rows.are_some_missing = true;
            } else if hole.is_repeated() {
                runtime::mark!("log.late_hole");
                extent.has_late_holes = true;
            } else {
                return Err(hole.loss.into());
            }
            if !extent.losses.contains(&hole.loss) {
                extent.losses.push(hole.loss);
            }
        }
        Ok(())
    }

    /// Cases 3 and 6: looks for the segment of `row`. What is lost of it is noted in `extent`.
    pub(crate) async fn older(
        &mut self,
        dir: &Path,
        row: SegmentRow,
        chain: &[Counted],
        extent: &mut Extent,
    ) -> Result<Older, OpenError> {
        let (segment, limit) = (row.segment_seq, row.last_batch_seq);
        let is_there = self.segments.get(&segment).is_some_and(|found| found.slot.number == row.slot);
        if !is_there {
            if self.durable_max < limit {
                runtime::mark!("log.case6.torn");
                return Ok(Older::TornAt(self.below(segment)));
            }
            runtime::mark!("log.case6.hole");
            let what = format!("it does not hold segment {segment}, which was durable");
            extent.losses.push(Loss { path: dir.join(slot_name(row.slot)), offset: 0, what });
            extent.lost_slots.push(row.slot);
            extent.has_holes = true;
            let checkpoint = extent.checkpoint.expect("it has the row");
            match self.index_rows(&row, chain, checkpoint).await? {
                Some((rows, _)) => extent.lost_rows.rows.extend(rows),
                None => extent.lost_rows.are_some_missing = true,
            }
            return Ok(Older::Missing);
        }
        let checkpoint = extent.checkpoint.expect("it has the row");
        if self.durable_max >= limit
            && let Some(indexed) = self.read_index(&row, chain, checkpoint).await?
        {
            runtime::mark!("log.indexed");
            for at in indexed.rows.iter().filter(|at| at.memberships.is_none()).map(|at| &at.row) {
                runtime::mark!("log.case8.loss");
                let path = self.segments[&segment].slot.path.clone();
                let offset = u64::from(at.block) * BLOCK_U64 + u64::from(at.body_offset);
                let lost = Lost::record(at.group, at.first, at.count, at.term);
                let what = format!("{lost}: the configurations among them cannot be read");
                extent.losses.push(Loss { path, offset, what });
            }
            extent.indexed.insert(segment, indexed);
            return Ok(Older::There);
        }
        if self.stops_before(segment, limit).await? {
            let Err(damage) = self.check_not_durable(segment) else {
                runtime::mark!("log.case3.torn");
                return Ok(Older::TornAt(Some(segment)));
            };
            runtime::mark!("log.case3.hole");
            extent.losses.extend(Loss::of(damage));
            extent.has_holes = true;
            extent.lost_rows.are_some_missing = true;
            self.resume(segment, limit).await?;
        }
        if self.walk(segment).next.batch_seq > limit {
            self.check_end(segment, limit, row.end_offset, row.chain)?;
        }
        Ok(Older::There)
    }

    /// Goes on behind what cannot be read in `segment`, all of which was durable.
    async fn resume(&mut self, segment: u64, limit: u64) -> Result<(), OpenError> {
        let found = self.segments.get_mut(&segment).expect("the caller saw it");
        let walk = found.walk.as_mut().expect("loaded before");
        let before = walk.read_bytes;
        let resumed = walk.resume(&found.slot.file, found.slot.file_bytes, limit).await;
        let read = walk.read_bytes - before;
        resumed.map_err(io_error("reading", &found.slot.path))?;
        self.count_read(read);
        Ok(())
    }
}
