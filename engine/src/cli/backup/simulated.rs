//! Backups and restores for the simulator of `ringraft-tests`: the questions, files, lists and keys of `ringraft backup` and
//! `ringraft restore`, while connections and time are a simulated operator's. The backup's own directory is a real one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::catalog::{self, Catalog, Group};
use super::copying::GroupCopy;
use super::fetch::{Arriving, FetchError};
use super::leaders::{Leader, Look};
use crate::cli::progress::Amount;
use crate::cli::resp::{self, Reply};
use crate::cli::restore::batch::{Answer, Batch, answer};
use crate::cli::restore::source::Source;
use crate::cli::status::Status;

pub use super::copying::Next;

/// What one node says of itself, and where it was asked.
pub type Said = (SocketAddr, Vec<u8>);

/// What has become of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its answer is not whole yet.
    Nothing,
    /// It is answered.
    Next(Next),
    /// The group is to be begun again, for this reason.
    Again(String),
}

/// One group on its way.
struct Copying {
    copy: GroupCopy,
    arriving: Option<Arriving>,
    node: u16,
    address: SocketAddr,
}

/// A backup that is being taken.
pub struct Backup {
    out: PathBuf,
    look: Look,
    groups: Vec<Group>,
    copying: Option<Copying>,
}

/// The state of one group in a backup.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The group.
    pub group: u32,
    /// The last entry in it.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// All keys and their values, as a restore writes them.
    pub keys: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Backup {
    /// Begins a backup in `out`, which is not there yet.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn begin(out: &Path) -> Result<Backup, String> {
        fs::create_dir_all(out).map_err(|error| error.to_string())?;
        let look = Look::of_statuses([]);
        Ok(Backup { out: out.to_owned(), look, groups: Vec::new(), copying: None })
    }

    /// The words that a node is asked first.
    pub fn status_question() -> Vec<u8> {
        encoded(&["RINGRAFT".to_owned(), "STATUS".to_owned()])
    }

    /// Reads the answer to that; none if it is no status, or not whole.
    pub fn status(bytes: &[u8]) -> Option<Vec<u8>> {
        match resp::decode(bytes) {
            Ok(Some((Reply::Bulk(json), _))) => Some(json.to_vec()),
            _ => None,
        }
    }

    /// This is what all nodes that answer say now.
    pub fn look(&mut self, said: &[Said]) {
        let status =
            |(at, json): &Said| serde_json::from_slice::<Status>(json).ok().map(|status| (*at, status));
        self.look = Look::of_statuses(said.iter().filter_map(status));
    }

    /// The groups that the nodes told of.
    pub fn groups(&self) -> Vec<u32> {
        self.look.groups()
    }

    /// Begins a group, whose pieces are so large: where its leader's shard is to be called. What was there of it is gone.
    ///
    /// # Errors
    /// Why it has no leader now.
    pub fn begin_group(&mut self, group: u32, piece_bytes: u32) -> Result<SocketAddr, String> {
        self.copying = None;
        let Leader { node, address, last, slots, .. } = self.look.leader(group)?;
        let begun =
            Group { id: group, slots: Vec::new(), index: 0, term: 0, files: Vec::new() }.dir(&self.out);
        let _not_there = fs::remove_dir_all(begun);
        let copy = GroupCopy::new(group, slots, last, piece_bytes);
        self.copying = Some(Copying { copy, arriving: None, node, address });
        Ok(address)
    }

    /// Where the group's leader is called.
    pub fn address(&self) -> Option<SocketAddr> {
        self.copying.as_ref().map(|copying| copying.address)
    }

    /// The next question to the leader; none when all of the group is here.
    pub fn question(&self) -> Option<Vec<u8>> {
        Some(encoded(&self.copying.as_ref()?.copy.question()?))
    }

    /// Takes what has come in answer to it so far.
    ///
    /// # Errors
    /// The backup's own directory cannot be written.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Heard, String> {
        let Some(Copying { copy, arriving, .. }) = &mut self.copying else { return Ok(Heard::Nothing) };
        let reply = match resp::decode(bytes) {
            Ok(None) => return Ok(Heard::Nothing),
            Ok(Some((Reply::Error(text), _))) => {
                let text = String::from_utf8_lossy(text).into_owned();
                return Ok(copy.refused(&text).map_or(Heard::Again(text), Heard::Next));
            }
            Ok(Some((reply, _))) => reply,
            Err(bad) => return Ok(Heard::Again(bad.to_string())),
        };
        let mut written = Ok(0);
        let next = copy.take(reply, |file, piece| {
            written = arriving.as_mut().map_or(Ok(0), |arriving| arriving.write(file, piece));
        });
        written.map_err(told)?;
        let next = match next {
            Ok(next) => next,
            Err(odd) => return Ok(Heard::Again(odd)),
        };
        if let (None, Some(group)) = (&*arriving, copy.named()) {
            *arriving = Some(Arriving::begin(group, &self.out).map_err(told)?);
        }
        Ok(Heard::Next(next))
    }

    /// All of the group is here: judges each file, as the leader sent it.
    ///
    /// # Errors
    /// The files are not what was named; the leader's node.
    pub fn end_group(&mut self) -> Result<(), (u16, String)> {
        let Some(Copying { copy, arriving, node, .. }) = self.copying.take() else { return Ok(()) };
        let group = copy.into_group();
        let kept = arriving.map_or(Ok(()), |arriving| arriving.keep(&group, node));
        kept.map_err(|error| (node, told(error)))?;
        self.groups.push(group);
        Ok(())
    }

    /// All groups are here: writes the list of them.
    ///
    /// # Errors
    /// The directory cannot be written, or is no backup.
    pub fn finish(self, began_unix_s: u64, ended_unix_s: u64) -> Result<(), String> {
        let catalog = Catalog {
            format: catalog::FORMAT,
            ringraft: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.look.cluster().unwrap_or_default(),
            began_unix_s,
            ended_unix_s,
            groups: self.groups,
        };
        catalog.write(&self.out).map_err(|error| error.to_string())
    }
}

