//! `ringraft restore`: a backup, key by key, into a running cluster.

pub(super) mod batch;
pub(super) mod source;
mod writer;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::cli::client::{Client, ClientError};
use crate::cli::load::routes::owners;
use crate::cli::progress::Amount;
use crate::cli::quantity::grouped;
use crate::cli::resp::Reply;
use crate::cli::settings::Address;
use crate::cli::{Failure, output, status};
use source::{Content, Source};
use writer::Writer;

/// Groups of the backup that are restored at a time. Each has a batch and a megabyte of each of its files in memory.
const WORKERS_MAX: usize = 4;
/// How long the target may take to find its leaders, and later to count its keys.
const TARGET_WAIT: Duration = Duration::from_secs(30);
/// A count of all ports of a cluster is wrong while a leader changes: it is taken again for so long.
const COUNT_WAIT: Duration = Duration::from_secs(10);
/// Between two tries of these.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// A node answers within its deadline of 2 s, or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `ringraft restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The directory that `ringraft backup` wrote
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Client addresses of some nodes; the others are found through them
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
    /// Only check every byte of the backup; no cluster is asked
    #[arg(long)]
    pub check: bool,
    /// Write into a cluster that has keys already; those of the backup take the place of theirs
    #[arg(long, conflicts_with = "check")]
    pub into_existing: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    cluster: &'a str,
    groups: usize,
    files: usize,
    keys: u64,
    /// Of keys and values.
    bytes: u64,
    restored: bool,
    seconds: f64,
}

/// Runs `ringraft restore`. Nothing is written before every byte of the backup is known to be sound. Each key goes through
/// the target's log as any client's, so that it is on the disks of a majority when this returns.
///
/// # Errors
/// [`Exit::Usage`](crate::cli::Exit::Usage): the directory is no backup, or the target has keys. [`Exit::Corruption`](crate::cli::Exit::Corruption): a file of the backup is missing or
/// not what was written; its name and the place are said, and nothing was written. [`Exit::Unavailable`](crate::cli::Exit::Unavailable): nobody answers.
/// [`Exit::Timeout`](crate::cli::Exit::Timeout): the target stores nothing any more. [`Exit::Failed`](crate::cli::Exit::Failed): the target refuses a key, or has another number of
/// keys at the end. After the last three some keys may be written: the same again with `--into-existing` goes on.
pub fn run(args: &RestoreArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let source = Source::open(&args.from)?;
    let checked = Amount::new("checked");
    let content = source.verify(&checked)?;
    checked.clear();
    if !args.check {
        let targets = status::resolve(&args.target)?;
        restore(&source, content, &targets, args.into_existing)?;
    }
    report(&source, content, args, begun.elapsed())
}

fn restore(
    source: &Source,
    content: Content,
    targets: &[SocketAddr],
    into_existing: bool,
) -> Result<(), Failure> {
    status::fetch(targets)?; // nobody there is another error than no leader
    status::wait_for_leaders(targets, TARGET_WAIT, || false)?;
    let before = count_keys(targets)?;
    if before > 0 && !into_existing {
        let keys = grouped(before);
        return Err(Failure::usage(format!(
            "the target has {keys} keys: give one that is empty, or --into-existing to write over what it has"
        )));
    }
    write_all(source, content, targets)?;
    let deadline = Instant::now() + COUNT_WAIT;
    loop {
        let after = count_keys(targets)?;
        if after == content.keys || before > 0 && after > content.keys {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let (after, keys) = (grouped(after), grouped(content.keys));
            let why = "somebody else writes there";
            return Err(Failure::failed(format!("the target has {after} keys, the backup {keys}: {why}")));
        }
        thread::sleep(ASK_INTERVAL);
    }
}

/// Writes all groups, some at a time; the first failure ends all.
fn write_all(source: &Source, content: Content, targets: &[SocketAddr]) -> Result<(), Failure> {
    let amount = Amount::new("restored");
    amount.more(content.bytes);
    let (next, over, failed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let work = || {
        let mut writer = Writer::new(targets, &amount);
        while let Some(group) = source.catalog.groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let written = source.each_key(group, |key, value| match over.load(Ordering::Relaxed) {
                true => Err(Failure::failed("another group has failed")),
                false => writer.set(key, value),
            });
            let Err(failure) = written.and_then(|()| writer.flush()) else { continue };
            // Only the first is news.
            if !over.swap(true, Ordering::Relaxed) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            }
            return;
        }
    };
    let workers = WORKERS_MAX.min(source.catalog.groups.len());
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    amount.clear();
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// How many keys the whole cluster has.
///
/// # Errors
/// [`Exit::Unavailable`](crate::cli::Exit::Unavailable): nobody could say.
fn count_keys(targets: &[SocketAddr]) -> Result<u64, Failure> {
    let deadline = Instant::now() + TARGET_WAIT;
    loop {
        let mut reasons = Vec::new();
        for target in targets {
            match count_by(*target) {
                Ok(keys) => return Ok(keys),
                Err(error) => reasons.push(format!("{target}: {error}")),
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::unavailable(format!("the keys cannot be counted: {}", reasons.join("; "))));
        }
        thread::sleep(ASK_INTERVAL);
    }
}

/// Asks one node; where every port answers for its own slots only, all ports.
fn count_by(target: SocketAddr) -> Result<u64, ClientError> {
    let mut client = Client::connect(target, ANSWER_TIMEOUT)?;
    let is_cluster = client.ask(&[b"CONFIG", b"GET", b"cluster-enabled"], |reply| match reply {
        Reply::Array(mut words) => Ok(words.nth(1) == Some(Reply::Bulk(b"yes"))),
        other => Err(format!("odd: {other:?}")),
    })?;
    if !is_cluster {
        return database_size(&mut client);
    }
    let owners = client.ask(&[b"CLUSTER", b"SLOTS"], |reply| owners(reply, target))?;
    let ports: BTreeSet<SocketAddr> = owners.into_iter().map(|(_, _, owner)| owner).collect();
    ports.into_iter().map(|port| database_size(&mut Client::connect(port, ANSWER_TIMEOUT)?)).sum()
}

fn database_size(client: &mut Client) -> Result<u64, ClientError> {
    client.ask(&[b"DBSIZE"], |reply| match reply {
        Reply::Integer(keys) => u64::try_from(keys).map_err(|_| format!("{keys} keys")),
        other => Err(format!("a number was expected, not {other:?}")),
    })
}

fn report(source: &Source, content: Content, args: &RestoreArgs, took: Duration) -> Result<(), Failure> {
    let catalog = &source.catalog;
    let summary = Summary {
        cluster: &catalog.cluster,
        groups: catalog.groups.len(),
        files: catalog.groups.iter().map(|group| group.files.len()).sum(),
        keys: content.keys,
        bytes: content.bytes,
        restored: !args.check,
        seconds: took.as_secs_f64(),
    };
    if args.json {
        return output::print_json(&summary);
    }
    let Summary { cluster, groups, files, keys, bytes, restored, seconds } = summary;
    let done = if restored { "restored" } else { "all as written" };
    let (keys, bytes) = (grouped(keys), grouped(bytes));
    output::print(format!(
        "backup of cluster {cluster}: {groups} groups, {files} files, {keys} keys, {bytes} bytes in {seconds:.1} s: {done}"
    ))
}
