//! One thread that sees to it that no shard sleeps while it has something to do.
//!
//! glommio 0.9.0 can park an executor whose tasks are runnable: when one of its own completions arrives between its
//! last look at the reactor and its check whether to run at all, it takes "must preempt" for "nothing to run". It then
//! sleeps until another completion comes, perhaps for ever. So each executor has an immortal *rescue task*, and this
//! thread wakes it when a shard does not move although it should.
//!
//! That wake is the only use that another thread makes of a waker of glommio, and no other means will do. A task that
//! reads an eventfd helps once: when it is itself among the runnable that sleep, nobody reads any more (seen within
//! minutes). A foreign wake goes through an eventfd that glommio arms again each time before it sleeps. It is sound
//! because the task never ends and its waker is never dropped, and bounded because the count of pending wakes is.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::doorbell::Bell;

/// How often shards are looked at while any of them moves.
const TICK: Duration = Duration::from_millis(20);
/// How often when none does.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// A shard that has not moved for this long is made to look around, whatever is known of it.
const NUDGE_EVERY: Duration = Duration::from_secs(1);

/// How many wakes in a row a shard may leave unanswered before they get rare. glommio counts pending wakes in sixteen
/// bits. A parked shard takes all at once, so only one that computes for minutes gets here, and that one needs no wake.
const UNANSWERED_MAX: u64 = 10_000;
/// How rare.
const NUDGE_RARELY: Duration = Duration::from_secs(60);

static RESCUES: AtomicU64 = AtomicU64::new(0);

/// How many times in this process a shard slept although it had something to do and was woken by the watchdog. A
/// machine so loaded that a thread does not run for 20 ms counts too.
pub fn rescues() -> u64 {
    RESCUES.load(Ordering::Relaxed)
}

/// What the watchdog sees of one shard.
#[derive(Debug)]
pub(crate) struct Watched {
    bell: Arc<Bell>,
    /// Wakes the rescue task. Set once and never dropped.
    rescue: OnceLock<Waker>,
    /// Readable while completions wait in the shard's ring.
    ring: OwnedFd,
    /// Moves whenever one of the shard's own tasks runs.
    beats: AtomicU64,
    /// One of them has been woken since and must run soon.
    owed: AtomicBool,
    /// Jobs of the shard on glommio's blocking threads, whose end is told through glommio alone.
    blocking: AtomicU64,
    /// The thread runs a shard: it is not idle in the pool.
    working: AtomicBool,
    rescues: AtomicU64,
}

impl Watched {
    pub(crate) fn new(bell: Arc<Bell>, ring: OwnedFd) -> Watched {
        Watched {
            bell,
            rescue: OnceLock::new(),
            ring,
            beats: AtomicU64::new(0),
            owed: AtomicBool::new(false),
            blocking: AtomicU64::new(0),
            working: AtomicBool::new(false),
            rescues: AtomicU64::new(0),
        }
    }

    /// The rescue task's waker: of a task that never ends.
    pub(crate) fn rescue_with(&self, waker: &Waker) {
        self.rescue.get_or_init(|| waker.clone());
    }

    /// The shard moves. Only its own thread calls this.
    pub(crate) fn beat(&self) {
        self.owed.store(false, Ordering::Relaxed);
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// A task of the shard has been woken.
    pub(crate) fn owe(&self) {
        self.owed.store(true, Ordering::Relaxed);
    }

    /// A blocking job begins; it ends when the guard is dropped.
    pub(crate) fn blocking(self: &Arc<Self>) -> Blocking {
        self.blocking.fetch_add(1, Ordering::Relaxed);
        Blocking(Arc::clone(self))
    }

    /// Whether a blocking job is under way.
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn set_working(&self, working: bool) {
        self.working.store(working, Ordering::Relaxed);
    }

    pub(crate) fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    /// Whether completions wait that the shard has been told of only through its eventfd.
    fn ring_is_readable(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.ring, PollFlags::IN)];
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&nothing)).is_ok_and(|ready| ready > 0)
    }

    /// Parked, and should not be.
    fn oversleeps(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
            || (self.bell.is_parked() && (self.bell.is_rung() || self.ring_is_readable()))
    }

    fn nudge(&self) {
        if let Some(waker) = self.rescue.get() {
            waker.wake_by_ref();
        }
    }
}

/// A job on a blocking thread that its shard awaits.
pub(crate) struct Blocking(Arc<Watched>);

impl Drop for Blocking {
    fn drop(&mut self) {
        self.0.blocking.fetch_sub(1, Ordering::Relaxed);
        self.0.beat();
    }
}

/// A shard as the watchdog remembers it.
struct Seen {
    watched: Arc<Watched>,
    beats: u64,
    still_since: Instant,
    nudged_at: Instant,
    /// How often it has been nudged since it last moved.
    unanswered: u64,
    overslept: bool,
}

impl Seen {
    fn new(watched: Arc<Watched>) -> Seen {
        let now = Instant::now();
        let beats = watched.beats.load(Ordering::Relaxed);
        Seen { watched, beats, still_since: now, nudged_at: now, unanswered: 0, overslept: false }
    }

