//! One group's files, from its leader's shard into the backup.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use runtime::ReadDisk;
use snapshot::{FileRun, RunReference};

use super::catalog::{File, Group};
use super::leaders::Leader;
use crate::cli::client::{Client, ClientError};
use crate::cli::progress::Amount;
use crate::cli::resp::Reply;
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
pub(super) enum FetchError {
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
    let group = saved(&mut client, group, leader, patience)?;
    let dir = group.dir(out);
    let references = group.references().map_err(|what| FetchError::Again(Failure::failed(what)))?;
    fs::create_dir(&dir).map_err(disk_failed(&dir))?;
    group.files.iter().for_each(|file| amount.more(file.bytes));
    // All are copied before the first is waited for: the leader keeps them only while they are read.
    let mut copies = Vec::new();
    for file in &group.files {
        copies.push(copy(&mut client, leader.address, file, &dir.join(&file.name), amount)?);
    }
    drop(client);
    for ((file, reference), copy) in group.files.iter().zip(references).zip(copies) {
        let path = dir.join(&file.name);
        copy.sync_all().map_err(disk_failed(&path))?;
        verify(&path, &reference, leader.node)?;
    }
    fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(disk_failed(&dir))?;
    Ok(group)
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

/// Has the leader save what its log held when it was looked at, and waits until it has; from then on the shard keeps the
/// files for this connection.
fn saved(client: &mut Client, group: u32, leader: &Leader, patience: Duration) -> Result<Group, FetchError> {
    let number = group.to_string();
    let (begun, mut looked) = (Instant::now(), Instant::now());
    loop {
        let listed = client.ask(&[b"RINGRAFT", b"FILES", number.as_bytes()], |reply| {
            files(reply).ok_or(format!("odd: {reply:?}"))
        });
        match listed {
            Ok((index, term, files)) if index >= leader.last => {
                return Ok(Group { id: group, slots: leader.slots.clone(), index, term, files });
            }
            Ok(_) => {}
            // No snapshot yet, or as many backups as may be.
            Err(ClientError::Refused(text)) if text.starts_with("TRYAGAIN") => {}
            Err(error) => return Err(error.into()),
        }
        client.ask(&[b"RINGRAFT", b"SNAPSHOT", number.as_bytes()], |reply| match reply {
            Reply::Simple(b"OK") => Ok(()),
            other => Err(format!("OK was expected, not {other:?}")),
        })?;
        if begun.elapsed() >= patience {
            let what = format!("group {group}: node {} has not saved it after {patience:?}", leader.node);
            return Err(FetchError::Failed(Failure::timeout(what)));
        }
        if looked.elapsed() >= LOOK_INTERVAL {
            looked = Instant::now();
            still_leads(group, leader)?;
        }
        std::thread::sleep(ASK_INTERVAL);
    }
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

/// Reads the answer to RINGRAFT FILES.
fn files(reply: Reply<'_>) -> Option<(u64, u64, Vec<File>)> {
    let Reply::Array(mut parts) = reply else { return None };
    let (index, term) = (number(parts.next()?)?, number(parts.next()?)?);
    let Reply::Array(files) = parts.next()? else { return None };
    let file = |reply| {
        let Reply::Array(mut parts) = reply else { return None };
        let Reply::Bulk(name) = parts.next()? else { return None };
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let (bytes, checksum) = (number(parts.next()?)?, number(parts.next()?)?);
        Some(File { name, bytes, checksum: u32::try_from(checksum).ok()? })
    };
    Some((index, term, files.map(file).collect::<Option<_>>()?))
}

fn number(reply: Reply<'_>) -> Option<u64> {
    let Reply::Integer(number) = reply else { return None };
    u64::try_from(number).ok()
}

/// Copies a file piece by piece. It is not durable yet.
fn copy(
    client: &mut Client,
    from: SocketAddr,
    file: &File,
    path: &Path,
    amount: &Amount,
) -> Result<fs::File, FetchError> {
    let failed = || disk_failed(path);
    let mut copy = fs::File::create_new(path).map_err(failed())?;
    let (mut offset, mut busy_since) = (0, None);
    while offset < file.bytes {
        let want = (file.bytes - offset).min(u64::from(READ_BYTES_MAX));
        let (at, bytes) = (offset.to_string(), want.to_string());
        let words: [&[u8]; 5] = [b"RINGRAFT", b"READ", file.name.as_bytes(), at.as_bytes(), bytes.as_bytes()];
        let mut written = Ok(());
        let piece = client.ask(&words, |reply| match reply {
            Reply::Bulk(piece) if piece.len() as u64 == want => {
                written = copy.write_all(piece);
                Ok(())
            }
            Reply::Bulk(piece) => {
                Err(format!("{} ends after {} bytes", file.name, offset + piece.len() as u64))
            }
            other => Err(format!("bytes of {} were expected, not {other:?}", file.name)),
        });
        written.map_err(failed())?;
        match piece {
            Ok(()) => {}
            Err(ClientError::Refused(text)) if text.starts_with("TRYAGAIN") => {
                if busy_since.get_or_insert_with(Instant::now).elapsed() >= BUSY_MAX {
                    return Err(FetchError::Again(Failure::unavailable(format!("{from}: {text}"))));
                }
                std::thread::sleep(ASK_INTERVAL);
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        busy_since = None;
        offset += want;
        amount.done(want);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::resp::decode;

    #[test]
    fn the_answer_to_files_is_read() {
        let read = |text: &str| files(decode(text.replace(' ', "\r\n").as_bytes()).unwrap().unwrap().0);
        let file = File { name: "g1-i2-t3-b0.run".into(), bytes: 8192, checksum: 77 };
        assert_eq!(read("*3 :2 :3 *1 *3 $15 g1-i2-t3-b0.run :8192 :77 "), Some((2, 3, vec![file])));
        for odd in [
            "+OK ",
            "*3 :2 :3 :4 ",
            "*3 :-2 :3 *0 ",
            "*3 :2 :3 *1 *3 $1 x :-1 :77 ",
            "*3 :2 :3 *1 *3 $1 x :1 :4294967296 ",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
