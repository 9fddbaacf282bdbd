//! `ringraft backup`: the snapshot files of every group of a running cluster, copied into a directory.

pub(super) mod catalog;
mod copying;
mod fetch;
mod leaders;
#[cfg(feature = "simulation")]
pub mod simulated;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;

use crate::cli::progress::Amount;
use crate::cli::quantity::{self, grouped};
use crate::cli::settings::Address;
use crate::cli::{Exit, Failure, output, status};
use catalog::{Catalog, Group};
use fetch::FetchError;
use leaders::{Leader, Look};

/// How often a group is begun, should its leader fail or change meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// How long a group may be without a leader: a few elections.
const LEADER_WAIT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// Flags of `ringraft backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Client addresses of some nodes; the others are found through them
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6101")]
    pub target: Vec<Address>,
    /// Where the backup goes: a directory that is empty, or not there yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How long one group may take to be saved; exit code 4 if it takes longer
    #[arg(long, value_name = "TIME", value_parser = quantity::parse_duration, default_value = "10m")]
    pub wait: Duration,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    cluster: &'a str,
    groups: usize,
    files: usize,
    bytes: u64,
    seconds: f64,
    out: &'a Path,
}

/// Runs `ringraft backup`. Each group's state is one that existed, and holds every write that was acknowledged before the
/// backup began; groups are copied one after the other, so that they are not of the same moment.
///
/// # Errors
/// [`Exit::Usage`]: the directory is not empty. [`Exit::Unavailable`]: nobody answers, or a group has no leader.
/// [`Exit::Timeout`]: a group was not saved in time. [`Exit::Corruption`]: what a node sent is damaged. [`Exit::Failed`]: the
/// directory cannot be written. After all but the first it holds no `backup.toml`, and is of no use.
pub fn run(args: &BackupArgs) -> Result<(), Failure> {
    let targets = status::resolve(&args.target)?;
    let begun = Instant::now();
    let began_unix_s = unix_seconds();
    let look = Look::of(&targets)?;
    let cluster = look.cluster().ok_or_else(|| Failure::unavailable("the cluster has not formed yet"))?;
    prepare(&args.out)?;
    let amount = Amount::new("copied");
    let mut groups = Vec::new();
    for group in look.groups() {
        let leader = look.leader(group).ok();
        groups.push(back_up(group, leader, &targets, &cluster, args, &amount)?);
    }
    amount.clear();
    let catalog = Catalog {
        format: catalog::FORMAT,
        ringraft: env!("CARGO_PKG_VERSION").to_owned(),
        cluster,
        began_unix_s,
        ended_unix_s: unix_seconds(),
        groups,
    };
    sync_dir(&args.out)?; // the groups' directories are there before the list that names them
    catalog.write(&args.out).map_err(|error| failed(error, &args.out))?;
    report(&catalog, args, begun.elapsed())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn failed(error: std::io::Error, path: &Path) -> Failure {
    Failure::new(Exit::Failed, anyhow::Error::new(error).context(path.display().to_string()))
}

/// Makes the directory, durably, or finds it empty.
fn prepare(out: &Path) -> Result<(), Failure> {
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!(
                "{} is not empty: a backup needs a directory of its own",
                out.display()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(out).map_err(|error| failed(error, out))?;
            let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new(".")))
        }
        Err(error) => Err(failed(error, out)),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Failure> {
    fs::File::open(dir).and_then(|open| open.sync_all()).map_err(|error| failed(error, dir))
}

/// Brings one group into the backup, whoever leads it; `leader` did at first.
fn back_up(
    group: u32,
    mut leader: Option<Leader>,
    targets: &[SocketAddr],
    cluster: &str,
    args: &BackupArgs,
    amount: &Amount,
) -> Result<Group, Failure> {
    let mut attempt = 1;
    loop {
        let leader = match leader.take() {
            Some(leader) => leader,
            None => find_leader(group, targets, cluster)?,
        };
        let before = amount.mark();
        let failure = match fetch::fetch(group, &leader, &args.out, args.wait, amount) {
            Ok(group) => return Ok(group),
            Err(FetchError::Failed(failure)) => return Err(failure),
            Err(FetchError::Again(failure)) if attempt == ATTEMPTS_MAX => return Err(failure),
            Err(FetchError::Again(failure)) => failure,
        };
        amount.say(&format!("group {group} is begun again: {:#}", failure.error));
        amount.back_to(before);
        let begun =
            Group { id: group, slots: Vec::new(), index: 0, term: 0, files: Vec::new() }.dir(&args.out);
        match fs::remove_dir_all(&begun) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error, &begun)),
            _ => attempt += 1,
        }
    }
}

/// Looks until the group has a leader.
fn find_leader(group: u32, targets: &[SocketAddr], cluster: &str) -> Result<Leader, Failure> {
    let deadline = Instant::now() + LEADER_WAIT;
    loop {
        let why = match Look::of(targets) {
            Ok(look) if look.cluster().is_some_and(|other| other != cluster) => {
                return Err(Failure::failed("another cluster answers now"));
            }
            Ok(look) => match look.leader(group) {
                Ok(leader) => return Ok(leader),
                Err(why) => why,
            },
            Err(failure) if failure.exit == Exit::Unavailable => failure.error.to_string(),
            Err(failure) => return Err(failure),
        };
        if Instant::now() >= deadline {
            return Err(Failure::unavailable(why));
        }
        std::thread::sleep(ASK_INTERVAL);
    }
}

fn report(catalog: &Catalog, args: &BackupArgs, took: Duration) -> Result<(), Failure> {
    let files = || catalog.groups.iter().flat_map(|group| &group.files);
    let summary = Summary {
        cluster: &catalog.cluster,
        groups: catalog.groups.len(),
        files: files().count(),
        bytes: files().map(|file| file.bytes).sum(),
        seconds: took.as_secs_f64(),
        out: &args.out,
    };
    if args.json {
        return output::print_json(&summary);
    }
    let Summary { cluster, groups, files, bytes, seconds, out } = summary;
    let (bytes, out) = (grouped(bytes), out.display());
    output::print(format!(
        "cluster {cluster}: {groups} groups, {files} files, {bytes} bytes in {seconds:.1} s: {out}"
    ))
}
