//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from a first to a longest one, each shortened at random by up to half, so that nodes
/// which failed together do not return together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Waits from `min` to `max`; the same seed gives the same waits.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff { min, max, failures: 0, random: seed }
    }

    /// The wait after one more failure: within `min..=max`.
    pub fn next_wait(&mut self) -> Duration {
        // Half of it is certain, so the first one starts at twice the shortest.
        let factor = 2_u32.saturating_pow(self.failures.saturating_add(1));
        let wait = self.min.saturating_mul(factor).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX);
        let shortened = Duration::from_micros(self.random() % half.max(1));
        (wait - shortened).max(self.min)
    }

    /// The longest wait: for failures that no retry mends soon.
    pub fn longest_wait(&mut self) -> Duration {
        self.failures = self.failures.max(31);
        self.next_wait()
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64: one addition and a mix per number.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn waits_double_within_their_bounds() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            let mut most = MIN * 2;
            for _ in 0..100 {
                let wait = backoff.next_wait();
                assert!(
                    wait >= MIN && wait >= most / 2 - Duration::from_micros(1) && wait <= most,
                    "{wait:?}"
                );
                most = (most * 2).min(MAX);
            }
            backoff.reset();
            assert!(backoff.next_wait() <= MIN * 2);
            assert!(backoff.longest_wait() >= MAX / 2);
        }
    }

    #[test]
    fn seeds_decide() {
        let waits = |seed| {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            std::iter::repeat_with(|| backoff.next_wait()).take(10).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
