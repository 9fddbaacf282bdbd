//! What one thread counted, and how the counts of several become one.

use hdrhistogram::Histogram;

/// Longer latencies are recorded as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Latencies of one class of requests, in nanoseconds, to three digits and no finer than 8 ns.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Latencies {
        Latencies(Histogram::new_with_bounds(10, LATENCY_NS_MAX, 3).expect("bounds in order, three digits"))
    }

    /// Adds one.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that the given part (0..=1) of the requests did not exceed, in nanoseconds.
    pub fn quantile_ns(&self, part: f64) -> u64 {
        self.0.value_at_quantile(part)
    }

    /// The longest, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// The mean, in nanoseconds.
    pub fn mean_ns(&self) -> f64 {
        self.0.mean()
    }

    fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
}

/// Requests of one class.
#[derive(Debug, Clone)]
pub struct Class {
    /// From the due time (open loop) or the send (closed loop) to the answer.
    pub latency: Latencies,
    /// From the send to the answer.
    pub service: Latencies,
}

impl Class {
    fn new() -> Class {
        Class { latency: Latencies::new(), service: Latencies::new() }
    }

    fn merge(&mut self, other: &Class) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
    }
}

/// Counts by a short name. There are few names, so a list serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(Vec<(String, u64)>);

impl Kinds {
    /// Adds `count` to `kind`.
    pub fn add(&mut self, kind: &str, count: u64) {
        match self.0.iter_mut().find(|(name, _)| name == kind) {
            Some((_, total)) => *total += count,
            None => self.0.push((kind.to_owned(), count)),
        }
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    fn merge(&mut self, other: &Kinds) {
        for (kind, count) in other.iter() {
            self.add(kind, count);
        }
    }
}

/// All counts of one phase.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Answered reads.
    pub reads: Class,
    /// Answered writes.
    pub writes: Class,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Requests that certainly had no effect, by the first word of the server's error or by what happened.
    pub errors: Kinds,
    /// Writes whose outcome is unknown, by what happened.
    pub unknown: Kinds,
    /// `-MOVED` answers that were followed.
    pub redirects: u64,
    /// Connections that broke.
    pub breaks: u64,
    /// Requests that were due and never sent (open loop).
    pub unsent: u64,
    /// How far the schedule was behind at worst, in nanoseconds (open loop).
    pub lag_max_ns: u64,
    /// When the thread's last request was answered, on the run's clock.
    pub ended_ns: u64,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            reads: Class::new(),
            writes: Class::new(),
            hits: 0,
            misses: 0,
            errors: Kinds::default(),
            unknown: Kinds::default(),
            redirects: 0,
            breaks: 0,
            unsent: 0,
            lag_max_ns: 0,
            ended_ns: 0,
        }
    }
}

impl Stats {
    /// Adds another thread's counts.
    pub fn merge(&mut self, other: &Stats) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.hits += other.hits;
        self.misses += other.misses;
        self.errors.merge(&other.errors);
        self.unknown.merge(&other.unknown);
        self.redirects += other.redirects;
        self.breaks += other.breaks;
        self.unsent += other.unsent;
        self.lag_max_ns = self.lag_max_ns.max(other.lag_max_ns);
        self.ended_ns = self.ended_ns.max(other.ended_ns);
    }

    /// Requests that were answered as wanted.
    pub fn completed(&self) -> u64 {
        self.reads.latency.count() + self.writes.latency.count()
    }

    /// Requests that were not.
    pub fn failed(&self) -> u64 {
        self.errors.total() + self.unknown.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_percentiles_are_those_of_all_requests() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut threads = [Stats::default(), Stats::default(), Stats::default()];
        let mut all = Vec::new();
        for (position, thread) in threads.iter_mut().enumerate() {
            // Threads of very different speed: the mean of their percentiles would be far off.
            let scale = 10_000 * 100u64.pow(u32::try_from(position).unwrap());
            for _ in 0..1000 * (position + 1) {
                let ns = scale + rng.u64(0..scale);
                thread.writes.latency.record(ns);
                all.push(ns);
            }
        }
        let mut merged = Stats::default();
        threads.iter().for_each(|thread| merged.merge(thread));
        all.sort_unstable();
        assert_eq!(merged.writes.latency.count(), 6000);
        assert_eq!(merged.reads.latency.count(), 0);
        for (part, rank) in [(0.1, 600), (0.5, 3000), (0.9, 5400), (0.99, 5940), (0.999, 5994)] {
            let exact = all[rank - 1] as f64;
            let got = merged.writes.latency.quantile_ns(part) as f64;
            assert!((got / exact - 1.0).abs() < 0.01, "{part}: {got} for {exact}");
        }
    }

    #[test]
    fn kinds_and_extremes_are_merged() {
        let mut left = Stats { lag_max_ns: 5, ended_ns: 9, unsent: 1, ..Stats::default() };
        left.errors.add("TRYAGAIN", 2);
        let mut right = Stats { lag_max_ns: 7, ended_ns: 8, unsent: 2, ..Stats::default() };
        right.errors.add("LOADING", 1);
        right.errors.add("TRYAGAIN", 1);
        right.unknown.add("timed out", 4);
        left.merge(&right);
        assert_eq!(left.errors.iter().collect::<Vec<_>>(), [("TRYAGAIN", 3), ("LOADING", 1)]);
        assert_eq!((left.failed(), left.lag_max_ns, left.ended_ns, left.unsent), (8, 7, 9, 3));
    }

    #[test]
    fn a_latency_beyond_the_range_is_kept_as_the_longest() {
        let mut stats = Stats::default();
        stats.reads.latency.record(u64::MAX);
        assert_eq!(stats.completed(), 1);
        assert!(stats.reads.latency.max_ns() >= LATENCY_NS_MAX);
    }
}
