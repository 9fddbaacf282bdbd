//! `ringraft member` and `ringraft transfer`: who belongs to a cluster, and who leads what.

use crate::cli::client::{Client, ClientError};
use crate::cli::resp::Reply;
use crate::cli::settings::{Address, Member};
use crate::cli::status::{self, MemberStatus};
use crate::cli::{Exit, ExitContext, Failure, output, quantity};
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A node answers within its own deadline of 2 s, or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often `--wait` and `transfer` look.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// A command that found no leader is given again for so long: a few elections.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Flags of `ringraft member`.
#[derive(Debug, Clone, Args)]
pub struct MemberArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done about members.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Add a node: it gets all data, then a vote in every group
    Add {
        /// Its id and where its shard 0 listens for peers
        #[arg(value_name = "NODE=HOST:PORT")]
        member: Member,
        /// Wait until it is an active member; exit code 4 if that takes longer
        #[arg(long, value_name = "TIME", value_parser = quantity::parse_duration)]
        wait: Option<Duration>,
        /// Whom to ask.
        #[command(flatten)]
        target: Target,
    },
    /// Remove a node, also one that is dead or lost its disk
    Remove {
        /// Its id
        node: u16,
        /// Wait until it is gone; exit code 4 if that takes longer
        #[arg(long, value_name = "TIME", value_parser = quantity::parse_duration)]
        wait: Option<Duration>,
        /// Whom to ask.
        #[command(flatten)]
        target: Target,
    },
    /// List the nodes
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Whom to ask.
        #[command(flatten)]
        target: Target,
    },
}

/// Flags of `ringraft transfer`.
#[derive(Debug, Clone, Args)]
pub struct TransferArgs {
    /// The group; 0 is the node directory
    #[arg(long)]
    pub group: u32,
    /// The node that is to lead it
    #[arg(long, value_name = "NODE")]
    pub to: u16,
    /// Whom to ask.
    #[command(flatten)]
    pub target: Target,
}

/// Whom to ask: any node finds the leader.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Client addresses; the first that answers does
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
}

impl Target {
    fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        self.target.iter().map(|target| target.resolve().exit(Exit::Unavailable)).collect()
    }
}

/// Runs `ringraft member`.
///
/// # Errors
/// [`Exit::Unavailable`]: nobody answered, or there is no leader. [`Exit::Timeout`]: `--wait` ran out; the change goes
/// on. [`Exit::Failed`]: the cluster refused, and says why.
pub fn run(args: &MemberArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Add { member, wait, target } => {
            let targets = target.resolve()?;
            let address =
                member.address.resolve().map_err(|error| Failure::usage(format!("{member}: {error}")))?;
            let asked = format!("{}={address}", member.node);
            command(&targets, &[b"RINGRAFT", b"MEMBER", b"ADD", asked.as_bytes()])?;
            let state = wait_for(&targets, *wait, member.node, |state| state == Some("active"))?;
            output::print(format!("node {}: {}", member.node, state.as_deref().unwrap_or("added")))
        }
        Action::Remove { node, wait, target } => {
            let targets = target.resolve()?;
            command(&targets, &[b"RINGRAFT", b"MEMBER", b"REMOVE", node.to_string().as_bytes()])?;
            let state = wait_for(&targets, *wait, *node, |state| state.is_none())?;
            output::print(format!("node {node}: {}", state.as_deref().unwrap_or("removed")))
        }
        Action::Ls { json, target } => {
            let members = list(&target.resolve()?)?;
            if *json { output::print_json(&members) } else { output::print(table(&members)) }
        }
    }
}

/// Runs `ringraft transfer`: asks for it, and waits until it is done.
///
/// # Errors
/// [`Exit::Unavailable`]: nobody answered, or the group has no leader. [`Exit::Timeout`]: it was begun, and another node
/// still leads. [`Exit::Failed`]: the group refused.
pub fn run_transfer(args: &TransferArgs) -> Result<(), Failure> {
    let targets = args.target.resolve()?;
    let (group, to) = (args.group.to_string(), args.to.to_string());
    let deadline = Instant::now() + RETRY_FOR;
    loop {
        command(&targets, &[b"RINGRAFT", b"TRANSFER", group.as_bytes(), to.as_bytes()])?;
        let again = Instant::now() + Duration::from_secs(2);
        while Instant::now() < again {
            let status = status::fetch(&targets)?;
            let of_group = status.groups.iter().find(|known| known.id == args.group);
            if of_group.and_then(|group| group.leader) == Some(args.to) {
                return output::print(format!("group {group}: led by node {to}"));
            }
            std::thread::sleep(ASK_INTERVAL);
        }
        if Instant::now() >= deadline {
            return Err(Failure::timeout(format!("node {to} does not lead group {group} yet")));
        }
    }
}

