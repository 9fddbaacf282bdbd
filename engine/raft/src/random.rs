//! The one source of chance, and it is none: SplitMix64 (Steele, Lea, Flood 2014) from a given seed.

use core::time::Duration;

use crate::id::{Time, micros};

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Different nodes and groups draw different numbers from one seed: equal timeouts on two nodes
    /// would split votes for ever.
    pub(crate) fn new(seed: u64, node: u16, group: u32) -> Random {
        let mut random = Random(seed);
        random.0 ^= random.draw().rotate_left(17) ^ u64::from(node) << 32 ^ u64::from(group);
        random.draw();
        random
    }

    /// Any number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Uniform in `now + min .. now + max`.
    pub(crate) fn deadline(&mut self, now: Time, min: Duration, max: Duration) -> Time {
        let span = micros(max.saturating_sub(min)).max(1);
        let wait = micros(min).saturating_add(self.draw() % span);
        Time(now.0.saturating_add(wait))
    }
}
