//! What a run found, for people and for programs.

use super::gaps::Gap;
use super::stats::{Class, Kinds, Latencies, Stats};
use super::verdict::{Verdict, Wrong};
use super::workload::{Pace, Workload};
use crate::cli::quantity::{grouped, latency};
use crate::cli::{Exit, Failure, output};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A schedule that was this far behind, or left this part of its requests unsent, shows a server (or client)
/// that cannot keep the rate.
const SATURATED_LAG: Duration = Duration::from_secs(1);
const SATURATED_UNSENT: f64 = 0.01;

/// The measured phase of a run.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    pub(super) stats: Stats,
    pub(super) gap: Option<Gap>,
}

/// How a run ended.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    pub(super) interrupted: bool,
    pub(super) gave_up: Option<String>,
}

/// What a run found. As JSON its fields are only ever added to; times are in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// From the first due request to the last answer.
    pub elapsed_us: u64,
    /// Requests answered as wanted.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// Reads.
    pub reads: ClassReport,
    /// Writes.
    pub writes: ClassReport,
    /// The part of the reads that found a value; none without reads.
    pub hit_rate: Option<f64>,
    /// Requests that had no effect, by the server's error or by what happened.
    pub errors: BTreeMap<String, u64>,
    /// Writes of which it is not known whether they took effect, by what happened.
    pub outcome_unknown: BTreeMap<String, u64>,
    /// `-MOVED` answers followed.
    pub redirects: u64,
    /// Connections that broke.
    pub connections_broken: u64,
    /// Only with a rate.
    pub open_loop: Option<OpenLoop>,
    /// Only when groups were watched.
    pub longest_silence: Option<Silence>,
    /// Only when verifying.
    pub verified: Option<Verified>,
    /// The observer ended the run before its end.
    pub interrupted: bool,
    /// Why the run could not come to its end, if so.
    pub gave_up: Option<String>,
}

/// One class of requests.
#[derive(Debug, Clone, Serialize)]
pub struct ClassReport {
    /// Requests answered as wanted.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// From the due time (with a rate) or the send (without) to the answer; none without requests.
    pub latency: Option<Percentiles>,
    /// From the send to the answer: what a client that waits for its server would have measured.
    pub service: Option<Percentiles>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// How well the rate was kept.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OpenLoop {
    /// The rate that was asked for.
    pub per_second: f64,
    /// Requests that were due and never sent.
    pub unsent: u64,
    /// How far behind its times the schedule was at worst.
    pub lag_max_us: u64,
    /// The rate could not be kept: the latencies say how overload looks, not how the server does.
    pub saturated: bool,
}

/// The longest time in which one group acknowledged no write.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Silence {
    /// The group.
    pub group: u32,
    /// How long.
    pub us: u64,
}

/// The judgement of a verified run.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Nothing acknowledged was lost, nothing read was wrong, every key was read back.
    pub clean: bool,
    /// Keys of the run.
    pub keys: u64,
    /// Keys read back at the end.
    pub keys_checked: u64,
    /// Acknowledged writes, from the first phase on.
    pub writes_acknowledged: u64,
    /// Keys with a write of unknown outcome.
    pub keys_in_doubt: u64,
    /// Values compared while the load ran.
    pub reads_checked: u64,
    /// Of these, those that were stale or foreign.
    pub reads_wrong: u64,
    /// Keys that lost an acknowledged write or hold a foreign value.
    pub keys_wrong: u64,
    /// A few of what was wrong.
    pub examples: Vec<Wrong>,
}

