//! Asking for a [`Status`], once or until every group has a leader.

use super::{Status, show};
use crate::cli::client::{Client, ClientError};
use crate::cli::resp::Reply;
use crate::cli::settings::Address;
use crate::cli::{Exit, ExitContext, Failure, output, quantity};
use clap::Args;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long one node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often `--wait` asks.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// Flags of `ringraft status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Client addresses; the first that answers is shown
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Wait until every group has a leader; exit code 4 if that takes longer
    #[arg(long, value_name = "TIME", value_parser = quantity::parse_duration)]
    pub wait: Option<Duration>,
}

/// Runs `ringraft status`.
///
/// # Errors
/// [`Exit::Unavailable`]: nobody answered. [`Exit::Timeout`]: `--wait` ran out; what is known is printed.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let targets = resolve(&args.target)?;
    let (status, waited) = match args.wait {
        None => (fetch(&targets)?, Ok(())),
        Some(wait) => match wait_for_leaders(&targets, wait, || false) {
            Ok(status) => (status, Ok(())),
            Err(failure) if failure.exit == Exit::Timeout => {
                (fetch(&targets).map_err(|_| failure)?, Err(wait))
            }
            Err(failure) => return Err(failure),
        },
    };
    if args.json {
        output::print_json(&status)?;
    } else {
        output::print(show::tables(&status))?;
    }
    waited.map_err(|wait| Failure::timeout(leaderless(&status, wait)))
}

/// Where the nodes are that a command is to ask.
///
/// # Errors
/// [`Exit::Unavailable`]: a host has no address.
pub(in crate::cli) fn resolve(targets: &[Address]) -> Result<Vec<SocketAddr>, Failure> {
    targets.iter().map(|target| target.resolve().exit(Exit::Unavailable)).collect()
}

/// Asks the targets in turn; the first answer counts.
///
/// # Errors
/// [`Exit::Unavailable`] with what each target said.
pub fn fetch(targets: &[SocketAddr]) -> Result<Status, Failure> {
    let mut reasons = Vec::new();
    for target in targets {
        match ask(*target) {
            Ok(status) => return Ok(status),
            Err(error @ ClientError::Link { .. }) => reasons.push(error.to_string()),
            Err(ClientError::Refused(text)) if text.starts_with("LOADING") => {
                reasons.push(format!("{target}: {text}"));
            }
            Err(error) => {
                return Err(Failure::failed(format!("{target} does not answer RINGRAFT STATUS: {error}")));
            }
        }
    }
    Err(Failure::unavailable(format!("no status: {}", reasons.join("; "))))
}

fn ask(target: SocketAddr) -> Result<Status, ClientError> {
    Client::connect(target, ANSWER_TIMEOUT)?.ask(&[b"RINGRAFT", b"STATUS"], |reply| match reply {
        Reply::Bulk(json) => serde_json::from_slice(json).map_err(|error| format!("odd status: {error}")),
        other => Err(format!("a status was expected, not {other:?}")),
    })
}

/// Asks again and again until every group has a leader, `wait` has passed, or `stop` says so.
///
/// # Errors
/// [`Exit::Timeout`]; or [`Exit::Failed`] when a target answers, but not with a status.
pub fn wait_for_leaders(
    targets: &[SocketAddr],
    wait: Duration,
    stop: impl Fn() -> bool,
) -> Result<Status, Failure> {
    let deadline = Instant::now() + wait;
    loop {
        let outcome = fetch(targets);
        let why = match outcome {
            Ok(status) if status.all_led() => return Ok(status),
            Ok(status) => leaderless(&status, wait),
            Err(failure) if failure.exit == Exit::Unavailable => failure.error.to_string(),
            Err(failure) => return Err(failure),
        };
        if stop() || Instant::now() >= deadline {
            return Err(Failure::timeout(why));
        }
        std::thread::sleep(ASK_INTERVAL.min(deadline.saturating_duration_since(Instant::now())));
    }
}

fn leaderless(status: &Status, wait: Duration) -> String {
    let missing = status.groups.iter().filter(|group| group.leader.is_none()).count();
    let all = status.groups.len();
    match all {
        0 => format!("the cluster had not formed after {wait:?}"),
        _ => format!("{missing} of {all} groups had no leader after {wait:?}"),
    }
}
