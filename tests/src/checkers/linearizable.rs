//! Is a history linearizable? Checked key by key, since linearizability is local (Herlihy and Wing 1990):
//! each key is a register with GET, SET, DEL, INCR and APPEND, absent at first.
//!
//! - Operations that surely failed are left out, and so are reads without an answer.
//! - A write without an answer may take effect at any time after its call, or never. If it is the only one
//!   that can have written a value that was read, it took effect before that read returned.
//! - A key with many operations is cut into windows where nothing was in flight. Every value (and every
//!   subset of used unanswered writes) that a window can end with is a start of the next one, so cutting
//!   changes no answer.
//! - The search is exponential at worst. What exceeds its [`Limits`] is reported as undecided, which is
//!   neither a pass nor a violation.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::prepare::{self, Step};
use super::search::{Budget, Config, Exhausted, Goal, search};
use super::table;
use super::values::{ABSENT, Values};
use crate::history::{Bytes, History, Operation, Outcome, printable};

/// A fault that hits every key shows in the first few.
const TABLES_SHOWN: usize = 5;

/// How much the checker may spend.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Placements tried per key. Each costs about 50 ns and at most 48 bytes.
    pub tries_per_key: u64,
    /// For the whole history.
    pub time: Duration,
    /// Keys with more operations than this are cut into windows of about this size.
    pub window_len: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { tries_per_key: 20_000_000, time: Duration::from_secs(60), window_len: 2_000 }
    }
}

/// Evidence that a key's history is not linearizable.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The key.
    pub key: Bytes,
    /// The smallest set of operations found that still has no order.
    pub operations: Vec<Operation>,
    /// The same as a readable table.
    pub table: String,
}

/// What the checker found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Keys in the history.
    pub keys: usize,
    /// Operations in the history.
    pub operations: usize,
    /// Those without an answer.
    pub unknown: usize,
    /// Keys whose operations have no order.
    pub violations: Vec<Violation>,
    /// Keys for which the limits were too small.
    pub undecided: Vec<Bytes>,
}

impl Report {
    /// Every key was decided and is linearizable.
    pub fn is_linearizable(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }

    /// Panics with the evidence unless every key is linearizable.
    pub fn assert_linearizable(&self) {
        assert!(self.is_linearizable(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { keys, operations, unknown, violations, undecided } = self;
        writeln!(
            f,
            "{operations} operations on {keys} keys, {unknown} of them without an answer: {} keys not \
             linearizable, {} undecided",
            violations.len(),
            undecided.len()
        )?;
        for key in undecided {
            writeln!(f, "undecided: key \"{}\" (the limits of the search were reached)", printable(key))?;
        }
        for violation in violations.iter().take(TABLES_SHOWN) {
            writeln!(f, "\n{}", violation.table)?;
        }
        let hidden = violations.len().saturating_sub(TABLES_SHOWN);
        if hidden > 0 { writeln!(f, "and {hidden} more keys") } else { Ok(()) }
    }
}

/// Checks every key of a history.
pub fn check(history: &History, limits: &Limits) -> Report {
    let deadline = Instant::now() + limits.time;
    let unknown = |operation: &&Operation| operation.outcome == Outcome::Unknown;
    let mut report = Report {
        operations: history.operations().len(),
        unknown: history.operations().iter().filter(unknown).count(),
        ..Report::default()
    };
    for (key, operations) in history.by_key() {
        report.keys += 1;
        let mut check = KeyCheck::new(&operations, *limits, deadline);
        match check.run() {
            Ok(None) => {}
            Ok(Some(failure)) => report.violations.push(check.violation(key, &operations, failure)),
            Err(Exhausted) => report.undecided.push(key.to_vec()),
        }
    }
    report
}

/// A window without an order, and what could have held before it.
struct Failure {
    window: Range<usize>,
    starts: Vec<Config>,
    stuck: Option<usize>,
}

struct KeyCheck {
    steps: Vec<Step>,
    values: Values,
    limits: Limits,
    budget: Budget,
}

impl KeyCheck {
    fn new(operations: &[&Operation], limits: Limits, deadline: Instant) -> Self {
        let mut values = Values::new();
        let steps = prepare::steps(operations, &mut values);
        KeyCheck { steps, values, limits, budget: Budget { tries: limits.tries_per_key, deadline } }
    }

    fn run(&mut self) -> Result<Option<Failure>, Exhausted> {
        let len_min = if self.steps.len() <= self.limits.window_len {
            self.steps.len()
        } else {
            self.limits.window_len / 2
        };
        let windows = prepare::windows(&self.steps, len_min);
        self.follow(&windows, vec![Config { value: ABSENT, used: Vec::new() }])
    }

    /// Goes through windows; the failure is that of the first one without a way through.
    fn follow(
        &mut self,
        windows: &[Range<usize>],
        mut starts: Vec<Config>,
    ) -> Result<Option<Failure>, Exhausted> {
        for (at, window) in windows.iter().enumerate() {
            let goal = if at + 1 == windows.len() { Goal::AnyEnd } else { Goal::AllEnds };
            let within = self.within(window);
            let found = search(&self.steps, &within, &starts, goal, &mut self.values, &mut self.budget)?;
            if found.ends.is_empty() {
                return Ok(Some(Failure { window: window.clone(), starts, stuck: found.stuck }));
            }
            starts = found.ends.into_iter().collect();
            starts.sort_unstable();
        }
        Ok(None)
    }

    /// What a window must place, and what it may place: its own steps and the optional ones before it.
    fn within(&self, window: &Range<usize>) -> Vec<usize> {
        let may = (0..window.start).filter(|&step| self.steps[step].by.is_none());
        may.chain(window.clone()).collect()
    }

    /// The evidence: the failed window cut at every quiet moment, ended at the return that nothing gets
    /// past, and without the operations that do not matter. Each of these only helps the reader, so each
    /// is skipped when it would exceed the limits.
    fn violation(&mut self, key: &[u8], operations: &[&Operation], failure: Failure) -> Violation {
        let mut failure = self.finer(failure);
        let keep = self.shrunk(&mut failure);
        let recorded: Vec<&Operation> =
            keep.iter().map(|&step| operations[self.steps[step].source]).collect();
        let stuck = failure.stuck.map(|step| operations[self.steps[step].source]);
        let mut before: Vec<Option<Bytes>> =
            failure.starts.iter().map(|start| self.values.bytes(start.value).map(<[u8]>::to_vec)).collect();
        before.dedup();
        Violation {
            key: key.to_vec(),
            table: table::render(key, &before, &recorded, stuck),
            operations: recorded.into_iter().cloned().collect(),
        }
    }

    fn refill(&mut self) {
        const TIME_TO_EXPLAIN: Duration = Duration::from_secs(10);
        self.budget = Budget { tries: self.limits.tries_per_key, deadline: Instant::now() + TIME_TO_EXPLAIN };
    }

    fn finer(&mut self, failure: Failure) -> Failure {
        self.refill();
        let offset = failure.window.start;
        let windows: Vec<Range<usize>> = prepare::windows(&self.steps[failure.window.clone()], 1)
            .into_iter()
            .map(|window| window.start + offset..window.end + offset)
            .collect();
        match self.follow(&windows, failure.starts.clone()) {
            Ok(Some(finer)) => finer,
            _ => failure,
        }
    }

    fn shrunk(&mut self, failure: &mut Failure) -> Vec<usize> {
        self.refill();
        let within = self.within(&failure.window);
        let Some(last) = failure.stuck.and_then(|step| self.steps[step].by) else { return within };
        let (mut steps, starts) = (self.steps.clone(), failure.starts.clone());
        for step in &mut steps {
            step.by = step.by.filter(|by| *by <= last);
        }
        let mut stuck = failure.stuck;
        let mut fails = |keep: &[usize]| {
            let found = search(&steps, keep, &starts, Goal::AnyEnd, &mut self.values, &mut self.budget);
            let failed = found.ok().filter(|found| found.ends.is_empty());
            stuck = failed.as_ref().and_then(|found| found.stuck).or(stuck);
            failed.is_some()
        };
        let cut: Vec<usize> =
            within.iter().copied().filter(|&step| self.steps[step].called <= last).collect();
        if !fails(&cut) {
            return within;
        }
        let keep = prepare::shrink(&steps, cut, fails);
        failure.stuck = stuck;
        keep
    }
}

#[cfg(test)]
mod tests;