impl Report {
    pub(super) fn new(workload: &Workload, measured: Measured, verdict: Option<Verdict>, end: End) -> Report {
        let Measured { elapsed, stats, gap } = measured;
        let requests = stats.completed();
        let reads = stats.hits + stats.misses;
        Report {
            elapsed_us: whole_us(elapsed),
            requests,
            requests_per_second: per_second(requests, elapsed),
            reads: ClassReport::new(&stats.reads, elapsed),
            writes: ClassReport::new(&stats.writes, elapsed),
            hit_rate: (reads > 0).then(|| ratio(stats.hits, reads)),
            errors: by_kind(&stats.errors),
            outcome_unknown: by_kind(&stats.unknown),
            redirects: stats.redirects,
            connections_broken: stats.breaks,
            open_loop: open_loop(workload, &stats),
            longest_silence: gap.map(|gap| Silence { group: gap.group, us: gap.ns / 1000 }),
            verified: verdict.map(Verified::new),
            interrupted: end.interrupted,
            gave_up: end.gave_up,
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut table = output::table(&["", "requests", "per second", "p50", "p90", "p99", "p99.9", "max"]);
        output::align_numbers(&mut table, 1);
        for (name, class) in [("reads", &self.reads), ("writes", &self.writes)] {
            if let Some(shown) = class.latency {
                table.add_row(class.row(name, &shown));
            }
            if let (Some(shown), Some(_)) = (class.service, self.open_loop) {
                table.add_row(class.row(&format!("{name}, from send"), &shown));
            }
        }
        let mut text = format!("{table}\n{}", self.summary());
        for line in self.remarks() {
            text.push('\n');
            text.push_str(&line);
        }
        text
    }

    /// The end that a command with this report deserves.
    ///
    /// # Errors
    /// [`Exit::Failed`]: something acknowledged was lost, or something read was wrong. [`Exit::Timeout`]: it
    /// is not known, or the run came to no end. [`Exit::Unavailable`]: not one request was answered.
    pub fn judge(&self) -> Result<(), Failure> {
        if let Some(verified) = self.verified.as_ref().filter(|verified| !verified.clean) {
            let wrong = verified.keys_wrong + verified.reads_wrong > 0;
            let exit = if wrong { Exit::Failed } else { Exit::Timeout };
            return Err(Failure::new(exit, anyhow::anyhow!(verified.sentence())));
        }
        if self.requests == 0 && !self.interrupted {
            return Err(Failure::unavailable("not one request was answered as wanted"));
        }
        self.gave_up.as_ref().map_or(Ok(()), |why| Err(Failure::timeout(why)))
    }

    fn summary(&self) -> String {
        let seconds = Duration::from_micros(self.elapsed_us).as_secs_f64();
        let (requests, rate) = (grouped(self.requests), whole(self.requests_per_second));
        let hits = self.hit_rate.map(|rate| format!(", {:.1} % of the reads found a value", rate * 100.0));
        format!("{requests} requests in {seconds:.2} s: {rate} per second{}", hits.unwrap_or_default())
    }

    /// What deserves a line of its own.
    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let counts = |kinds: &BTreeMap<String, u64>| {
            let counts = kinds.iter().map(|(kind, count)| format!("{} {kind}", grouped(*count)));
            counts.collect::<Vec<_>>().join(", ")
        };
        if !self.errors.is_empty() {
            lines.push(format!("errors: {}", counts(&self.errors)));
        }
        if !self.outcome_unknown.is_empty() {
            lines.push(format!("outcome unknown: {}", counts(&self.outcome_unknown)));
        }
        if self.connections_broken > 0 {
            lines.push(format!("connections broken: {}", grouped(self.connections_broken)));
        }
        if let Some(open) = self.open_loop.filter(|open| open.saturated) {
            let lag = latency(Duration::from_micros(open.lag_max_us));
            let (unsent, rate) = (grouped(open.unsent), whole(open.per_second));
            lines.push(format!(
                "SATURATED: {rate} per second were not kept: {lag} behind, {unsent} never sent"
            ));
        }
        if let Some(silence) = &self.longest_silence {
            let time = latency(Duration::from_micros(silence.us));
            lines.push(format!(
                "longest time without an acknowledged write: {time} (group {})",
                silence.group
            ));
        }
        lines.extend(self.interrupted.then(|| "interrupted before its end".to_owned()));
        lines.extend(self.gave_up.iter().map(|why| format!("given up: {why}")));
        lines.extend(self.verified.iter().map(Verified::sentence));
        lines
    }
}

