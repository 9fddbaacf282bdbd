//! Small scope, all of it: every order of everything that can happen to three nodes, up to a few
//! terms, entries and faults, on the real core. A state that was seen before is not followed again.
//!
//! Time is abstract: all clocks stand still but for a few leaps of a whole election timeout, after which
//! any node may fire its timer before or after any other. Messages, writes and finished writes are
//! separate steps. What random lives find by luck, this finds for sure, within its bounds.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use raft::{Change, NodeId};

use super::input::Input;
use super::profile::Profile;
use super::run::violation_of;
use super::trace::Trace;
use super::violation::Violation;
use super::world::World;

/// How much may happen in one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Leaps of time by an election timeout.
    pub leaps: u8,
    /// Proposals.
    pub proposals: u8,
    /// Changes of members.
    pub changes: u8,
    /// Crashes, each with a restart.
    pub crashes: u8,
    /// Messages lost.
    pub drops: u8,
    /// Messages that arrive twice.
    pub doubles: u8,
    /// Messages in flight at most: more are not sent yet.
    pub network: u8,
    /// Steps.
    pub depth: u16,
}

/// The bounds that are searched by default. All faults at once would be too many.
pub const SCOPES: [(&str, Bounds); 5] = [
    ("an election and a proposal", Bounds { leaps: 1, proposals: 1, ..NOTHING }),
    ("a change of members", Bounds { leaps: 1, changes: 1, ..NOTHING }),
    ("a crash", Bounds { leaps: 1, crashes: 1, ..NOTHING }),
    ("two elections, a message lost and one doubled", Bounds { leaps: 2, drops: 1, doubles: 1, ..NOTHING }),
    (
        "everything",
        Bounds { leaps: 2, proposals: 1, changes: 1, crashes: 1, drops: 1, doubles: 1, ..NOTHING },
    ),
];

const NOTHING: Bounds =
    Bounds { leaps: 0, proposals: 0, changes: 0, crashes: 0, drops: 0, doubles: 0, network: 3, depth: 200 };

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Leap,
    Tick(usize),
    Propose(usize),
    Change(usize),
    /// All a node has for another goes out.
    Send(usize, usize),
    Deliver(usize),
    Drop(usize),
    Double(usize),
    Submit(usize),
    Persist(usize),
    Crash(usize, usize),
    Start(usize),
}

/// A state, and how much may still happen.
#[derive(Clone)]
struct Place {
    world: World,
    left: Bounds,
    path: Vec<Step>,
}

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

fn start(trace: Trace) -> World {
    World::new(fastrand::Rng::with_seed(0), Profile::small(), trace)
}

impl Place {
    /// Where a path leads that has been gone before.
    fn at(path: &[Step], bounds: Bounds) -> Place {
        let mut place = Place { world: start(Trace::silent()), left: bounds, path: Vec::new() };
        path.iter().for_each(|step| {
            place.take(*step);
        });
        place
    }

    /// All that may happen next.
    fn steps(&self) -> Vec<Step> {
        let (world, left) = (&self.world, self.left);
        let mut steps = Vec::new();
        if left.depth == 0 {
            return steps;
        }
        if left.leaps > 0 {
            steps.push(Step::Leap);
        }
        for at in 0..world.nodes() {
            self.steps_of(at, &mut steps);
        }
        for place in 0..world.network.len() {
            // Of equal messages one is enough.
            if world.network[..place].contains(&world.network[place]) {
                continue;
            }
            steps.push(Step::Deliver(place));
            if left.drops > 0 {
                steps.push(Step::Drop(place));
            }
            if left.doubles > 0 {
                steps.push(Step::Double(place));
            }
        }
        steps
    }

