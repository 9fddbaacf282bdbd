//! One group's files, from its leader's shard into the backup.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::ReadDisk;
use snapshot::{FileRun, RunReference};

use super::catalog::Group;
use super::copying::{GroupCopy, Next};
use super::leaders::Leader;
use crate::cli::client::{Client, ClientError};
use crate::cli::progress::Amount;
use crate::cli::status::{self, Role};
use crate::cli::{Exit, Failure};
use crate::resp::READ_BYTES_MAX;

/// A node answers at once, unless its disk or its core is very busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the leader is asked whether the state is saved.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is asked whether it still leads, which it must for its log to be saved to the end.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A refusal that is about the moment (others back up, too) is waited off for so long.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// Why a group's files are not here.
pub(in crate::cli) enum FetchError {
    /// Begin the group again, at whoever leads it then.
    Again(Failure),
    /// No use in trying again.
    Failed(Failure),
}

impl From<ClientError> for FetchError {
    fn from(error: ClientError) -> FetchError {
        FetchError::Again(Failure::new(Exit::Unavailable, error))
    }
}

fn disk_failed(path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.display().to_string();
    move |error| FetchError::Failed(Failure::new(Exit::Failed, anyhow::Error::new(error).context(path)))
}

/// Saves and fetches `group` from its leader into the backup `out`: when this returns, its files are durable and sound.
/// `patience` bounds the wait for the save.
pub(super) fn fetch(
    group: u32,
    leader: &Leader,
    out: &Path,
    patience: Duration,
    amount: &Amount,
) -> Result<Group, FetchError> {
    let mut client = Client::connect(leader.address, ANSWER_TIMEOUT)?;
    let mut copy = GroupCopy::new(group, leader.slots.clone(), leader.last, READ_BYTES_MAX);
    let mut waits = Waits { begun: Instant::now(), looked: Instant::now(), busy_since: None };
    let mut arriving: Option<Arriving> = None;
    while let Some(words) = copy.question() {
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let mut written = Ok(0);
        let answer = client.ask(&words, |reply| {
            copy.take(reply, |file, piece| {
                written = arriving.as_mut().map_or(Ok(0), |arriving| arriving.write(file, piece));
            })
        });
        amount.done(written?);
        let next = match answer {
            Ok(next) => next,
            Err(ClientError::Refused(text)) => match copy.refused(&text) {
                Some(next) => next,
                None => return Err(ClientError::Refused(text).into()),
            },
            Err(error) => return Err(error.into()),
        };
        if let (None, Some(group)) = (&arriving, copy.named()) {
            group.files.iter().for_each(|file| amount.more(file.bytes));
            arriving = Some(Arriving::begin(group, out)?);
        }
        waits.before(next, group, leader, patience)?;
    }
    // The leader keeps the files only while they are read: all are copied before the first is waited for.
    drop(client);
    let group = copy.into_group();
    arriving.map_or(Ok(()), |arriving| arriving.keep(&group, leader.node))?;
    Ok(group)
}

/// How long the leader has been waited for.
struct Waits {
    begun: Instant,
    looked: Instant,
    busy_since: Option<Instant>,
}

impl Waits {
    /// Waits before the next question, if that is to be, and not for ever.
    fn before(
        &mut self,
        next: Next,
        group: u32,
        leader: &Leader,
        patience: Duration,
    ) -> Result<(), FetchError> {
        match next {
            Next::Now => {
                self.busy_since = None;
                return Ok(());
            }
            Next::Saving if self.begun.elapsed() >= patience => {
                let what = format!("group {group}: node {} has not saved it after {patience:?}", leader.node);
                return Err(FetchError::Failed(Failure::timeout(what)));
            }
            Next::Saving if self.looked.elapsed() >= LOOK_INTERVAL => {
                self.looked = Instant::now();
                still_leads(group, leader)?;
            }
            Next::Saving => {}
            Next::Busy => {
                if self.busy_since.get_or_insert_with(Instant::now).elapsed() >= BUSY_MAX {
                    let what = format!("{}: others back up for {BUSY_MAX:?}", leader.address);
                    return Err(FetchError::Again(Failure::unavailable(what)));
                }
            }
        }
        std::thread::sleep(ASK_INTERVAL);
        Ok(())
    }
}

/// The files of a group on their way to the disk.
pub(in crate::cli) struct Arriving {
    dir: PathBuf,
    files: Vec<(PathBuf, fs::File)>,
}

impl Arriving {
    /// Makes the directory of a group in the backup `out`, and its files, empty.
    pub(in crate::cli) fn begin(group: &Group, out: &Path) -> Result<Arriving, FetchError> {
        group.references().map_err(|what| FetchError::Again(Failure::failed(what)))?;
        let dir = group.dir(out);
        fs::create_dir(&dir).map_err(disk_failed(&dir))?;
        let create = |file: &super::catalog::File| {
            let path = dir.join(&file.name);
            let created = fs::File::create_new(&path).map_err(disk_failed(&path))?;
            Ok((path, created))
        };
        let files = group.files.iter().map(create).collect::<Result<_, FetchError>>()?;
        Ok(Arriving { dir, files })
    }

    /// Adds to the file at this place. It is not durable yet. Answers how much was added.
    pub(in crate::cli) fn write(&mut self, file: usize, piece: &[u8]) -> Result<u64, FetchError> {
        if let Some((path, file)) = self.files.get_mut(file) {
            file.write_all(piece).map_err(disk_failed(path))?;
        }
        Ok(piece.len() as u64)
    }

    /// Makes all files durable, and judges each as `node` sent it.
    pub(in crate::cli) fn keep(self, group: &Group, node: u16) -> Result<(), FetchError> {
        let references = group.references().map_err(|what| FetchError::Again(Failure::failed(what)))?;
        for ((path, file), reference) in self.files.into_iter().zip(references) {
            file.sync_all().map_err(disk_failed(&path))?;
            verify(&path, &reference, node)?;
        }
        let dir = &self.dir;
        fs::File::open(dir).and_then(|open| open.sync_all()).map_err(disk_failed(dir))
    }
}

/// Judges what came as it is on this disk: every block, and that it is the file that was named.
fn verify(path: &Path, reference: &RunReference, node: u16) -> Result<(), FetchError> {
    let verified = ReadDisk::answer(async {
        let mut run = FileRun::open(&ReadDisk, path).await?;
        run.expect(reference)?;
        run.verify().await
    });
    verified.map_err(|error| {
        let exit = if error.is_corrupt() { Exit::Corruption } else { Exit::Failed };
        FetchError::Again(Failure::new(
            exit,
            anyhow::Error::new(error).context(format!("as node {node} sent it")),
        ))
    })
}

/// A node that leads no more may have entries in its log that never come to be: it would be waited for in vain.
fn still_leads(group: u32, leader: &Leader) -> Result<(), FetchError> {
    let status = status::fetch(&[leader.node_address]).map_err(FetchError::Again)?;
    let leads = |known: &&status::GroupStatus| known.id == group && known.role == Role::Leader;
    match status.groups.iter().find(leads) {
        Some(_) => Ok(()),
        None => {
            let what = format!("node {} leads group {group} no more", leader.node);
            Err(FetchError::Again(Failure::unavailable(what)))
        }
    }
}
