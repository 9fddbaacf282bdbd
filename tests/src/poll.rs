//! Waiting for something to become true. The only place in the tests that sleeps.

use std::time::{Duration, Instant};

/// The first pause between two looks; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Looks again and again until `look` returns a value or `deadline` has passed. Looks at least once, and
/// once more at the deadline.
pub fn until_some<T>(deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut pause = PAUSE_MIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(found) = look() {
            return Some(found);
        }
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Looks again and again until `look` returns true (then true) or `deadline` has passed (then false).
pub fn until(deadline: Instant, mut look: impl FnMut() -> bool) -> bool {
    until_some(deadline, || look().then_some(())).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_true_look_ends_the_wait_and_a_passed_deadline_still_looks_once() {
        let mut looks = 0;
        assert!(until(Instant::now() + Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        }));
        assert_eq!(looks, 3);
        assert!(until(Instant::now(), || true));
        assert!(!until(Instant::now(), || false));
        assert_eq!(until_some(Instant::now(), || Some(7)), Some(7));
    }
}