/// Gives a command until somebody takes or refuses it. All of ours may be given twice.
fn command(targets: &[SocketAddr], words: &[&[u8]]) -> Result<(), Failure> {
    let deadline = Instant::now() + RETRY_FOR;
    loop {
        let tried = ask_any(targets, words, |reply| match reply {
            Reply::Simple(b"OK") => Ok(()),
            other => Err(format!("OK was expected, not {other:?}")),
        });
        match tried {
            Err(failure) if failure.exit == Exit::Unavailable && Instant::now() < deadline => {
                std::thread::sleep(ASK_INTERVAL);
            }
            other => return other,
        }
    }
}

fn list(targets: &[SocketAddr]) -> Result<Vec<MemberStatus>, Failure> {
    ask_any(targets, &[b"RINGRAFT", b"MEMBER", b"LIST"], |reply| match reply {
        Reply::Bulk(json) => serde_json::from_slice(json).map_err(|error| format!("an odd list: {error}")),
        other => Err(format!("a list was expected, not {other:?}")),
    })
}

/// Asks the targets in turn; the first that can answer does.
fn ask_any<T>(
    targets: &[SocketAddr],
    words: &[&[u8]],
    read: impl Fn(Reply<'_>) -> Result<T, String>,
) -> Result<T, Failure> {
    let mut reasons = Vec::new();
    for target in targets {
        let answer = Client::connect(*target, ANSWER_TIMEOUT).and_then(|mut client| client.ask(words, &read));
        match answer {
            Ok(answer) => return Ok(answer),
            Err(ClientError::Refused(text)) if passes(&text) => reasons.push(format!("{target}: {text}")),
            Err(error @ ClientError::Link { .. }) => reasons.push(error.to_string()),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    Err(Failure::unavailable(reasons.join("; ")))
}

/// Whether a refusal is about the moment.
fn passes(text: &str) -> bool {
    ["LOADING", "CLUSTERDOWN", "TIMEOUT", "TRYAGAIN", "NOSPACE"].iter().any(|word| text.starts_with(word))
}

/// Waits, if asked to, until the state of `node` is what it should be; answers with the state it has then.
fn wait_for(
    targets: &[SocketAddr],
    wait: Option<Duration>,
    node: u16,
    is_done: impl Fn(Option<&str>) -> bool,
) -> Result<Option<String>, Failure> {
    let deadline = Instant::now() + wait.unwrap_or_default();
    let state_of = || -> Result<Option<String>, Failure> {
        let members = list(targets)?;
        Ok(members.into_iter().find(|member| member.id == node).map(|member| member.state))
    };
    loop {
        let state = state_of();
        match (state, wait) {
            (Ok(state), _) if is_done(state.as_deref()) => return Ok(state),
            (Ok(state), None) => return Ok(state),
            (Ok(state), Some(wait)) if Instant::now() >= deadline => {
                let state = state.unwrap_or_else(|| "not a member".to_owned());
                let progress = progress(targets);
                return Err(Failure::timeout(format!("node {node} is {state} after {wait:?}{progress}")));
            }
            (Err(failure), _) if failure.exit != Exit::Unavailable || Instant::now() >= deadline => {
                return Err(failure);
            }
            _ => std::thread::sleep(ASK_INTERVAL),
        }
    }
}

fn progress(targets: &[SocketAddr]) -> String {
    match status::fetch(targets) {
        Ok(status) => format!(" ({} of {} groups are done)", status.groups_settled, status.groups.len()),
        Err(_) => String::new(),
    }
}

fn table(members: &[MemberStatus]) -> comfy_table::Table {
    let mut table = output::table(&["node", "state", "peer", "client", "shards", "incarnation"]);
    for member in members {
        table.add_row([
            &member.id.to_string(),
            &member.state,
            &member.peer,
            member.client.as_deref().unwrap_or("-"),
            &member.shards.to_string(),
            &member.incarnation,
        ]);
    }
    table
}