fn told(error: FetchError) -> String {
    let (FetchError::Again(failure) | FetchError::Failed(failure)) = error;
    format!("{:#}", failure.error)
}

fn encoded(words: &[String]) -> Vec<u8> {
    let mut request = Vec::new();
    resp::encode(&mut request, &words.iter().map(String::as_bytes).collect::<Vec<_>>());
    request
}

/// Checks every byte of a backup, and reads what it holds.
///
/// # Errors
/// What is wrong with it.
pub fn read(dir: &Path) -> Result<Vec<GroupState>, String> {
    let told = |failure: crate::cli::Failure| format!("{:#}", failure.error);
    let source = Source::open(dir).map_err(told)?;
    source.verify(&Amount::unseen()).map_err(told)?;
    let mut states = Vec::new();
    for group in &source.catalog.groups {
        let mut keys = Vec::new();
        let taken = source.each_key(group, |key, value| {
            keys.push((key.to_vec(), value.to_vec()));
            Ok(())
        });
        taken.map_err(told)?;
        states.push(GroupState { group: group.id, index: group.index, term: group.term, keys });
    }
    Ok(states)
}

/// Keys on their way into a cluster, through one connection at a time.
#[derive(Default)]
pub struct Restore(Batch);

impl Restore {
    /// Adds a key. Whether it is time to [send](Restore::requests) what there is.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.0.add(key, value)
    }

    /// How many are not acknowledged.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The requests of all that are not acknowledged.
    pub fn requests(&self) -> Vec<u8> {
        self.0.requests(&(0..self.0.len()).collect::<Vec<_>>())
    }

    /// Takes the answers to them, as far as there are any; what is not acknowledged stays.
    ///
    /// # Errors
    /// A key is refused for good, or an answer is none.
    pub fn hear(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let mut stored = Vec::new();
        while stored.len() < self.0.len()
            && let Some((reply, used)) = resp::decode(bytes).map_err(|bad| bad.to_string())?
        {
            match answer(reply) {
                Answer::Stored => stored.push(true),
                Answer::Again(_) => stored.push(false),
                Answer::Refused(text) => return Err(text),
            }
            bytes = &bytes[used..];
        }
        let _bytes = self.0.keep_unstored(&stored);
        Ok(())
    }
}
