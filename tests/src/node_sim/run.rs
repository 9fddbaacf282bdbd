//! Runs: one seed, many seeds on all cores.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::profile::Profile;
use super::told::listen;
use super::world::{Counts, Happening, World};
use crate::core_sim::run::{Failure, violation_of};
use crate::core_sim::trace::Trace;

/// Lives the life of one seed.
///
/// # Errors
/// The promise that was broken.
pub fn seed(seed: u64, trace: &Trace) -> Result<Counts, Failure> {
    let trace = trace.clone();
    catch_unwind(AssertUnwindSafe(|| listen(&trace.clone(), || live(seed, trace))))
        .map_err(|panic| Failure { seed, violation: violation_of(&*panic) })
}

/// Lives one life of a given kind.
///
/// # Errors
/// The promise that was broken.
pub fn seed_as(seed: u64, profile: &Profile, trace: &Trace) -> Result<Counts, Failure> {
    let live = || {
        super::witnessed::forget();
        live_as(World::new(fastrand::Rng::with_seed(seed), profile.clone(), trace.clone()))
    };
    catch_unwind(AssertUnwindSafe(|| listen(trace, live)))
        .map_err(|panic| Failure { seed, violation: violation_of(&*panic) })
}

/// Plays a scripted test.
///
/// # Errors
/// The promise that was broken, or the step that did not come about.
pub fn script(seed: u64, trace: &Trace, play: impl FnOnce(fastrand::Rng, Trace)) -> Result<(), Failure> {
    let play = || {
        super::witnessed::forget();
        play(fastrand::Rng::with_seed(seed), trace.clone());
    };
    catch_unwind(AssertUnwindSafe(|| listen(trace, play)))
        .map_err(|panic| Failure { seed, violation: violation_of(&*panic) })
}

fn live(seed: u64, trace: Trace) -> Counts {
    super::witnessed::forget();
    let mut random = fastrand::Rng::with_seed(seed);
    let profile = Profile::draw(&mut random);
    trace.say(|| format!("seed {seed}: {profile:?}"));
    live_as(World::new(random, profile, trace))
}

/// Lives one life in `world` to its end.
fn live_as(mut world: World) -> Counts {
    world.begin();
    world.begin_clients();
    world.plan(world.profile.chaos_us, Happening::Chaos);
    world.run_until(world.profile.life_us);
    world.calm_down();
    world.counts
}

/// What many lives came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that passed.
    pub passed: u64,
    /// All that happened.
    pub counts: Counts,
    /// How often each mark was reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// Those that failed, by seed.
    pub failures: Vec<Failure>,
}

/// Lives `count` lives from seed `from` on, on `threads` threads; ends early once `failures_max` have failed. `prepare` runs on each
/// thread first. Seeds are begun in order, so the smallest failing one is always among the failures.
pub fn seeds(
    from: u64,
    count: u64,
    threads: usize,
    failures_max: usize,
    prepare: impl Fn() + Sync,
) -> Summary {
    let (next, enough) = (AtomicU64::new(from), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                prepare();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= from.saturating_add(count) || enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let result = seed(number, &Trace::silent());
                    let marks = runtime::probe::take_marks();
                    let mut summary = summary.lock().expect("nobody panics with it");
                    summary.add(result, marks);
                    enough.fetch_or(summary.failures.len() >= failures_max, Ordering::Relaxed);
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("all threads are done");
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}

impl Summary {
    fn add(&mut self, result: Result<Counts, Failure>, marks: BTreeMap<&'static str, u64>) {
        for (mark, count) in marks {
            *self.marks.entry(mark).or_default() += count;
        }
        match result {
            Ok(counts) => {
                self.passed += 1;
                self.counts.add(&counts);
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}
