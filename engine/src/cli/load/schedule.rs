//! When requests are due: times fixed in advance, in nanoseconds of the run's clock.

/// How due times are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrival {
    /// Evenly.
    Fixed,
    /// As from many independent clients: exponential gaps.
    Poisson,
}

/// The due times of one thread.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrival: Arrival,
    interval_ns: f64,
    start_ns: f64,
    taken: u64,
    next_ns: f64,
    lag_max_ns: u64,
    rng: fastrand::Rng,
}

impl Schedule {
    /// `per_second` times per second from `start_ns` on. `phase` (0..1) shifts even spacing by a part of
    /// one interval, so that several threads interleave.
    pub fn new(arrival: Arrival, per_second: f64, start_ns: u64, phase: f64, seed: u64) -> Schedule {
        let interval_ns = 1e9 / per_second;
        #[expect(clippy::cast_precision_loss, reason = "a run lasts less than 2^53 ns, 100 days")]
        let start_ns = start_ns as f64 + phase * interval_ns;
        let rng = fastrand::Rng::with_seed(seed);
        let mut schedule =
            Schedule { arrival, interval_ns, start_ns, taken: 0, next_ns: start_ns, lag_max_ns: 0, rng };
        if arrival == Arrival::Poisson {
            schedule.next_ns += schedule.gap();
        }
        schedule
    }

    /// When the next request is due.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below 2^53")]
    pub fn due(&self) -> u64 {
        self.next_ns as u64
    }

    /// Takes the next request out of the schedule, at `now_ns`; answers when it was due.
    pub fn take(&mut self, now_ns: u64) -> u64 {
        let due = self.due();
        self.lag_max_ns = self.lag_max_ns.max(now_ns.saturating_sub(due));
        self.taken += 1;
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 requests")]
        match self.arrival {
            Arrival::Fixed => self.next_ns = self.start_ns + self.taken as f64 * self.interval_ns,
            Arrival::Poisson => self.next_ns += self.gap(),
        }
        due
    }

    /// How far behind its times the schedule was at worst.
    pub fn lag_max_ns(&self) -> u64 {
        self.lag_max_ns
    }

    /// Ends the schedule at `end_ns`: how many requests were due by then and never taken.
    pub fn close(&mut self, end_ns: u64) -> u64 {
        let (taken, lag) = (self.taken, self.lag_max_ns);
        while self.due() < end_ns {
            self.take(end_ns);
        }
        let missed = self.taken - taken;
        self.lag_max_ns = if missed == 0 { lag } else { self.lag_max_ns };
        missed
    }

    fn gap(&mut self) -> f64 {
        -(1.0 - self.rng.f64()).ln() * self.interval_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes everything due, looking at the (virtual) clock every `step`.
    fn due_times(schedule: &mut Schedule, until: u64, step: u64) -> Vec<u64> {
        let mut times = Vec::new();
        for now in (0..=until).step_by(usize::try_from(step).unwrap()) {
            while schedule.due() <= now {
                times.push(schedule.take(now));
            }
        }
        times
    }

    #[test]
    fn even_times_do_not_drift() {
        let mut schedule = Schedule::new(Arrival::Fixed, 3.0, 0, 0.0, 1);
        let times = due_times(&mut schedule, 1000 * SECOND, SECOND / 10);
        assert_eq!(times.len(), 3001);
        assert_eq!(times[3000], 1000 * SECOND);
    }

    #[test]
    fn threads_interleave() {
        let mut first = Schedule::new(Arrival::Fixed, 1000.0, 0, 0.0, 1);
        let mut second = Schedule::new(Arrival::Fixed, 1000.0, 0, 0.5, 1);
        assert_eq!((first.take(0), second.take(0), first.take(0)), (0, 500_000, 1_000_000));
    }

    #[test]
    fn a_stall_changes_no_due_time() {
        let mut smooth = Schedule::new(Arrival::Poisson, 500.0, 0, 0.0, 9);
        let mut stalled = smooth.clone();
        let expected = due_times(&mut smooth, 4 * SECOND, SECOND / 1000);
        let got = due_times(&mut stalled, 4 * SECOND, 2 * SECOND);
        assert_eq!(got, expected, "requests due in a stall keep their times");
        assert!(smooth.lag_max_ns() <= SECOND / 1000);
        assert!(stalled.lag_max_ns() > 19 * SECOND / 10);
    }

    #[test]
    fn poisson_keeps_the_rate_and_varies() {
        let mut schedule = Schedule::new(Arrival::Poisson, 1000.0, 0, 0.0, 3);
        let times = due_times(&mut schedule, 100 * SECOND, SECOND);
        assert!((98_500..101_500).contains(&times.len()), "{} in 100 s", times.len());
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let short = gaps.iter().filter(|gap| **gap < 693_147).count();
        let part = short as f64 / gaps.len() as f64;
        assert!((0.49..0.51).contains(&part), "half of the gaps lie below ln 2 intervals, not {part}");
    }

    #[test]
    fn what_was_never_sent_is_counted() {
        let mut schedule = Schedule::new(Arrival::Fixed, 100.0, 0, 0.0, 1);
        for _ in 0..30 {
            schedule.take(0);
        }
        assert_eq!(schedule.close(SECOND), 70);
        assert_eq!(schedule.lag_max_ns(), 7 * SECOND / 10);
        let mut in_time = Schedule::new(Arrival::Fixed, 100.0, 0, 0.0, 1);
        due_times(&mut in_time, SECOND, SECOND / 100);
        assert_eq!(in_time.close(SECOND), 0);
        assert_eq!(in_time.lag_max_ns(), 0);
    }
}
