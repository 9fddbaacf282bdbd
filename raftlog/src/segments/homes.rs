//! Which segment a batch stands in, and where.
//!
//! Records know their batch only: of a batch of a thousand groups none has to be looked up again when it is issued.

use std::collections::BTreeMap;

use super::{Segment, Segments};
use crate::{BatchSeq, group::Record};

/// Where a batch stands in its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// In blocks; 0 is nobody's, for the segment's header stands there.
    pub(crate) block: u32,
    /// What its records' body offsets count from, in bytes from the batch's start.
    pub(crate) bodies_start: u32,
}

/// The batches of one segment, from the first on without a gap.
#[derive(Debug)]
pub(super) struct Spots {
    first: BatchSeq,
    spots: Vec<Spot>,
}

impl Spots {
    /// Of a segment that begins with batch `first`.
    pub(super) fn new(first: BatchSeq) -> Spots {
        Spots { first, spots: Vec::new() }
    }

    fn get(&self, batch: BatchSeq) -> Option<Spot> {
        let at = usize::try_from(batch.0.checked_sub(self.first.0)?).ok()?;
        self.spots.get(at).copied().filter(|spot| spot.block > 0)
    }
}

impl<F> Segment<F> {
    /// The first batch in it, or that is to be in it.
    pub(crate) fn first_batch(&self) -> BatchSeq {
        self.spots.first
    }

    /// `batch`, which is in it, stands at `spot`.
    pub(crate) fn set_spot(&mut self, batch: BatchSeq, spot: Spot) {
        let at = usize::try_from(batch.0 - self.spots.first.0).expect("a segment holds few batches");
        let spots = &mut self.spots.spots;
        spots.resize(spots.len().max(at + 1), Spot::default());
        spots[at] = spot;
    }

    /// Whether `batch` is one of its batches.
    pub(crate) fn holds(&self, batch: BatchSeq) -> bool {
        (self.spots.first..=self.last_batch_seq).contains(&batch)
    }
}

/// Records that died before their batch was issued, by batch: how many, and what their bodies take.
pub(super) type WaitingDead = BTreeMap<BatchSeq, (u64, u64)>;

impl<F: runtime::File> Segments<F> {
    /// The segment that `batch` stands in; `None` until it is issued.
    pub(crate) fn home(&self, batch: BatchSeq) -> Option<u64> {
        let after = self.homes.partition_point(|(first, _)| *first <= batch);
        let (_, seq) = self.homes.get(after.checked_sub(1)?)?;
        self.live.get(seq).filter(|segment| segment.holds(batch)).map(|segment| segment.seq)
    }

    /// The segment that the issued `batch` stands in, and where in it.
    pub(crate) fn find(&self, batch: BatchSeq) -> (&Segment<F>, Spot) {
        let segment = self.home(batch).and_then(|seq| self.live.get(&seq));
        let segment = segment.expect("a segment with live records is live");
        (segment, segment.spots.get(batch).expect("it was noted when the batch was issued, or read"))
    }

    /// `record`, found at a start, lives.
    pub(crate) fn revive(&mut self, record: &Record) {
        let home = self.home(record.batch).and_then(|seq| self.live.get_mut(&seq));
        let segment = home.expect("segments with records count");
        segment.has_moved |= record.moved;
        segment.live_records += 1;
        segment.live_bytes += u64::from(record.body_bytes);
    }

    /// `record` died by what is in batch `by`.
    pub(crate) fn release(&mut self, record: &Record, by: BatchSeq) {
        let bytes = u64::from(record.body_bytes);
        let Some(home) = self.home(record.batch) else {
            let (records, dead_bytes) = self.waiting_dead.entry(record.batch).or_default();
            *records += 1;
            *dead_bytes += bytes;
            return;
        };
        let segment = self.live.get_mut(&home).expect("just found");
        segment.live_records -= 1;
        segment.live_bytes -= bytes;
        segment.dying_since = segment.dying_since.max(by);
    }

    /// `record` lives elsewhere by what is in batch `by`: that says nothing of when the others of its segment die.
    pub(crate) fn moved_out(&mut self, record: &Record, by: BatchSeq) {
        self.release(record, by);
        if let Some(segment) = self.home(record.batch).and_then(|seq| self.live.get_mut(&seq)) {
            segment.live_bytes_before =
                segment.live_bytes_before.saturating_sub(u64::from(record.body_bytes));
        }
    }

    /// The records of `batch`, which is issued now, that died while it waited: how many, and what their bodies take.
    pub(crate) fn take_waiting_dead(&mut self, batch: BatchSeq) -> (u64, u64) {
        self.waiting_dead.remove(&batch).unwrap_or_default()
    }
}
