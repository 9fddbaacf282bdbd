//! The search itself: workers that follow states, remember what they have seen, and hand each other
//! work.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::super::disk::index_of;
use super::super::run::violation_of;
use super::super::trace::Trace;
use super::super::violation::Violation;
use super::{Bounds, Place, Step, start};

/// A bad end, and the way to it.
#[derive(Clone, Debug)]
pub struct BadEnd {
    /// What was wrong.
    pub violation: Violation,
    /// The steps to it, and what the nodes did.
    pub trace: String,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Different states.
    pub states: u64,
    /// Steps taken, many of which led to a state seen before.
    pub steps: u64,
    /// Whether everything within the bounds was seen.
    pub complete: bool,
    /// Bad ends.
    pub bad: Vec<BadEnd>,
}

/// So many paths a worker hands to one that has nothing to do.
const SHARED_MAX: usize = 16;

/// States are remembered on so many shelves, each with its own lock.
const SHELVES: usize = 64;

#[derive(Default)]
struct Open {
    /// Ways to states that nobody follows yet. Ways, not states: a world stays on its thread.
    paths: Vec<Vec<Step>>,
    /// Workers that have something to do.
    busy: usize,
}

struct Search {
    bounds: Bounds,
    open: Mutex<Open>,
    more: Condvar,
    /// Whether somebody waits for work.
    hungry: AtomicBool,
    seen: Vec<Mutex<HashSet<u64>>>,
    steps: AtomicU64,
    stop: AtomicBool,
    bad: Mutex<Vec<(Violation, Vec<Step>)>>,
    end: Instant,
}

impl Search {
    fn is_new(&self, hash: u64) -> bool {
        let shelf = usize::try_from(hash % 64).unwrap_or_default() % SHELVES;
        self.seen[shelf].lock().expect("nobody panics with it").insert(hash)
    }

    /// Follows one place: its new successors go to `own`.
    fn follow(&self, place: &Place, own: &mut Vec<Place>, text: &mut String) {
        for step in place.steps() {
            let mut next = place.clone();
            self.steps.fetch_add(1, Ordering::Relaxed);
            match catch_unwind(AssertUnwindSafe(|| next.take(step))) {
                Ok(Some(())) if self.is_new(next.hash(text)) => own.push(next),
                Ok(_) => {}
                Err(panic) => {
                    let mut path = place.path.clone();
                    path.push(step);
                    self.bad.lock().expect("nobody panics with it").push((violation_of(&*panic), path));
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Ways that nobody follows yet; none when all is done.
    fn fetch(&self, was_busy: bool) -> Vec<Vec<Step>> {
        let mut open = self.open.lock().expect("nobody panics with it");
        open.busy -= usize::from(was_busy);
        while open.paths.is_empty() && open.busy > 0 && !self.stop.load(Ordering::Relaxed) {
            self.hungry.store(true, Ordering::Relaxed);
            open = self.more.wait_timeout(open, Duration::from_millis(50)).expect("nobody panics with it").0;
        }
        let paths = std::mem::take(&mut open.paths);
        open.busy += usize::from(!paths.is_empty());
        self.more.notify_all();
        paths
    }

    fn work(&self) {
        let (mut own, mut text, mut busy) = (Vec::new(), String::new(), false);
        while !self.stop.load(Ordering::Relaxed) {
            let Some(place) = own.pop() else {
                own = self.fetch(busy).iter().map(|path| Place::at(path, self.bounds)).collect();
                busy = !own.is_empty();
                if busy { continue } else { break }
            };
            if Instant::now() >= self.end {
                self.stop.store(true, Ordering::Relaxed);
            }
            self.follow(&place, &mut own, &mut text);
            if own.len() > SHARED_MAX && self.hungry.swap(false, Ordering::Relaxed) {
                let shared = own.drain(..SHARED_MAX).map(|place| place.path);
                self.open.lock().expect("nobody panics with it").paths.extend(shared);
                self.more.notify_all();
            }
        }
    }
}

/// Searches for at most so long.
#[must_use]
pub fn search(bounds: Bounds, time: Duration, threads: usize) -> Found {
    let search = Search {
        bounds,
        open: Mutex::new(Open { paths: vec![Vec::new()], busy: 0 }),
        more: Condvar::new(),
        hungry: AtomicBool::new(false),
        seen: (0..SHELVES).map(|_| Mutex::default()).collect(),
        steps: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        bad: Mutex::default(),
        end: Instant::now() + time,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| search.work());
        }
    });
    let shelves = search.seen.iter().map(|shelf| shelf.lock().expect("all workers are done").len());
    let states = index_of(shelves.sum());
    let bad = search.bad.into_inner().expect("all workers are done");
    Found {
        states,
        steps: search.steps.into_inner(),
        complete: !search.stop.into_inner(),
        bad: bad.into_iter().map(|(violation, path)| tell(violation, &path, bounds)).collect(),
    }
}

/// Takes the path again, aloud.
fn tell(violation: Violation, path: &[Step], bounds: Bounds) -> BadEnd {
    let trace = Trace::aloud(10_000);
    let mut place = Place { world: start(trace.clone()), left: bounds, path: Vec::new() };
    for step in path {
        trace.say(|| format!("-- {step:?}"));
        let taken = catch_unwind(AssertUnwindSafe(|| place.take(*step)));
        if taken.is_err() {
            break;
        }
    }
    BadEnd { violation, trace: trace.text() }
}
