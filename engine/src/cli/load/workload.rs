//! What load to make.

use super::keys::Distribution;
use super::schedule::Arrival;
use std::net::SocketAddr;
use std::time::Duration;

/// A description of the load of one run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Servers: connections are spread over them and move on to the next when one goes away.
    pub targets: Vec<SocketAddr>,
    /// Ask the targets who owns which slots, send every request to its owner, follow `-MOVED`.
    pub cluster: bool,
    /// Threads; each has its own connections, keys (when verifying) and share of the rate.
    pub threads: usize,
    /// Connections in all.
    pub connections: usize,
    /// Requests a connection may have unanswered.
    pub pipeline: usize,
    /// As fast as answers come, or at a fixed rate.
    pub pace: Pace,
    /// Reads among the requests, 0..=100; the rest are writes.
    pub reads_percent: u8,
    /// Keys there are.
    pub keys: u64,
    /// Which of them are used how often.
    pub distribution: Distribution,
    /// What keys start with; a number of twelve digits follows.
    pub key_prefix: String,
    /// The size of every value; at least [`ledger::VALUE_BYTES_MIN`](super::ledger::VALUE_BYTES_MIN) when
    /// verifying.
    pub value_bytes: usize,
    /// Write every key once before anything is measured.
    pub preload: bool,
    /// Load that is not measured, before the one that is.
    pub warmup: Duration,
    /// When the measured part ends.
    pub bound: Bound,
    /// A request without an answer for this long counts as lost with its connection.
    pub timeout: Duration,
    /// Check every value read, and read back every key at the end.
    pub verify: bool,
    /// Groups of the cluster: with it the longest time in which one of them acknowledged no write is known.
    pub groups: Option<u32>,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            targets: Vec::new(),
            cluster: false,
            threads: 1,
            connections: 32,
            pipeline: 1,
            pace: Pace::Closed,
            reads_percent: 50,
            keys: 100_000,
            distribution: Distribution::Uniform,
            key_prefix: "key:".into(),
            value_bytes: 64,
            preload: false,
            warmup: Duration::ZERO,
            bound: Bound::Time(Duration::from_secs(10)),
            timeout: Duration::from_secs(5),
            verify: false,
            groups: None,
            seed: 1,
        }
    }
}

impl Workload {
    /// Why it cannot be run, if so.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let rate_is_off =
            matches!(self.pace, Pace::Open { per_second, .. } if !(per_second > 0.0 && per_second < 1e9));
        let checks = [
            (self.targets.is_empty(), "there is no target"),
            (self.threads == 0, "there must be a thread"),
            (self.connections < self.threads, "every thread needs a connection"),
            (self.pipeline == 0, "the pipeline must hold a request"),
            (self.reads_percent > 100, "reads are a percentage"),
            (self.keys < self.threads as u64, "every thread needs a key"),
            (self.keys > super::keys::COUNT_MAX, "keys have twelve digits"),
            (self.key_prefix.len() > 256, "the keys' prefix is too long"),
            (rate_is_off, "the rate must be above 0 and below a billion per second"),
            (
                self.verify && self.value_bytes < super::ledger::VALUE_BYTES_MIN,
                "values are too small to be verified",
            ),
            (self.groups == Some(0), "there must be a group"),
        ];
        checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| why)
    }
}

/// How requests are timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The next request goes out when an answer has come in: finds the ceiling of throughput.
    Closed,
    /// Requests are due at times fixed in advance, whatever the server does: measures latency.
    Open {
        /// Requests per second, all threads together.
        per_second: f64,
        /// How the times are spaced.
        arrival: Arrival,
    },
}

/// When the measured part of a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// After this time.
    Time(Duration),
    /// After this many requests.
    Requests(u64),
}

/// The parts of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Every key is written once.
    Preload,
    /// The load runs, nothing is measured.
    Warmup,
    /// The load runs and is measured.
    Measure,
    /// Every key is read and compared with what was acknowledged.
    ReadBack,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The part of the run.
    pub phase: Phase,
    /// Since the phase began.
    pub elapsed: Duration,
    /// The part of the phase that is done, 0..=1.
    pub fraction: f64,
    /// Requests answered in this phase.
    pub completed: u64,
    /// Requests of this phase that ended in an error or without an answer.
    pub failed: u64,
}
