//! A run: its phases one after the other, each on all threads.

use super::gaps::Gaps;
use super::keys::Picker;
use super::report::{End, Measured, Report};
use super::routes::{self, Owners};
use super::schedule::Schedule;
use super::source::{Class, Mix, Source, Sweep};
use super::stats::Stats;
use super::verdict::Verdict;
use super::worker::{Shared, Worker};
use super::workload::{Bound, Pace, Phase, Progress, Workload};
use crate::cli::client::{Client, ClientError};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often the observer is called.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a target may take to answer before the run begins.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a run did not begin or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The workload contradicts itself: a mistake of the caller.
    #[error("{0}")]
    Workload(&'static str),
    /// No target answered.
    #[error("no target answers: {0}")]
    Unavailable(String),
    /// A target answered, but does not want this load.
    #[error("{0}")]
    Refused(String),
    /// The system refused a thread, a timer or a poll.
    #[error("the load client failed: {0}")]
    Io(#[from] io::Error),
}

/// Runs `workload` to its end. `observer` is called every 100 ms on the calling thread, and ends the current
/// phase and the run early with [`ControlFlow::Break`]; what was measured until then is reported.
///
/// # Errors
/// See [`LoadError`]. Once the load runs, broken connections and refused requests are counted, not errors.
pub fn run(
    workload: &Workload,
    observer: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Report, LoadError> {
    if let Some(why) = workload.contradiction() {
        return Err(LoadError::Workload(why));
    }
    let owners = probe(workload)?;
    let run = fastrand::u32(..);
    let workers: io::Result<Vec<Worker>> =
        (0..workload.threads).map(|thread| Worker::new(workload, run, thread, &owners)).collect();
    let mut run = Run { workload, workers: workers?, clock: Instant::now(), end: End::default() };
    if workload.preload {
        run.phase(Phase::Preload, observer)?;
    }
    if !workload.warmup.is_zero() {
        run.phase(Phase::Warmup, observer)?;
    }
    let measured = run.phase(Phase::Measure, observer)?;
    if workload.verify {
        run.phase(Phase::ReadBack, observer)?;
    }
    let verdict = workload.verify.then(|| run.verdict());
    Ok(Report::new(workload, measured, verdict, run.end))
}

/// Asks the targets in turn until one answers; in cluster mode it says who owns what.
fn probe(workload: &Workload) -> Result<Owners, LoadError> {
    let mut reasons = Vec::new();
    for target in &workload.targets {
        match probe_one(*target, workload.cluster) {
            Ok(owners) => return Ok(owners),
            Err(error @ ClientError::Link { .. }) => reasons.push(error.to_string()),
            Err(error) => return Err(LoadError::Refused(format!("{target} refuses the load: {error}"))),
        }
    }
    Err(LoadError::Unavailable(reasons.join("; ")))
}

fn probe_one(target: SocketAddr, cluster: bool) -> Result<Owners, ClientError> {
    let mut client = Client::connect(target, PROBE_TIMEOUT)?;
    client.ask(&[b"PING"], |_| Ok(()))?;
    if !cluster {
        return Ok(Owners::new());
    }
    client.ask(&[b"CLUSTER", b"SLOTS"], |reply| match routes::owners(reply, target)? {
        owners if owners.is_empty() => Err("the cluster has no slots".into()),
        owners => Ok(owners),
    })
}

struct Run<'a> {
    workload: &'a Workload,
    workers: Vec<Worker>,
    clock: Instant,
    /// Whether and why it ends early: further phases then do nothing.
    end: End,
}

impl Run<'_> {
    fn phase(
        &mut self,
        phase: Phase,
        observer: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Measured, LoadError> {
        let start_ns = u64::try_from(self.clock.elapsed().as_nanos()).expect("584 years");
        let measured = phase == Phase::Measure;
        let shared = Shared {
            clock: self.clock,
            start_ns,
            stop: AtomicBool::new(self.end.interrupted),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gaps: self.workload.groups.filter(|_| measured).map(|groups| Gaps::new(groups, start_ns)),
            hopeless: Mutex::new(None),
        };
        let outcomes = self.run_threads(phase, &shared, observer);
        let mut stats = Stats::default();
        for outcome in outcomes {
            stats.merge(&outcome?);
        }
        let hopeless = shared.hopeless.into_inner().expect("no thread panics with it");
        match (phase, hopeless) {
            (Phase::Preload, Some(why)) => return Err(LoadError::Refused(why)),
            (_, Some(why)) => self.end.gave_up = Some(why),
            (_, None) => self.end.interrupted = shared.stop.into_inner(),
        }
        let end_ns = match self.workload.bound {
            // Silence while the last answers were waited for is nobody's: nothing was asked any more.
            Bound::Time(time) => stats.ended_ns.min(start_ns.saturating_add(nanos(time))),
            Bound::Requests(_) => stats.ended_ns,
        };
        let elapsed = Duration::from_nanos(stats.ended_ns - start_ns);
        Ok(Measured { elapsed, gap: shared.gaps.and_then(|gaps| gaps.longest(end_ns)), stats })
    }

    fn run_threads(
        &mut self,
        phase: Phase,
        shared: &Shared,
        observer: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Vec<io::Result<Stats>> {
        let workload = self.workload;
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let mut handles = Vec::new();
            for (thread, worker) in self.workers.iter_mut().enumerate() {
                let source = source(workload, phase, thread, shared.start_ns);
                let done = done.clone();
                handles.push(scope.spawn(move || {
                    let outcome = worker.run(shared, source);
                    drop(done);
                    outcome
                }));
            }
            drop(done);
            while is_done.recv_timeout(OBSERVE_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                let elapsed = Duration::from_nanos(shared.now_ns() - shared.start_ns);
                if observer(&progress(workload, phase, elapsed, shared)).is_break() {
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            let join = |handle: std::thread::ScopedJoinHandle<'_, _>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            handles.into_iter().map(join).collect()
        })
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for ledger in self.workers.iter().filter_map(|worker| worker.ledger.as_ref()) {
            verdict.merge(&ledger.verdict());
        }
        verdict
    }
}

fn source(workload: &Workload, phase: Phase, thread: usize, start_ns: u64) -> Source {
    let (thread, threads) = (thread as u64, workload.threads as u64);
    let sweep = |class| {
        Source::Sweep(Sweep { phase, class, next: thread, threads, keys: workload.keys, again: Vec::new() })
    };
    let time = match (phase, workload.bound) {
        (Phase::Preload, _) => return sweep(Class::Write),
        (Phase::ReadBack, _) => return sweep(Class::Read),
        (Phase::Warmup, _) => Some(workload.warmup),
        (Phase::Measure, Bound::Time(time)) => Some(time),
        (Phase::Measure, Bound::Requests(_)) => None,
    };
    let left = match workload.bound {
        Bound::Requests(requests) if time.is_none() => share(requests, thread, threads),
        _ => u64::MAX,
    };
    let schedule = match workload.pace {
        Pace::Closed => None,
        #[expect(clippy::cast_precision_loss, reason = "threads are few")]
        Pace::Open { per_second, arrival } => {
            let (part, phase) = (per_second / threads as f64, thread as f64 / threads as f64);
            let seed = workload.seed.wrapping_add(thread).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Some(Schedule::new(arrival, part, start_ns, phase, seed))
        }
    };
    Source::Mix(Mix {
        picker: Picker::new(workload.distribution, workload.keys),
        reads_percent: workload.reads_percent,
        left,
        end_ns: time.map_or(u64::MAX, |time| start_ns.saturating_add(nanos(time))),
        schedule,
    })
}

fn share(requests: u64, thread: u64, threads: u64) -> u64 {
    requests / threads + u64::from(thread < requests % threads)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a fraction for the eye")]
fn progress(workload: &Workload, phase: Phase, elapsed: Duration, shared: &Shared) -> Progress {
    let completed = shared.completed.load(Ordering::Relaxed);
    let of_time = |time: Duration| elapsed.as_secs_f64() / time.as_secs_f64();
    let fraction = match (phase, workload.bound) {
        (Phase::Preload | Phase::ReadBack, _) => completed as f64 / workload.keys as f64,
        (Phase::Warmup, _) => of_time(workload.warmup),
        (Phase::Measure, Bound::Time(time)) => of_time(time),
        (Phase::Measure, Bound::Requests(requests)) => completed as f64 / requests as f64,
    };
    let fraction = if fraction.is_nan() { 1.0 } else { fraction.clamp(0.0, 1.0) };
    Progress { phase, elapsed, fraction, completed, failed: shared.failed.load(Ordering::Relaxed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let shares: Vec<u64> = (0..3).map(|thread| share(11, thread, 3)).collect();
        assert_eq!(shares, [4, 4, 3]);
    }
}