impl ClassReport {
    fn new(class: &Class, elapsed: Duration) -> ClassReport {
        let requests = class.latency.count();
        ClassReport {
            requests,
            requests_per_second: per_second(requests, elapsed),
            latency: Percentiles::new(&class.latency),
            service: Percentiles::new(&class.service),
        }
    }

    fn row(&self, name: &str, shown: &Percentiles) -> Vec<String> {
        let mut row = vec![name.to_owned(), grouped(self.requests), whole(self.requests_per_second)];
        let columns = [shown.p50_us, shown.p90_us, shown.p99_us, shown.p999_us, shown.max_us];
        row.extend(columns.map(|us| latency(Duration::from_secs_f64(us / 1e6))));
        row
    }
}

impl Percentiles {
    #[expect(clippy::cast_precision_loss, reason = "latencies lie far below 2^53 ns")]
    fn new(latencies: &Latencies) -> Option<Percentiles> {
        let us = |part| latencies.quantile_ns(part) as f64 / 1e3;
        (latencies.count() > 0).then(|| Percentiles {
            mean_us: latencies.mean_ns() / 1e3,
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: latencies.max_ns() as f64 / 1e3,
        })
    }
}

impl Verified {
    fn new(verdict: Verdict) -> Verified {
        let clean = verdict.is_clean();
        let mut examples = verdict.read_back.examples;
        examples.extend(verdict.reads.examples);
        Verified {
            clean,
            keys: verdict.keys,
            keys_checked: verdict.read_back.checked,
            writes_acknowledged: verdict.acknowledged,
            keys_in_doubt: verdict.in_doubt,
            reads_checked: verdict.reads.checked,
            reads_wrong: verdict.reads.wrong,
            keys_wrong: verdict.read_back.wrong,
            examples,
        }
    }

    /// The verdict in one sentence, or two with what is wrong.
    pub fn sentence(&self) -> String {
        let (checked, writes) = (grouped(self.keys_checked), grouped(self.writes_acknowledged));
        if self.clean {
            return format!(
                "every acknowledged write is still there ({checked} keys, {writes} writes checked)"
            );
        }
        let mut faults = Vec::new();
        if self.keys_wrong > 0 {
            faults.push(format!(
                "LOST: {} of {checked} keys do not hold what was acknowledged",
                self.keys_wrong
            ));
        }
        if self.reads_wrong > 0 {
            let reads = grouped(self.reads_checked);
            faults.push(format!("WRONG: {} of {reads} reads were stale or foreign", self.reads_wrong));
        }
        if self.keys_checked < self.keys {
            let unread = grouped(self.keys - self.keys_checked);
            faults
                .push(format!("NOT CHECKED: {unread} of {} keys could not be read back", grouped(self.keys)));
        }
        let shown = self.examples.iter().take(3).map(|wrong| {
            let found = wrong.found.map_or("a foreign value".to_owned(), |found| format!("write {found}"));
            let Wrong { key, at_least, at_most, .. } = wrong;
            format!("key {key} held {found}, not one of {at_least}..={at_most}")
        });
        faults.extend(shown);
        faults.join("; ")
    }
}

fn open_loop(workload: &Workload, stats: &Stats) -> Option<OpenLoop> {
    let Pace::Open { per_second, .. } = workload.pace else { return None };
    let due = stats.completed() + stats.failed() + stats.unsent;
    let unsent_part = if due == 0 { 0.0 } else { ratio(stats.unsent, due) };
    let lag = Duration::from_nanos(stats.lag_max_ns);
    Some(OpenLoop {
        per_second,
        unsent: stats.unsent,
        lag_max_us: whole_us(lag),
        saturated: unsent_part > SATURATED_UNSENT || lag > SATURATED_LAG,
    })
}

fn by_kind(kinds: &Kinds) -> BTreeMap<String, u64> {
    kinds.iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

fn whole_us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts lie far below 2^53")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts lie far below 2^53")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

/// A rate for people: no digits behind the point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and below 2^53"
)]
fn whole(rate: f64) -> String {
    grouped(rate.round() as u64)
}
