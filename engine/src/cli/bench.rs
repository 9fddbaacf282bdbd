//! `ringraft bench`: load any RESP server and measure it.

use crate::cli::load::keys::Distribution;
use crate::cli::load::ledger::VALUE_BYTES_MIN;
use crate::cli::load::schedule::Arrival;
use crate::cli::load::{self, Bound, LoadError, Pace, Workload};
use crate::cli::progress::Bar;
use crate::cli::settings::Address;
use crate::cli::{Exit, ExitContext, Failure, output, quantity, signals};
use clap::Args;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Unanswered requests per connection when there is a rate and nothing else is said.
const PIPELINE_OPEN: usize = 64;

/// Flags of `ringraft bench`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Without --rate the loop is closed: the next request goes out when an answer came in.\n\
    With --rate requests are due at fixed times and latency counts from there, so that a stall is seen as\n\
    what it costs every client. Exit code 1: something read was wrong (--verify), 3: nobody answered."
)]
pub struct BenchArgs {
    /// Servers; connections are spread over them, and move on when one goes away
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
    /// Ask who owns which slots, send every request to its owner, follow -MOVED
    #[arg(long)]
    pub cluster: bool,
    /// Connections in all
    #[arg(long, short, default_value_t = 32)]
    pub connections: usize,
    /// Unanswered requests per connection [default: 1; with --rate 64]
    #[arg(long, short = 'P')]
    pub pipeline: Option<usize>,
    /// Requests per second, all connections together
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// How the times of --rate are spaced
    #[arg(long, value_enum, default_value_t = Arrival::Poisson, requires = "rate")]
    pub arrival: Arrival,
    /// Reads among the requests; the rest are writes
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: u8,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub keys: u64,
    /// Which keys are used how often: uniform, zipf (exponent 0.99), zipf=EXPONENT
    #[arg(long, value_name = "HOW", default_value = "uniform", value_parser = parse_distribution)]
    pub distribution: Distribution,
    /// Size of a value
    #[arg(long, short = 'd', value_name = "SIZE", default_value = "64", value_parser = quantity::parse_bytes)]
    pub value: u64,
    /// How long the measured part takes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = quantity::parse_duration)]
    pub duration: Duration,
    /// Measure this many requests, however long it takes
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "duration")]
    pub requests: Option<u64>,
    /// Load before the measured part
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = quantity::parse_duration)]
    pub warmup: Duration,
    /// Write every key once before that
    #[arg(long)]
    pub load: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Without an answer for this long a connection is given up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = quantity::parse_duration)]
    pub timeout: Duration,
    /// Check every value read, and at the end that no acknowledged write is lost (uses keys of its own)
    #[arg(long)]
    pub verify: bool,
    /// Groups of the cluster: shows the longest time in which one of them acknowledged no write
    #[arg(long, value_name = "N")]
    pub groups: Option<u32>,
    /// Seed of keys and times
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_distribution(text: &str) -> Result<Distribution, String> {
    let exponent = match text {
        "uniform" => return Ok(Distribution::Uniform),
        "zipf" => "0.99",
        _ => text.strip_prefix("zipf=").ok_or("say uniform, zipf or zipf=EXPONENT")?,
    };
    match exponent.parse::<f64>() {
        Ok(exponent) if exponent > 0.0 && exponent < 10.0 && (exponent - 1.0).abs() > 1e-6 => {
            Ok(Distribution::Zipf { exponent })
        }
        _ => Err("the exponent must lie above 0 and below 10, and not be 1".into()),
    }
}

impl BenchArgs {
    fn workload(&self) -> Result<Workload, Failure> {
        let targets: Result<Vec<_>, Failure> =
            self.target.iter().map(|target| target.resolve().exit(Exit::Unavailable)).collect();
        let value_bytes = usize::try_from(self.value).exit(Exit::Usage)?;
        if self.verify && value_bytes < VALUE_BYTES_MIN {
            return Err(Failure::usage(format!("--verify needs values of at least {VALUE_BYTES_MIN} bytes")));
        }
        let pipeline_default = if self.rate.is_some() { PIPELINE_OPEN } else { 1 };
        let pace = |per_second| Pace::Open { per_second, arrival: self.arrival };
        // A verified run must meet no values of another.
        let own_prefix = || format!("verify-{:08x}:", fastrand::u32(..));
        Ok(Workload {
            targets: targets?,
            cluster: self.cluster,
            threads: self.threads,
            connections: self.connections,
            pipeline: self.pipeline.unwrap_or(pipeline_default),
            pace: self.rate.map_or(Pace::Closed, pace),
            reads_percent: self.reads,
            keys: self.keys,
            distribution: self.distribution,
            key_prefix: if self.verify { own_prefix() } else { Workload::default().key_prefix },
            value_bytes,
            preload: self.load,
            warmup: self.warmup,
            bound: self.requests.map_or(Bound::Time(self.duration), Bound::Requests),
            timeout: self.timeout,
            verify: self.verify,
            groups: self.groups,
            seed: self.seed,
        })
    }
}

/// Runs `ringraft bench`. Ctrl-C ends the load early; what was measured is shown.
///
/// # Errors
/// [`Exit::Usage`], [`Exit::Unavailable`]; [`Exit::Failed`] when the server refuses the load; and what
/// [`Report::judge`](load::Report::judge) says.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let workload = args.workload()?;
    let interrupted = signals::interrupted().exit(Exit::Failed)?;
    let mut bar = Bar::new();
    let outcome = load::run(&workload, &mut |progress| {
        bar.show(progress);
        if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.clear();
    let report = outcome.map_err(failure)?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(report.text())?;
    }
    report.judge()
}

/// The exit code of a run that did not take place.
pub(super) fn failure(error: LoadError) -> Failure {
    let exit = match &error {
        LoadError::Workload(_) => Exit::Usage,
        LoadError::Unavailable(_) => Exit::Unavailable,
        LoadError::Refused(_) | LoadError::Io(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn workload(flags: &[&str]) -> Result<Workload, String> {
        let line = Line::try_parse_from([&["bench"], flags].concat()).map_err(|error| error.to_string())?;
        line.args.workload().map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn flags_become_a_workload() {
        let plain = workload(&[]).unwrap();
        assert_eq!((plain.pace, plain.pipeline, plain.reads_percent), (Pace::Closed, 1, 50));
        assert_eq!(plain.key_prefix, "key:");
        let flags =
            ["--target=127.0.0.1:1,[::1]:2", "--rate=5e3", "-d", "1KiB", "-n", "7", "--distribution=zipf"];
        let open = workload(&flags).unwrap();
        assert_eq!(open.targets.len(), 2);
        assert_eq!(open.pace, Pace::Open { per_second: 5000.0, arrival: Arrival::Poisson });
        assert_eq!((open.pipeline, open.value_bytes, open.bound), (PIPELINE_OPEN, 1024, Bound::Requests(7)));
        assert_eq!(open.distribution, Distribution::Zipf { exponent: 0.99 });
        let verified = workload(&["--verify"]).unwrap();
        assert!(verified.key_prefix.starts_with("verify-"));
    }

    #[test]
    fn odd_flags_are_refused() {
        for flags in [
            &["--reads=101"][..],
            &["--target=nowhere"],
            &["--distribution=zipf=1"],
            &["--distribution=normal"],
            &["--arrival=fixed"],
            &["-n", "5", "--duration", "3s"],
            &["--verify", "--value=10"],
        ] {
            assert!(workload(flags).is_err(), "{flags:?}");
        }
    }
}
