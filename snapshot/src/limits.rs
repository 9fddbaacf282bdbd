//! How much of a shard the life of snapshots may take.

use std::time::Duration;

/// Bounds of one shard's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files built at the same time.
    pub builds_max: usize,
    /// Files sent at the same time.
    pub sends_max: usize,
    /// Files received at the same time.
    pub receives_max: usize,
}

/// Bytes per second that one shard sends, and as many that it receives, unless configured otherwise.
pub const TRANSFER_BYTES_PER_SECOND: u64 = 256 << 20;
/// What may be moved at once after a pause.
pub const TRANSFER_BURST_BYTES: u64 = 4 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits { builds_max: 2, sends_max: 4, receives_max: 4 }
    }
}

/// A token bucket over time that is handed in.
///
/// A piece larger than what is left may pass when the bucket is not empty; the debt is waited off by the next.
/// So no piece is too large to ever pass, and the mean still holds.
#[derive(Clone, Debug)]
pub struct RateLimit {
    bytes_per_second: u64,
    burst_bytes: u64,
    /// Bytes that may pass, times a billion: nanoseconds times bytes per second stay exact.
    tokens: i128,
    last: Duration,
}

const NANOS: i128 = 1_000_000_000;

impl RateLimit {
    /// A full bucket at time `now`.
    ///
    /// # Panics
    ///
    /// When a bound is zero: nothing would ever pass.
    pub fn new(bytes_per_second: u64, burst_bytes: u64, now: Duration) -> RateLimit {
        assert!(bytes_per_second > 0 && burst_bytes > 0, "a rate limit lets something pass");
        RateLimit { bytes_per_second, burst_bytes, tokens: i128::from(burst_bytes) * NANOS, last: now }
    }

    /// From `now` on the bucket fills at this rate.
    ///
    /// # Panics
    ///
    /// When it is zero.
    pub fn set_rate(&mut self, now: Duration, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "a rate limit lets something pass");
        self.fill(now);
        self.bytes_per_second = bytes_per_second;
    }

    /// Lets `bytes` pass now.
    ///
    /// # Errors
    ///
    /// How long to wait until asking again, when nothing may pass yet. Nothing was taken.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Result<(), Duration> {
        self.fill(now);
        if self.tokens > 0 {
            self.tokens -= i128::from(bytes) * NANOS;
            return Ok(());
        }
        let wait = (1 - self.tokens).div_euclid(i128::from(self.bytes_per_second)) + 1;
        Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        let gained = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let gained = gained.saturating_mul(i128::from(self.bytes_per_second));
        self.tokens = self.tokens.saturating_add(gained).min(i128::from(self.burst_bytes) * NANOS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_the_mean_over_any_stretch() {
        let mut limit = RateLimit::new(1_000_000, 4_000, Duration::ZERO);
        let (mut now, mut passed, mut waits) = (Duration::ZERO, 0u64, 0);
        while now < Duration::from_secs(2) {
            match limit.take(now, 1_500) {
                Ok(()) => passed += 1_500,
                Err(wait) => {
                    assert!(wait > Duration::ZERO);
                    now += wait;
                    waits += 1;
                }
            }
        }
        assert!((1_990_000..=2_010_000).contains(&passed), "{passed} bytes in two seconds");
        assert!(waits > 1_000);
    }

    #[test]
    fn the_wait_is_long_enough_and_large_pieces_pass() {
        let mut limit = RateLimit::new(1_000, 10, Duration::ZERO);
        assert_eq!(limit.take(Duration::ZERO, 5_000), Ok(()));
        let wait = limit.take(Duration::ZERO, 1).expect_err("in debt");
        assert!(wait > Duration::from_millis(4_900) && wait < Duration::from_millis(5_000));
        assert_eq!(limit.take(wait, 1), Ok(()));
        limit.set_rate(wait, 1_000_000);
        let short = limit.take(wait, 1).expect_err("in debt by one byte");
        assert!(short <= Duration::from_micros(1), "at the new rate: {short:?}");
        limit.set_rate(wait, 1_000);
        let back = limit.take(Duration::ZERO, 1).expect_err("in debt by one byte");
        assert!(back <= Duration::from_millis(1), "a clock that steps back takes nothing away: {back:?}");
    }
}
