//! The longest time in which any one group acknowledged no write: how long an outage was for its users.

use super::keys::SLOTS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Times of acknowledgement per group, shared by all threads. Group of a slot: `slot * groups / 16384`.
#[derive(Debug)]
pub struct Gaps {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
}

/// The longest silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// The group that was silent, counted from 1 as everywhere.
    pub group: u32,
    /// For how long, in nanoseconds.
    pub ns: u64,
}

impl Gaps {
    /// Watches `groups` groups from `start_ns` on: silence before the first acknowledgement counts.
    pub fn new(groups: u32, start_ns: u64) -> Gaps {
        let group = |_| Group { last_ns: AtomicU64::new(start_ns), longest_ns: AtomicU64::new(0) };
        Gaps { groups: (0..groups).map(group).collect() }
    }

    /// A write to `slot` was acknowledged.
    pub fn acknowledged(&self, slot: u16, now_ns: u64) {
        let group = &self.groups[usize::from(slot) * self.groups.len() / usize::from(SLOTS)];
        // Threads may come here in another order than their clocks: then the later time stays, and the
        // earlier one ends no gap.
        let last = group.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        group.longest_ns.fetch_max(now_ns.saturating_sub(last), Ordering::Relaxed);
    }

    /// The longest silence up to `end_ns`, which counts as an end of every silence.
    pub fn longest(&self, end_ns: u64) -> Option<Gap> {
        let silence = |group: &Group| {
            let open = end_ns.saturating_sub(group.last_ns.load(Ordering::Relaxed));
            group.longest_ns.load(Ordering::Relaxed).max(open)
        };
        let gaps = (1..).zip(&self.groups).map(|(group, times)| Gap { group, ns: silence(times) });
        gaps.max_by_key(|gap| gap.ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_of_any_group_is_found() {
        let gaps = Gaps::new(2, 100);
        for now in (100..=1000).step_by(10) {
            gaps.acknowledged(0, now);
        }
        gaps.acknowledged(8192, 150);
        gaps.acknowledged(16383, 550);
        gaps.acknowledged(16383, 900);
        assert_eq!(gaps.longest(1000), Some(Gap { group: 2, ns: 400 }));
    }

    #[test]
    fn silence_at_both_ends_counts() {
        let gaps = Gaps::new(1, 0);
        gaps.acknowledged(5, 300);
        assert_eq!(gaps.longest(400), Some(Gap { group: 1, ns: 300 }));
        assert_eq!(gaps.longest(1000), Some(Gap { group: 1, ns: 700 }));
    }

    #[test]
    fn clocks_out_of_order_make_no_gap() {
        let gaps = Gaps::new(1, 0);
        gaps.acknowledged(0, 100);
        gaps.acknowledged(0, 90);
        gaps.acknowledged(0, 120);
        assert_eq!(gaps.longest(120), Some(Gap { group: 1, ns: 100 }));
    }
}
