//! The one clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since boot, including the time the machine slept (CLOCK_BOOTTIME).
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("time since boot is not negative");
    let nanoseconds =
        u32::try_from(time.tv_nsec).expect("the kernel gives less than a second of nanoseconds");
    Duration::new(seconds, nanoseconds)
}
