//! How long the log's work takes and what its reads meet: a few additions for each batch and each read, none for an entry.
//!
//! The log reads no clock. Its times are those that it is told ([`Log::note_time`](crate::Log::note_time)): a turn's beginning, and
//! the moment before a batch is issued. So what ends with a write ends in the turn that sees it.

use std::cell::Cell;

use raft::Time;

use crate::ReadError;

/// How long something took, in microseconds, each time that it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Took {
    /// How often it happened.
    pub count: u64,
    /// All of it together.
    pub total_us: u64,
    /// The longest of all.
    pub longest_us: u64,
}

impl Took {
    /// It happened from `since` to `until`. Answers how long that is.
    pub(crate) fn add(&mut self, since: Time, until: Time) -> u64 {
        let us = until.0.saturating_sub(since.0);
        self.count += 1;
        self.total_us += us;
        self.longest_us = self.longest_us.max(us);
        us
    }
}

/// The first bound of a [`Spread`] is two to the power of this, in microseconds.
const FIRST_BOUND_BITS: u32 = 5;
/// How many powers of two lie from each bound to the next.
const BOUND_BITS: u32 = 2;
/// The bounds of a [`Spread`].
const BOUNDS: usize = 8;

/// How many durations are within each of eight bounds: 32 microseconds, and from one bound to the next four times as much, up to
/// half a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread([u64; BOUNDS + 1]);

impl Spread {
    /// The bounds, in microseconds.
    pub const BOUNDS_US: [u64; BOUNDS] =
        [1 << 5, 1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 15, 1 << 17, 1 << 19];

    pub(crate) fn add(&mut self, us: u64) {
        // A duration is within two to the power of so many bits, and within no lower power of two.
        let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
        let place = bits.saturating_sub(FIRST_BOUND_BITS).div_ceil(BOUND_BITS) as usize;
        self.0[place.min(BOUNDS)] += 1;
    }

    /// How many were within the bound number `bound`, the lower bounds' included.
    pub fn within(&self, bound: usize) -> u64 {
        self.0.iter().take(bound + 1).sum()
    }
}

/// What became of writes.
#[derive(Debug, Default)]
pub(crate) struct WriteTimes {
    pub(crate) written: Took,
    pub(crate) spread: Spread,
    pub(crate) acked: Took,
}

/// What reads found. Shared with those under way, which know nothing of the log.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) hits: Cell<u64>,
    pub(crate) misses: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
    pub(crate) damaged: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

impl Reads {
    /// A read ended so, after `bytes` from the disk.
    pub(crate) fn ended<T>(&self, bytes: u64, result: &Result<T, ReadError>) {
        add(&self.bytes, bytes);
        match result {
            Err(ReadError::Damaged { .. }) => add(&self.damaged, 1),
            Err(ReadError::Io { .. }) => add(&self.failed, 1),
            _ => {}
        }
    }
}

/// Counts `more`.
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// Reads the time between the steps of a start.
pub(crate) struct Stopwatch {
    clock: fn() -> Time,
    last: Time,
}

impl Stopwatch {
    pub(crate) fn new(clock: fn() -> Time) -> Stopwatch {
        Stopwatch { clock, last: clock() }
    }

    /// The microseconds since it was last asked.
    pub(crate) fn lap_us(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.last, (self.clock)());
        self.last.0.saturating_sub(before.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_within_the_bounds_that_are_not_below_it() {
        let around = |bound: u64| [bound - 1, bound, bound + 1];
        let durations: Vec<u64> =
            Spread::BOUNDS_US.into_iter().flat_map(around).chain([0, 1, u64::MAX]).collect();
        let mut spread = Spread::default();
        durations.iter().for_each(|us| spread.add(*us));
        for (number, bound) in Spread::BOUNDS_US.into_iter().enumerate() {
            let within = durations.iter().filter(|us| **us <= bound).count() as u64;
            assert_eq!(spread.within(number), within, "{bound}");
        }
        assert_eq!(spread.within(BOUNDS), durations.len() as u64);
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_away() {
        let mut took = Took::default();
        assert_eq!((took.add(Time(5), Time(15)), took.add(Time(15), Time(5))), (10, 0));
        assert_eq!(took, Took { count: 2, total_us: 10, longest_us: 10 });
    }
}
