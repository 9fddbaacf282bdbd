//! `ringraft snapshot take`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::client::{Client, ClientError};
use crate::cli::quantity::grouped;
use crate::cli::resp::Reply;
use crate::cli::settings::Address;
use crate::cli::{Exit, ExitContext, Failure, output, quantity, status};

/// A node answers at once, or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often `--wait` looks.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// Flags of `ringraft snapshot take`.
#[derive(Debug, Clone, Args)]
pub struct TakeArgs {
    /// Client addresses of the nodes that are to save; each saves what it has
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
    /// Wait until they have; exit code 4 if that takes longer
    #[arg(long, value_name = "TIME", value_parser = quantity::parse_duration)]
    pub wait: Option<Duration>,
}

/// What one node is to have saved.
struct Asked {
    node: u16,
    address: SocketAddr,
    /// Up to where, by group.
    goal: BTreeMap<u32, u64>,
}

impl Asked {
    /// Has a node save what it has applied.
    fn of(address: SocketAddr) -> Result<Asked, Failure> {
        let before = status::fetch(&[address])?;
        let goal = before.groups.iter().map(|group| (group.id, group.applied)).collect();
        let answer = Client::connect(address, ANSWER_TIMEOUT).and_then(|mut client| {
            client.ask(&[b"RINGRAFT", b"SNAPSHOT"], |reply| match reply {
                Reply::Simple(b"OK") => Ok(()),
                other => Err(format!("OK was expected, not {other:?}")),
            })
        });
        match answer {
            Ok(()) => Ok(Asked { node: before.node, address, goal }),
            Err(error @ ClientError::Link { .. }) => Err(Failure::new(Exit::Unavailable, error)),
            Err(error) => Err(Failure::failed(format!("{address}: {error}"))),
        }
    }

    /// How many groups are not saved up to their goal.
    fn left(&self) -> Result<usize, Failure> {
        let status = status::fetch(&[self.address])?;
        let behind = |group: &&status::GroupStatus| {
            self.goal.get(&group.id).is_some_and(|goal| group.snapshot < *goal)
        };
        Ok(status.groups.iter().filter(behind).count())
    }

    fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let left = self.left()?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let all = self.goal.len();
                return Err(Failure::timeout(format!(
                    "node {}: {left} of {all} groups are not saved yet",
                    self.node
                )));
            }
            std::thread::sleep(ASK_INTERVAL);
        }
    }
}

pub(super) fn run(args: &TakeArgs) -> Result<(), Failure> {
    let mut asked = Vec::new();
    for target in &args.target {
        asked.push(Asked::of(target.resolve().exit(Exit::Unavailable)?)?);
    }
    let deadline = Instant::now() + args.wait.unwrap_or_default();
    for of in &asked {
        if args.wait.is_some() {
            of.wait(deadline)?;
        }
        let done = if args.wait.is_some() { "saved" } else { "being saved" };
        let entries = grouped(of.goal.values().sum());
        output::print(format!("node {}: {} groups, {entries} entries: {done}", of.node, of.goal.len()))?;
    }
    Ok(())
}
