//! How full the log is, and what is done about it: which segments are emptied, and when one more checkpoint is worth its bytes.

use super::{Segment, Segments};
use crate::options::SEGMENTS_RESERVED;

/// What a segment takes besides entries, roughly: its header, a small checkpoint and index, whole blocks. Emptying half of one that
/// is hardly larger would gain nothing.
const OVERHEAD_BYTES: u64 = 16 << 10;

/// A log that holds no more than this of its cap, in percent, moves nothing: most of what it holds dies by itself.
const HALF_PERCENT: usize = 50;
/// Beyond this it pays more for a segment.
const FILLING_PERCENT: usize = 70;
/// Beyond this it moves all that gains something, and takes checkpoints of its own to have what was emptied at once.
const CROWDED_PERCENT: usize = 85;

/// What may live of a segment that is emptied, in percent, over half: one byte moved gains nine.
const HALF_LIVE_PERCENT: u64 = 10;
/// While it fills: one byte moved gains more than two.
const FILLING_LIVE_PERCENT: u64 = 30;
/// Crowded or short: one byte moved gains one. Above that each segment gained would cost more than a segment of writes.
const CROWDED_LIVE_PERCENT: u64 = 50;

/// How full a log is: what of its cap is in segments in which something lives, or that are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fullness {
    /// Nothing is done.
    Roomy,
    /// Over half: what hardly holds anything is emptied.
    Half,
    /// What is sparse is emptied.
    Filling,
    /// All that gains something is.
    Crowded,
    /// No segment can be made any more, and fewer are ready than there should be: entries are about to be refused, or are.
    Short,
}

impl Fullness {
    /// What may live of a segment that is emptied, in percent.
    fn live_percent_max(self) -> u64 {
        match self {
            Fullness::Roomy => 0,
            Fullness::Half => HALF_LIVE_PERCENT,
            Fullness::Filling => FILLING_LIVE_PERCENT,
            Fullness::Crowded | Fullness::Short => CROWDED_LIVE_PERCENT,
        }
    }
}

impl<F: runtime::File> Segments<F> {
    /// How full the log is. Segments in which nothing lives do not count: the next checkpoint frees them.
    pub(crate) fn fullness(&self) -> Fullness {
        if self.are_short() {
            return Fullness::Short;
        }
        if !self.exceeds(self.live.len(), HALF_PERCENT) {
            return Fullness::Roomy; // seen without a look at any of them
        }
        let active = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        let holds = |segment: &&Segment<F>| segment.live_records > 0 || segment.seq == active;
        let used = self.live.values().filter(holds).count();
        let tiers = [
            (CROWDED_PERCENT, Fullness::Crowded),
            (FILLING_PERCENT, Fullness::Filling),
            (HALF_PERCENT, Fullness::Half),
        ];
        let tier = tiers.into_iter().find(|(percent, _)| self.exceeds(used, *percent));
        tier.map_or(Fullness::Roomy, |(_, fullness)| fullness)
    }

    /// Whether so many segments are more than that share of all there may be.
    fn exceeds(&self, segments: usize, percent: usize) -> bool {
        segments * 100 > percent.saturating_mul(self.slots_max)
    }

    /// A segment is about to be begun. Those in which little died while the one before it was written will not be empty soon:
    /// only these are worth emptying. The others are the old end of a queue, or belong to groups that are compacted one after
    /// the other, and what is moved out of them would be dead when it arrives. Of what a start found nothing is known: it counts as
    /// settled for one segment's time, or a log that is restarted again and again would wait until segments are short.
    pub(crate) fn note_deaths(&mut self) {
        for segment in self.live.values_mut() {
            segment.is_settled = self.closed || segment.live_bytes > segment.live_bytes_before / 4 * 3;
            segment.live_bytes_before = segment.live_bytes;
        }
    }

    /// The segments to be emptied: those with the fewest live bytes, as many as have no more than `bytes` together, at least one;
    /// if it is worth it at this [`Fullness`], and not about to die. While segments are short none if a checkpoint alone frees one,
    /// but what dies soon is moved too: there may be nothing that kills it before there is room. None if there is no room for that
    /// but for votes. None that `is_damaged`. Ascending.
    pub(crate) fn victims(&self, bytes: u64, is_damaged: impl Fn(&Segment<F>) -> bool) -> Vec<u64> {
        let fullness = self.fullness();
        let Some((active, newest)) = self.live.last_key_value() else { return Vec::new() };
        let spare = newest.slot.file_bytes / 4; // for votes, and for the checkpoint that frees the victim
        let room =
            newest.room() >= 2 * bytes + spare && !self.closed || self.ready.len() >= SEGMENTS_RESERVED;
        let short = fullness == Fullness::Short;
        let frees = short && self.live.values().any(|segment| segment.left_out_by.is_some());
        if fullness == Fullness::Roomy || !room || frees {
            return Vec::new();
        }
        let is_worth_it = |segment: &&Segment<F>| {
            let whole = segment.slot.file_bytes.saturating_sub(OVERHEAD_BYTES);
            let is_sparse = segment.live_bytes <= whole * fullness.live_percent_max() / 100;
            segment.live_records > 0 && is_sparse && (short || segment.is_settled) && !is_damaged(segment)
        };
        let old = self.live.range(..active).map(|(_, segment)| segment).filter(is_worth_it);
        let mut few: Vec<(u64, u64)> = old.map(|segment| (segment.live_bytes, segment.seq)).collect();
        few.sort_unstable();
        let mut total = 0;
        let fits = |(live_bytes, _): &(u64, u64)| {
            let is_first = total == 0;
            total += live_bytes;
            is_first || total <= bytes
        };
        let mut victims: Vec<u64> = few.into_iter().take_while(fits).map(|(_, seq)| seq).collect();
        victims.sort_unstable();
        victims
    }

    fn are_short(&self) -> bool {
        self.ready.len() < self.ready_wanted.max(SEGMENTS_RESERVED + 1) && self.may_grow() == 0
    }

    /// One more checkpoint would free segments, and they are wanted before the next roll brings one: every roll uses one segment, and
    /// its checkpoint frees what was emptied before it, so while there is room for more rolls nothing is gained by another.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let wanted = self.are_short() || self.exceeds(self.live.len(), CROWDED_PERCENT);
        let active = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        let freeable = |segment: &Segment<F>| segment.live_records == 0 && segment.left_out_by.is_none();
        wanted && self.live.range(..active).any(|(_, segment)| freeable(segment))
    }
}
