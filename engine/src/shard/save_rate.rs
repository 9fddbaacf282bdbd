//! How fast saves go while others are served.
//!
//! Where nobody waits for an answer there is no limit. Beside load a save must not take cores and disk from those who wait: on many
//! devices the flush of their writes takes along all that was written before. But it must keep up with what they write, or the
//! log and the memory for what is not saved grow without end. So it may always move twice as much as the log does, and all it
//! can once the next save is due before this one is through.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use raft::Time;
use runtime::{Disk, REST};
use snapshot::RateLimit;

use super::Shard;
use super::save_task::Rest;
use crate::state_machine::StateMachine;

/// A save may move so many times what the log writes; where that is not enough, it falls behind, and hurries.
const TIMES_LOG: u64 = 2;

/// What may pass at once after a rest: a few slices.
const BURST_BYTES: u64 = 256 << 10;

/// Whoever was served so recently is load.
const BUSY: Duration = Duration::from_millis(200);

/// The log's rate is looked at over so long.
const LOOK: Duration = Duration::from_millis(500);

/// The limit for the saves of one shard. Clones are the same.
#[derive(Clone)]
pub(super) struct SaveRate(Rc<RefCell<Inner>>);

struct Inner {
    bytes_per_second_min: u64,
    limit: RateLimit,
    /// Since the newest turn. Who is served is only seen by turns.
    is_limited: bool,
    /// Of a save that has no time: so many slices between two turns.
    hurry: Option<u32>,
    hurries: Rc<Cell<bool>>,
    /// Since the newest turn.
    slices: u32,
    now: Time,
    busy_until: Time,
    /// Saves that have moved something, and wait until they may have.
    waiting: Vec<Waiter>,
    /// When the first of them may go on.
    due: Time,
    looked_at: Time,
    /// What the log had written then, and when the newest turn came.
    looked_bytes: u64,
    log_bytes: u64,
}

/// A save that waits. The end of its writes wakes it, too, so what it waits for is told apart.
struct Waiter {
    bytes: u64,
    has_passed: Rc<Cell<bool>>,
    waker: Waker,
}

impl SaveRate {
    /// Whether saves must keep up is told to `hurries`, too.
    pub(super) fn new(now: Time, bytes_per_second_min: u64, hurries: Rc<Cell<bool>>) -> SaveRate {
        let bytes_per_second_min = bytes_per_second_min.max(1);
        SaveRate(Rc::new(RefCell::new(Inner {
            bytes_per_second_min,
            limit: RateLimit::new(bytes_per_second_min, BURST_BYTES, since_start(now)),
            is_limited: false,
            hurry: None,
            hurries,
            slices: 0,
            now,
            busy_until: Time(0),
            waiting: Vec::new(),
            due: Time::NEVER,
            looked_at: now,
            looked_bytes: 0,
            log_bytes: 0,
        })))
    }

    /// A turn, which has served clients or has not; what the log has written in all, and what hurry saves are in. A leader elsewhere is
    /// served by what this log writes.
    pub(super) fn turn(&self, now: Time, serves: bool, log_bytes: u64, hurry: impl FnOnce() -> Option<u32>) {
        let mut rate = self.0.borrow_mut();
        rate.now = now;
        rate.slices = 0;
        if serves || log_bytes > rate.log_bytes {
            rate.busy_until = now + BUSY;
        }
        rate.log_bytes = log_bytes;
        if rate.follow(now) || !rate.waiting.is_empty() {
            rate.hurry = hurry();
            rate.hurries.set(rate.hurry.is_some());
        }
        rate.is_limited = now < rate.busy_until && rate.hurry.is_none();
        while let Some(Waiter { bytes, .. }) = rate.waiting.first() {
            let bytes = *bytes;
            if !rate.may_pass(bytes) {
                return;
            }
            let waiter = rate.waiting.remove(0);
            waiter.has_passed.set(true);
            waiter.waker.wake();
        }
    }

    /// How long the turns are left alone after a slice; None: not at all.
    fn rest(&self) -> Option<Duration> {
        let mut rate = self.0.borrow_mut();
        rate.slices += 1;
        match rate.hurry {
            None => Some(REST),
            Some(slices) => (rate.slices >= slices).then_some(Duration::ZERO),
        }
    }

    /// So many bytes were moved: returns when it is time for the next.
    pub(super) fn pass(&self, bytes: usize) -> impl Future<Output = ()> + use<> {
        let (rate, bytes) = (Rc::clone(&self.0), bytes as u64);
        let mut waits: Option<Rc<Cell<bool>>> = None;
        poll_fn(move |context| {
            let mut rate = rate.borrow_mut();
            match &waits {
                Some(has_passed) if has_passed.get() => return Poll::Ready(()),
                Some(_) => {}
                None if rate.may_pass(bytes) => return Poll::Ready(()),
                None => {
                    let has_passed = Rc::clone(waits.insert(Rc::default()));
                    rate.waiting.push(Waiter { bytes, has_passed, waker: context.waker().clone() });
                }
            }
            Poll::Pending
        })
    }

    /// When a turn is due for somebody who waits.
    pub(super) fn deadline(&self) -> Time {
        let rate = self.0.borrow();
        if rate.waiting.is_empty() { Time::NEVER } else { rate.due.min(rate.busy_until) }
    }
}

impl Inner {
    fn may_pass(&mut self, bytes: u64) -> bool {
        if !self.is_limited {
            return true;
        }
        match self.limit.take(since_start(self.now), bytes) {
            Ok(()) => true,
            Err(wait) => {
                self.due = self.now + wait + Duration::from_micros(1);
                false
            }
        }
    }

