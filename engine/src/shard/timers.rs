//! When each replica's core wants to be told the time: one heap for the shard, so that a turn costs nothing for groups
//! at rest.
//!
//! A deadline that moves back leaves its old entry in the heap: when that comes up, the core is asked anew. So a
//! follower that hears its leader ten times a second costs one heap operation per election timeout. Only a deadline that
//! moves forward is entered at once; stale entries are bounded, as the heap is made anew when they prevail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use raft::Time;

/// Entries of the heap per replica, stale ones included, before it is made anew.
const ENTRIES_PER_REPLICA_MAX: usize = 4;

/// The deadlines of a shard's replicas, by their numbers.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Time, usize)>>,
    /// The entry of each replica that counts: its earliest.
    entered: Vec<Time>,
}

impl Timers {
    /// The core of `replica` wants to know the time at `deadline`, or earlier.
    pub(super) fn schedule(&mut self, replica: usize, deadline: Time) {
        if self.entered.len() <= replica {
            self.entered.resize(replica + 1, Time::NEVER);
        }
        if deadline < self.entered[replica] {
            self.entered[replica] = deadline;
            self.heap.push(Reverse((deadline, replica)));
            if self.heap.len() > ENTRIES_PER_REPLICA_MAX * self.entered.len() {
                self.remake();
            }
        }
    }

    /// A replica whose entry has come up: tell its core the time if that wants it, and schedule it again.
    pub(super) fn take_due(&mut self, now: Time) -> Option<usize> {
        while let Some(Reverse((at, replica))) = self.heap.peek().copied()
            && at <= now
        {
            self.heap.pop();
            if self.entered[replica] == at {
                self.entered[replica] = Time::NEVER;
                return Some(replica);
            }
        }
        None
    }

    /// The earliest entry: perhaps a stale one, never too late.
    pub(super) fn next(&self) -> Time {
        self.heap.peek().map_or(Time::NEVER, |Reverse((at, _))| *at)
    }

    fn remake(&mut self) {
        let entered = self.entered.iter().enumerate().filter(|(_, at)| **at != Time::NEVER);
        self.heap = entered.map(|(replica, at)| Reverse((*at, replica))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn due(timers: &mut Timers, now: u64) -> Vec<usize> {
        std::iter::from_fn(|| timers.take_due(Time(now))).collect()
    }

    #[test]
    fn each_replica_comes_up_at_its_earliest_deadline() {
        let mut timers = Timers::default();
        assert_eq!((timers.next(), due(&mut timers, 100)), (Time::NEVER, NONE.to_vec()));
        timers.schedule(3, Time(50));
        timers.schedule(1, Time(40));
        timers.schedule(0, Time::NEVER);
        assert_eq!(timers.next(), Time(40));
        assert_eq!(due(&mut timers, 39), NONE);
        assert_eq!(due(&mut timers, 60), [1, 3]);
        assert_eq!(timers.next(), Time::NEVER);
    }

    #[test]
    fn a_deadline_that_moves_back_costs_nothing_until_the_old_one_comes_up() {
        let mut timers = Timers::default();
        timers.schedule(0, Time(10));
        for deadline in 11..1000 {
            timers.schedule(0, Time(deadline));
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(due(&mut timers, 10), [0], "asked anew");
        timers.schedule(0, Time(999));
        assert_eq!(due(&mut timers, 998), NONE);
        assert_eq!(due(&mut timers, 999), [0]);
    }

    #[test]
    fn a_deadline_that_moves_forward_counts_at_once_and_leaves_nothing_behind() {
        let mut timers = Timers::default();
        timers.schedule(0, Time(100));
        timers.schedule(0, Time(20));
        assert_eq!(due(&mut timers, 20), [0]);
        timers.schedule(0, Time(150));
        assert_eq!(due(&mut timers, 149), NONE, "the entry at 100 is stale");
        assert_eq!(due(&mut timers, 150), [0]);
    }

    #[test]
    fn stale_entries_are_bounded() {
        let mut timers = Timers::default();
        for replica in 0..10 {
            timers.schedule(replica, Time(1_000_000));
        }
        for round in 0..10_000 {
            for replica in 0..10 {
                timers.schedule(replica, Time(500_000 - round));
            }
            assert!(timers.heap.len() <= 10 * ENTRIES_PER_REPLICA_MAX);
        }
        assert_eq!(due(&mut timers, 500_000), (0..10).collect::<Vec<_>>());
        assert_eq!(due(&mut timers, 2_000_000), NONE);
    }
}
