//! Bounds what strangers can make this node write to its log.

use std::time::Duration;

use raft::Time;

/// A bucket of lines: each line takes one, time puts them back, and lines not written are counted.
#[derive(Debug, Clone)]
pub struct LogBudget {
    lines_max: u32,
    refill: Duration,
    lines: u32,
    refilled_at: Time,
    suppressed: u64,
}

impl Default for LogBudget {
    /// Five lines at once, then one per 10 seconds.
    fn default() -> LogBudget {
        LogBudget::new(5, Duration::from_secs(10))
    }
}

impl LogBudget {
    /// Up to `lines_max` lines at once, one more after each `refill`.
    pub fn new(lines_max: u32, refill: Duration) -> LogBudget {
        LogBudget { lines_max, refill, lines: lines_max, refilled_at: Time::default(), suppressed: 0 }
    }

    /// Whether a line may be written now: `Some` with the number of lines that were suppressed before it.
    pub fn allow(&mut self, now: Time) -> Option<u64> {
        let due = now.saturating_sub(self.refilled_at).as_micros() / self.refill.as_micros().max(1);
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(u32::MAX);
            self.lines = self.lines.saturating_add(due).min(self.lines_max);
            self.refilled_at = now;
        }
        if self.lines == 0 {
            self.suppressed += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_trickle() {
        let mut budget = LogBudget::new(3, Duration::from_secs(10));
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let allowed = |budget: &mut LogBudget, now| (0..100).filter(|_| budget.allow(now).is_some()).count();
        assert_eq!(allowed(&mut budget, at(1000)), 3);
        assert_eq!(allowed(&mut budget, at(1005)), 0);
        assert_eq!(budget.allow(at(1010)), Some(197));
        assert_eq!(budget.allow(at(1010)), None);
        assert_eq!(allowed(&mut budget, at(5000)), 3);
    }
}