    /// Whether it has looked.
    fn follow(&mut self, now: Time) -> bool {
        let looked = since_start(now).saturating_sub(since_start(self.looked_at));
        if looked < LOOK {
            return false;
        }
        let grown = u128::from(self.log_bytes.saturating_sub(self.looked_bytes)) * u128::from(TIMES_LOG);
        let followed = u64::try_from(grown * 1_000_000 / looked.as_micros()).unwrap_or(u64::MAX);
        (self.looked_at, self.looked_bytes) = (now, self.log_bytes);
        self.limit.set_rate(since_start(now), followed.max(self.bytes_per_second_min));
        true
    }
}

fn since_start(now: Time) -> Duration {
    Duration::from_micros(now.0)
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Lets saves go on as far as those who are served bear it.
    pub(super) fn pace_saves(&self, serves: bool) {
        let (log_bytes, hurry) = (self.log.written_bytes(), || self.save_slices_per_turn());
        self.saves.rate.turn(self.now, serves, log_bytes, hurry);
    }

    /// What a save does between slices of so many bytes.
    pub(super) fn save_rest(&self) -> Rest {
        let (pause, rate) = (Rc::clone(&self.saves.loader.pause), self.saves.rate.clone());
        Rc::new(move |bytes| {
            let (pause, rate) = (Rc::clone(&pause), rate.clone());
            Box::pin(async move {
                if let Some(rest) = rate.rest() {
                    pause(rest).await;
                    rate.pass(bytes).await;
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    const SLICE: usize = 64 << 10;
    const MIB: u64 = 1 << 20;

    /// Moves slices for a second of turns each millisecond; how many bytes.
    fn passed(rate: &SaveRate, from_ms: u64, serves: bool, log_bytes_each: u64, hurry: Option<u32>) -> u64 {
        let mut context = Context::from_waker(Waker::noop());
        let (mut bytes, mut log_bytes) = (0, rate.0.borrow().log_bytes);
        let mut waiting = Box::pin(rate.pass(0));
        for ms in from_ms..from_ms + 1000 {
            log_bytes += log_bytes_each;
            rate.turn(Time(ms * 1000), serves, log_bytes, || hurry);
            // No disk moves more than so much in a millisecond. Who waits is polled all the same.
            for _ in 0..16 {
                if waiting.as_mut().poll(&mut context).is_pending() {
                    break;
                }
                bytes += SLICE as u64;
                waiting = Box::pin(rate.pass(SLICE));
            }
        }
        bytes
    }

    #[test]
    fn saves_are_slow_beside_others_who_are_served_and_follow_the_log() {
        let rate = SaveRate::new(Time(1_000_000), 16 * MIB, Rc::default());
        assert_eq!(passed(&rate, 1000, false, 0, None), 16 * 1000 * SLICE as u64, "nobody waits");
        let slow = passed(&rate, 2000, true, 0, None);
        assert!((16 * MIB..18 * MIB).contains(&slow), "{slow}");
        let followed = passed(&rate, 3000, true, 10 << 10, None);
        assert!((17 * MIB..22 * MIB).contains(&followed), "10 MiB/s, twice, once it is seen: {followed}");
        let behind = passed(&rate, 4000, false, 100, None);
        assert!(behind < 22 * MIB, "a leader elsewhere waits: {behind}");
        passed(&rate, 5000, true, 0, Some(1));
        assert_eq!(passed(&rate, 6000, true, 0, Some(1)), 16 * 1000 * SLICE as u64, "it must keep up");
    }

    #[test]
    fn who_waits_is_due_when_the_limit_lets_it_pass_or_the_load_has_ended() {
        let rate = SaveRate::new(Time(1_000_000), 16 * MIB, Rc::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut poll_one = |bytes: u64| {
            let passing = rate.pass(usize::try_from(bytes).unwrap());
            pin!(passing).poll(&mut context).is_ready()
        };
        rate.turn(Time(1_000_000), true, 0, || None);
        assert!(poll_one(MIB + BURST_BYTES), "what the bucket holds, and a debt of 1 MiB");
        assert_eq!(rate.deadline(), Time::NEVER);
        assert!(!poll_one(64 * MIB));
        let due = rate.deadline().0;
        assert!((1_062_500..1_062_505).contains(&due), "1 MiB at 16 MiB/s: {due}");
        rate.turn(Time(1_062_400), true, 0, || None);
        assert_eq!(rate.0.borrow().waiting.len(), 1);
        rate.turn(Time(due), true, 0, || None);
        assert_eq!((rate.0.borrow().waiting.len(), rate.deadline()), (0, Time::NEVER), "it has passed");
        assert!(!poll_one(1));
        assert_eq!(rate.deadline(), Time(due) + BUSY, "until then somebody is served");
        rate.turn(rate.deadline(), false, 0, || None);
        assert_eq!(rate.deadline(), Time::NEVER);
        assert!(poll_one(u64::from(u32::MAX)), "nobody is served");
    }

    #[test]
    fn a_save_in_a_hurry_takes_several_slices_between_two_turns() {
        let rate = SaveRate::new(Time(1_000_000), 16 * MIB, Rc::default());
        rate.turn(Time(1_000_000), true, 0, || Some(3));
        assert_eq!([rate.rest(), rate.rest()], [Some(REST); 2], "it has not looked yet");
        rate.turn(Time(2_000_000), true, 0, || Some(3));
        assert_eq!([rate.rest(), rate.rest(), rate.rest()], [None, None, Some(Duration::ZERO)]);
        rate.turn(Time(2_000_001), true, 0, || None);
        assert_eq!(rate.rest(), None, "a new turn");
    }
}
