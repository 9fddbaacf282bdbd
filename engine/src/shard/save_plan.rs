//! Which group is saved next, and when: the plan of one shard, without the doing.

use std::collections::VecDeque;
use std::time::Duration;

use raft::Time;

/// Images written at the same time. A save may write a whole state, so a second one beside it would only make both
/// late.
pub(super) const SAVES_RUNNING_MAX: usize = 1;

/// After a save that failed (a full disk, say) none is tried for so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A save that is far behind has two to four times as much of the shard's core as the turns.
const SLICES_PER_TURN_MAX: u32 = 16;

/// What the plan must know of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogFacts {
    /// Bytes written since it was opened.
    pub(super) written_bytes: u64,
    /// What the segments take that hold something.
    pub(super) live_bytes: u64,
}

/// When a shard saves, and in which order.
///
/// Once the log has grown by `after_bytes`, a round begins: every group with something unsaved is saved once, the one
/// with most of it first. So between two saves of a group the log grows by little more than `after_bytes`, however
/// unevenly the groups are written to. A log over half its cap does not wait for that: the groups that hold its oldest
/// segments go first.
#[derive(Debug)]
pub(super) struct SavePlan {
    after_bytes: u64,
    cap_bytes: u64,
    /// The log's count of written bytes when the newest round began.
    round_at: u64,
    /// What the log held already when it was opened counts as written since.
    inherited_bytes: u64,
    queue: VecDeque<usize>,
    retry_at: Time,
}

impl SavePlan {
    pub(super) fn new(after_bytes: u64, cap_bytes: u64, opened: LogFacts) -> SavePlan {
        SavePlan {
            after_bytes,
            cap_bytes,
            round_at: opened.written_bytes,
            inherited_bytes: opened.live_bytes,
            queue: VecDeque::new(),
            retry_at: Time(0),
        }
    }

    /// Whether the log fills more than half of what it may.
    pub(super) fn is_crowded(&self, log: LogFacts) -> bool {
        log.live_bytes > self.cap_bytes / 2
    }

    /// How many slices a save is to take between two turns. None while it has time; if the next round is due before this one is through it
    /// has not, and the more of the log that makes, the more it takes from those who write it.
    pub(super) fn slices_per_turn(&self, log: LogFacts) -> Option<u32> {
        let rounds = self.grown_bytes(log) / self.after_bytes.max(1);
        let rounds = if self.is_crowded(log) { u64::MAX } else { rounds };
        match rounds {
            0 => None,
            1 => Some(1),
            2 => Some(4),
            _ => Some(SLICES_PER_TURN_MAX),
        }
    }

    /// Whether a round is due: not before the one before it is through.
    pub(super) fn wants_round(&self, log: LogFacts) -> bool {
        self.queue.is_empty() && self.grown_bytes(log) >= self.after_bytes
    }

    /// Since the newest round began.
    fn grown_bytes(&self, log: LogFacts) -> u64 {
        log.written_bytes.saturating_sub(self.round_at) + self.inherited_bytes
    }

    /// Begins a round with these replicas, each with how much of it is unsaved.
    pub(super) fn begin_round(&mut self, log: LogFacts, unsaved: impl Iterator<Item = (usize, u64)>) {
        self.round_at = log.written_bytes;
        self.inherited_bytes = 0;
        self.add(unsaved);
    }

    /// Adds replicas behind those that wait already.
    pub(super) fn add(&mut self, unsaved: impl Iterator<Item = (usize, u64)>) {
        let mut unsaved: Vec<(usize, u64)> =
            unsaved.filter(|(number, _)| !self.queue.contains(number)).collect();
        unsaved.sort_by_key(|(number, amount)| (std::cmp::Reverse(*amount), *number));
        self.queue.extend(unsaved.into_iter().map(|(number, _)| number));
    }

    /// These go before all others, in this order.
    pub(super) fn put_first(&mut self, replicas: &[usize]) {
        for number in replicas.iter().rev() {
            self.queue.retain(|queued| queued != number);
            self.queue.push_front(*number);
        }
    }

    /// Whether the replica waits to be saved.
    pub(super) fn has(&self, replica: usize) -> bool {
        self.queue.contains(&replica)
    }

    /// The replica to save next.
    pub(super) fn next(&self, now: Time) -> Option<usize> {
        self.queue.front().copied().filter(|_| now >= self.retry_at)
    }

    /// The next replica is being saved, or has nothing to save.
    pub(super) fn take_next(&mut self) {
        self.queue.pop_front();
    }

    /// A save came to nothing: it is tried again later.
    pub(super) fn failed(&mut self, now: Time, replica: usize) {
        self.retry_at = now + RETRY_AFTER;
        self.add(std::iter::once((replica, 0)));
    }

    /// True while nothing waits to be saved.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    fn facts(written_bytes: u64, live_bytes: u64) -> LogFacts {
        LogFacts { written_bytes, live_bytes }
    }

    fn drain(plan: &mut SavePlan) -> Vec<usize> {
        let mut order = Vec::new();
        while let Some(number) = plan.next(NOW) {
            plan.take_next();
            order.push(number);
        }
        order
    }

    #[test]
    fn a_round_comes_once_for_each_stretch_of_log_and_the_most_unsaved_first() {
        let mut plan = SavePlan::new(1000, 100_000, facts(0, 0));
        assert!(!plan.wants_round(facts(999, 999)));
        assert!(plan.wants_round(facts(1000, 1000)));
        plan.begin_round(facts(1000, 1000), [(0, 5), (1, 70), (2, 5), (3, 9)].into_iter());
        let slices = [1999, 2000, 3000, 4000, 9000].map(|bytes| plan.slices_per_turn(facts(bytes, bytes)));
        assert_eq!(slices, [None, Some(1), Some(4), Some(16), Some(16)]);
        assert_eq!(plan.slices_per_turn(facts(1500, 50_001)), Some(16), "the log is crowded");
        assert!(!plan.wants_round(facts(5000, 5000)), "one round at a time");
        assert_eq!(drain(&mut plan), [1, 3, 0, 2]);
        assert!(plan.wants_round(facts(2000, 2000)) && !plan.wants_round(facts(1999, 1999)));
    }

    #[test]
    fn what_a_start_finds_in_the_log_counts() {
        let plan = SavePlan::new(1000, 100_000, facts(50, 900));
        assert!(!plan.wants_round(facts(149, 900)));
        assert!(plan.wants_round(facts(150, 900)), "900 bytes were there, 100 are new");
    }

    #[test]
    fn a_crowded_log_puts_the_groups_that_pin_it_first() {
        let mut plan = SavePlan::new(1000, 10_000, facts(0, 0));
        assert!(!plan.is_crowded(facts(0, 5000)) && plan.is_crowded(facts(0, 5001)));
        plan.begin_round(facts(1000, 0), [(0, 3), (1, 2), (2, 1)].into_iter());
        plan.put_first(&[2, 7]);
        assert_eq!(drain(&mut plan), [2, 7, 0, 1], "no replica stands there twice");
    }

    #[test]
    fn a_failed_save_is_tried_again_but_not_at_once() {
        let mut plan = SavePlan::new(1000, 10_000, facts(0, 0));
        plan.begin_round(facts(1000, 0), [(4, 3), (5, 2)].into_iter());
        plan.take_next();
        plan.failed(NOW, 4);
        assert_eq!(plan.next(NOW), None);
        assert_eq!(plan.next(NOW + RETRY_AFTER), Some(5), "others had no part in it and go first");
        plan.take_next();
        assert_eq!(plan.next(NOW + RETRY_AFTER), Some(4));
    }
}
