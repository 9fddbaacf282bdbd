//! Runs of the simulation: one seed, many seeds on all cores.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::graphs::Cuts;
use super::profile::Profile;
use super::trace::Trace;
use super::violation::Violation;
use super::world::World;

/// The steps of one life; every hundredth is a storm.
const STEPS: usize = 1200;

const SECOND_US: u64 = 1_000_000;

/// What a good life was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// Entries committed.
    pub committed: u64,
    /// Reads served.
    pub reads: u64,
    /// Configurations committed.
    pub configs: u64,
    /// Terms that had a leader.
    pub terms: u64,
    /// Snapshots installed.
    pub snapshots: u64,
    /// Replicas that had lost entries and stand again.
    pub recoveries: u64,
    /// Times a leader came to rest.
    pub rests: u64,
}

/// How a life failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was wrong, and which check saw it.
    pub violation: Violation,
}

/// What a panic says, as a violation.
#[must_use]
pub fn violation_of(panic: &(dyn Any + Send)) -> Violation {
    if let Some(violation) = panic.downcast_ref::<Violation>() {
        return violation.clone();
    }
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
    Violation { check: "panic", text: text.unwrap_or_else(|| "a panic without words".to_string()) }
}

fn live(seed: u64, spec: bool, trace: Trace) -> Worth {
    let mut random = fastrand::Rng::with_seed(seed);
    let profile = Profile { spec, ..Profile::draw(&mut random) };
    trace.say(|| format!("seed {seed}: {profile:?}"));
    let mut world = World::new(random, profile, trace);
    for step in 0..STEPS {
        world.chaos();
        if step % 100 == 50 {
            if world.random.u8(..4) > 0 { world.storm() } else { world.lull() }
        }
    }
    if world.random.bool() {
        world.lull();
    }
    world.assert_heals();
    let configs = world.ledger.history.iter().filter(|entry| entry.roster.is_some()).count();
    Worth {
        committed: super::disk::index_of(world.ledger.history.len()),
        reads: world.ledger.reads.served,
        configs: super::disk::index_of(configs),
        terms: world.ledger.elections.count(),
        snapshots: world.counts.snapshots,
        recoveries: world.counts.recoveries,
        rests: world.counts.rests,
    }
}

/// Lives the life of one seed, followed by the specification or not.
///
/// # Errors
/// The promise that was broken.
pub fn seed(seed: u64, spec: bool, trace: &Trace) -> Result<Worth, Failure> {
    let trace = trace.clone();
    catch_unwind(AssertUnwindSafe(|| live(seed, spec, trace)))
        .map_err(|panic| Failure { seed, violation: violation_of(&*panic) })
}

/// What many lives came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that passed.
    pub passed: u64,
    /// All they did.
    pub worth: Worth,
    /// Those that failed, by seed.
    pub failures: Vec<Failure>,
}

/// Which seeds to live, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// On how many threads.
    pub threads: usize,
    /// Stops once so many have failed.
    pub failures_max: usize,
    /// Whether the specification follows.
    pub spec: bool,
}

/// Lives many lives. `prepare` runs on each thread before its first. Seeds are begun in order and ended
/// all the same when enough have failed, so the smallest failing seed is always among the failures.
pub fn seeds(plan: Plan, prepare: impl Fn() + Sync) -> Summary {
    let (next, enough) = (AtomicU64::new(plan.from), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| {
                prepare();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.from + plan.count || enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = seed(number, plan.spec, &Trace::silent());
                    let mut summary = summary.lock().expect("nobody panics with it");
                    summary.add(result);
                    enough.fetch_or(summary.failures.len() >= plan.failures_max, Ordering::Relaxed);
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("all threads are done");
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}

/// Under cut links, five nodes with a leader: within seconds whoever leads commits what is proposed,
/// and not only what was on its way. What went wrong otherwise.
fn commits_under(cuts: Cuts) -> Result<(), String> {
    let live = || {
        let mut world = World::new(fastrand::Rng::with_seed(1), Profile::plain(5), Trace::silent());
        world.run_until(5 * SECOND_US, |world| (0..5).any(|at| world.machines[at].leads()));
        world.cuts = cuts;
        world.run_until(8 * SECOND_US, |_| false);
        let before = world.ledger.history.len();
        for _ in 0..4 {
            (0..5).for_each(|at| drop(world.propose(at, 1)));
            world.run_until(SECOND_US, |world| world.ledger.history.len() > before);
        }
        world.expect(world.ledger.history.len() > before, "liveness", || "nothing is committed".to_string());
    };
    catch_unwind(AssertUnwindSafe(live)).map_err(|panic| {
        let violation = violation_of(&*panic);
        format!("{}: {} under {cuts:?}", violation.check, violation.text)
    })
}

/// Lives under each of the graphs. What went wrong, in order.
#[must_use]
pub fn graphs(graphs: &[Cuts], threads: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(cuts) = graphs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = commits_under(*cuts) {
                        failures.lock().expect("nobody panics with it").push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("all threads are done");
    failures.sort();
    failures
}

impl Summary {
    fn add(&mut self, result: Result<Worth, Failure>) {
        match result {
            Ok(worth) => {
                self.passed += 1;
                self.worth.committed += worth.committed;
                self.worth.reads += worth.reads;
                self.worth.configs += worth.configs;
                self.worth.terms += worth.terms;
                self.worth.snapshots += worth.snapshots;
                self.worth.recoveries += worth.recoveries;
                self.worth.rests += worth.rests;
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}