    /// Looks at the shard. True when it needs a close watch.
    fn look(&mut self, now: Instant) -> bool {
        let beats = self.watched.beats.load(Ordering::Relaxed);
        if beats != self.beats {
            self.beats = beats;
            self.still_since = now;
            self.overslept = false;
            // A move that only answers a nudge needs no close watch.
            return std::mem::take(&mut self.unanswered) == 0 && self.watched.working.load(Ordering::Relaxed);
        }
        let still = now.duration_since(self.still_since);
        let oversleeps = self.watched.oversleeps();
        // Seen twice, a tick apart, and it has not moved in between.
        let overslept = oversleeps && self.overslept && still >= TICK;
        if overslept {
            RESCUES.fetch_add(1, Ordering::Relaxed);
            self.watched.rescues.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(?still, "a shard overslept");
        }
        let blocking = self.watched.blocking.load(Ordering::Relaxed) > 0;
        if overslept || blocking || now.duration_since(self.still_since.max(self.nudged_at)) >= NUDGE_EVERY {
            self.nudge(now);
        }
        self.overslept = oversleeps;
        oversleeps || blocking
    }

    fn nudge(&mut self, now: Instant) {
        if self.unanswered < UNANSWERED_MAX || now.duration_since(self.nudged_at) >= NUDGE_RARELY {
            self.nudged_at = now;
            self.unanswered += 1;
            self.watched.nudge();
        }
    }
}

struct Watchdog {
    running: Mutex<bool>,
    shards: Mutex<Vec<Arc<Watched>>>,
    /// Signalled when a shard begins to work.
    work: Condvar,
}

static WATCHDOG: Watchdog =
    Watchdog { running: Mutex::new(false), shards: Mutex::new(Vec::new()), work: Condvar::new() };

/// Sees to it that the watchdog's thread runs.
pub(crate) fn start() -> std::io::Result<()> {
    let mut running = WATCHDOG.running.lock().unwrap_or_else(PoisonError::into_inner);
    if !*running {
        std::thread::Builder::new().name("ringraft-watchdog".into()).spawn(run)?;
        *running = true;
    }
    Ok(())
}

/// Watches a shard for the life of the process.
pub(crate) fn watch(watched: Arc<Watched>) {
    WATCHDOG.shards.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
}

/// A shard begins to work: the watchdog must be awake. To be called after [`Watched::set_working`].
pub(crate) fn wake() {
    drop(WATCHDOG.shards.lock().unwrap_or_else(PoisonError::into_inner));
    WATCHDOG.work.notify_one();
}

fn run() {
    let mut seen: Vec<Seen> = Vec::new();
    let mut last_move = Instant::now();
    loop {
        let tick = if last_move.elapsed() < NUDGE_EVERY { TICK } else { IDLE_TICK };
        std::thread::sleep(tick);
        let shards = WATCHDOG.shards.lock().unwrap_or_else(PoisonError::into_inner);
        // With no shard at work there is nothing to watch but the idle threads of the pool, and a job for one of them
        // wakes this thread first.
        let idle = |shards: &mut Vec<Arc<Watched>>| {
            !shards.iter().any(|shard| shard.working.load(Ordering::Relaxed))
        };
        let shards = WATCHDOG.work.wait_while(shards, idle).unwrap_or_else(PoisonError::into_inner);
        for shard in &shards[seen.len()..] {
            seen.push(Seen::new(Arc::clone(shard)));
        }
        drop(shards);
        let now = Instant::now();
        for shard in &mut seen {
            if shard.look(now) {
                last_move = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[derive(Default)]
    struct Nudges(AtomicU64);

    impl std::task::Wake for Nudges {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn watched() -> (Arc<Watched>, OwnedFd) {
        let bell = Arc::new(Bell::new().unwrap());
        // Any descriptor that becomes readable stands for the ring.
        let ring = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        (Arc::new(Watched::new(bell, ring.try_clone().unwrap())), ring)
    }

    #[test]
    fn a_parked_shard_without_work_does_not_oversleep() {
        let (watched, ring) = watched();
        assert!(watched.bell.park());
        assert!(!watched.oversleeps());
        rustix::io::write(&ring, bytemuck::bytes_of(&1_u64)).unwrap();
        assert!(watched.oversleeps(), "completions wait");
        watched.bell.unpark();
        assert!(!watched.oversleeps(), "it is up");
        watched.owe();
        assert!(watched.oversleeps(), "a task was woken");
        watched.beat();
        assert!(!watched.oversleeps());
    }

    #[test]
    fn a_shard_seen_oversleeping_twice_is_rescued() {
        let (watched, _ring) = watched();
        let nudges = Arc::new(Nudges::default());
        watched.rescue_with(&Waker::from(Arc::clone(&nudges)));
        let count = || (watched.rescues(), nudges.0.load(Ordering::Relaxed));
        let mut seen = Seen::new(Arc::clone(&watched));
        seen.still_since = Instant::now().checked_sub(TICK).unwrap();
        watched.owe();
        assert!(seen.look(Instant::now()));
        assert_eq!(count(), (0, 0), "once may be chance");
        assert!(seen.look(Instant::now()));
        assert_eq!(count(), (1, 1));
        watched.beat();
        seen.look(Instant::now());
        seen.look(Instant::now());
        assert_eq!(count(), (1, 1), "it moved");
        seen.look(Instant::now() + NUDGE_EVERY);
        assert_eq!(count(), (1, 2), "still for long: nudged, though nothing is known to be wrong");
    }

    #[test]
    fn unanswered_nudges_are_bounded() {
        let (watched, _ring) = watched();
        let nudges = Arc::new(Nudges::default());
        watched.rescue_with(&Waker::from(Arc::clone(&nudges)));
        let mut seen = Seen::new(Arc::clone(&watched));
        let blocking = watched.blocking();
        for _ in 0..2 * UNANSWERED_MAX {
            seen.look(Instant::now());
        }
        assert_eq!(nudges.0.load(Ordering::Relaxed), UNANSWERED_MAX);
        drop(blocking);
    }
}