    fn steps_of(&self, at: usize, steps: &mut Vec<Step>) {
        let (world, left) = (&self.world, self.left);
        let machine = &world.machines[at];
        let Some(node) = machine.node() else {
            steps.push(Step::Start(at));
            return;
        };
        if node.raft.deadline() <= machine.clock.read(world.now_us) {
            steps.push(Step::Tick(at));
        }
        if node.raft.is_leader() {
            if left.proposals > 0 {
                steps.push(Step::Propose(at));
            }
            if left.changes > 0 {
                steps.push(Step::Change(at));
            }
        }
        if node.wants_write() {
            steps.push(Step::Submit(at));
        }
        if node.in_flight() > 0 {
            steps.push(Step::Persist(at));
        }
        if left.crashes > 0 {
            steps.extend((0..=node.in_flight()).map(|survive| Step::Crash(at, survive)));
        }
        if world.network.len() < usize::from(left.network) {
            let due = |to: &usize| {
                let peer = world.machines[*to].id;
                node.raft.has_messages(peer) || node.raft.next_append(peer).is_some()
            };
            steps.extend((0..world.nodes()).filter(due).map(|to| Step::Send(at, to)));
        }
    }

    /// Takes a step. `None` if it comes to nothing.
    fn take(&mut self, step: Step) -> Option<()> {
        let (world, left) = (&mut self.world, &mut self.left);
        left.depth -= 1;
        self.path.push(step);
        match step {
            Step::Leap => {
                left.leaps -= 1;
                world.now_us += 1_000_000;
            }
            Step::Tick(at) => drop(world.act(at, Input::Tick)?),
            Step::Propose(at) => {
                left.proposals -= 1;
                world.propose(at, 1)?.appended?;
            }
            Step::Change(at) => {
                left.changes -= 1;
                // The third node goes, or, if it leads, the first.
                let gone = if at == 2 { 1 } else { 3 };
                let outcome = world.act(at, Input::Change(vec![Change::Remove(NodeId(gone))]))?;
                outcome.refused.is_none().then_some(())?;
            }
            Step::Send(at, to) => {
                let to = world.machines[to].id;
                world.act(at, Input::Send { to, entries_max: 2 })?;
            }
            Step::Deliver(place) => {
                let envelope = world.network.remove(place);
                world.deliver(envelope, true);
            }
            Step::Drop(place) => {
                left.drops -= 1;
                world.network.remove(place);
            }
            Step::Double(place) => {
                left.doubles -= 1;
                let envelope = world.network[place].clone();
                world.deliver(envelope, true);
            }
            Step::Submit(at) => drop(world.act(at, Input::Submit)?),
            Step::Persist(at) => drop(world.act(at, Input::Persist)?),
            Step::Crash(at, survive) => {
                left.crashes -= 1;
                world.crash(at, survive);
            }
            Step::Start(at) => world.start(at),
        }
        Some(())
    }

    /// A hash over all that decides what may still happen.
    fn hash(&self, text: &mut String) -> u64 {
        text.clear();
        let world = &self.world;
        for machine in &world.machines {
            let known = (&machine.disk, machine.node());
            write!(text, "{:?}{known:?}", machine.life.is_none()).expect("a string takes everything");
        }
        let network = Unordered(world.network.iter().map(|envelope| format!("{envelope:?}")).collect());
        let seen = (world.ledger.elections.clone(), world.ledger.history.len());
        write!(text, "{network}{seen:?}{:?}{}", self.left, world.now_us).expect("a string takes everything");
        let mut hasher = DefaultHasher::new();
        hasher.write(without_chance(text).as_bytes());
        hasher.finish()
    }
}

/// Messages in flight may arrive in any order: the order in which they were sent is no part of a state.
struct Unordered(Vec<String>);

impl fmt::Display for Unordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&String> = self.0.iter().collect();
        sorted.sort();
        sorted.iter().try_for_each(|text| f.write_str(text))
    }
}

/// The text without the state of the nodes' generators: all timeouts are equal here, so they decide
/// nothing.
fn without_chance(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("Random(") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = rest.find(')').map_or("", |end| &rest[end + 1..]);
    }
    kept.push_str(rest);
    kept
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
    let states = super::disk::index_of(shelves.sum());
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
