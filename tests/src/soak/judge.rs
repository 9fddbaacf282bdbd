//! Judges what clients recorded, window by window, while they go on.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::client::{Client, Value, encode};
use crate::history::Bytes;
use crate::poll;
use crate::workload::{Recorded, Workload};

/// Every key of a window can be read within this: it spans every fault.
const READ_TIME: Duration = Duration::from_secs(120);
/// Keys written once that are kept for the whole run; beyond it they are judged with their window and deleted.
const KEPT_MAX: usize = 50_000;
/// One of so many windows' keys are kept.
const KEPT_SHARE: usize = 20;
/// Requests per write when keys are deleted or read at the end.
const AT_ONCE: usize = 200;
/// Violations that are shown; the rest are counted.
const SHOWN: u64 = 5;

/// What was judged so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Windows without anything wrong.
    pub clean: AtomicU64,
    /// Windows with something wrong.
    pub guilty: AtomicU64,
    /// Windows that the search could not decide, and that are not guilty otherwise.
    pub undecided: AtomicU64,
    /// Requests in all of them.
    pub judged: AtomicU64,
    /// Requests among them whose outcome nobody knows.
    pub unknown: AtomicU64,
}

/// Reads, judges and forgets windows.
#[derive(Debug)]
pub struct Judge<'a> {
    tally: &'a Tally,
    targets: Vec<SocketAddr>,
    rng: Rng,
    kept: Vec<(Bytes, Bytes)>,
}

impl<'a> Judge<'a> {
    /// A judge that reads through these nodes.
    pub fn new(tally: &'a Tally, targets: Vec<SocketAddr>, rng: Rng) -> Judge<'a> {
        Judge { tally, targets, rng, kept: Vec::new() }
    }

    /// Judges windows as they come, until told to stop.
    ///
    /// # Errors
    ///
    /// A sentence, when the keys of a window cannot be read.
    pub fn follow(&mut self, workload: &Workload, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::Relaxed) {
            match workload.take_window() {
                Some(recorded) => self.judge(recorded)?,
                None => {
                    poll::until(Instant::now() + Duration::from_millis(50), || stop.load(Ordering::Relaxed));
                }
            }
        }
        Ok(())
    }

    /// Judges what was recorded, and deletes the keys but some.
    ///
    /// # Errors
    ///
    /// As for [`Judge::follow`].
    pub fn judge(&mut self, mut recorded: Recorded) -> Result<(), String> {
        self.anywhere(|target| recorded.read_back(target))?;
        let mut doomed = recorded.keys();
        for (key, value) in recorded.durable().iter().step_by(KEPT_SHARE) {
            if self.kept.len() < KEPT_MAX && doomed.remove(key) {
                self.kept.push((key.clone(), value.clone()));
            }
        }
        let requests = recorded.len() as u64;
        let judgement = recorded.judge();
        self.tally.judged.fetch_add(requests, Ordering::Relaxed);
        self.tally.unknown.fetch_add(judgement.unknown as u64, Ordering::Relaxed);
        let is_guilty = !judgement.faults.is_empty() || !judgement.report.violations.is_empty();
        let verdict = match (is_guilty, judgement.is_clean()) {
            (true, _) => &self.tally.guilty,
            (_, true) => &self.tally.clean,
            _ => &self.tally.undecided,
        };
        if verdict.fetch_add(1, Ordering::Relaxed) < SHOWN && !judgement.is_clean() {
            println!("{judgement}");
        }
        let doomed: Vec<Bytes> = doomed.into_iter().collect();
        self.anywhere(|target| delete(target, &doomed))
    }

    /// Reads what was kept from every node: acknowledged writes are there, however long ago. The number of keys.
    ///
    /// # Errors
    ///
    /// A sentence about the first one that is lost, or the node that does not answer.
    pub fn read_kept(&self) -> Result<usize, String> {
        for target in &self.targets {
            read_all(*target, &self.kept).map_err(|error| format!("{target}: {error}"))?;
        }
        Ok(self.kept.len())
    }

    /// Tries at one node after the other.
    fn anywhere(&mut self, mut what: impl FnMut(SocketAddr) -> io::Result<()>) -> Result<(), String> {
        let mut last = String::new();
        let done = poll::until(Instant::now() + READ_TIME, || {
            let target = self.targets[self.rng.usize(..self.targets.len())];
            what(target).map_err(|error| last = format!("{target}: {error}")).is_ok()
        });
        if done { Ok(()) } else { Err(format!("the keys of a window cannot be read or deleted: {last}")) }
    }
}

fn ask(target: SocketAddr, verb: &[u8], keys: &mut dyn Iterator<Item = &Bytes>) -> io::Result<Vec<Value>> {
    let mut client = Client::connect(target, Duration::from_secs(10))?;
    let keys: Vec<&Bytes> = keys.collect();
    let mut replies = Vec::with_capacity(keys.len());
    for keys in keys.chunks(AT_ONCE) {
        client.send(&keys.iter().flat_map(|key| encode(&[verb, key])).collect::<Vec<u8>>())?;
        for _ in keys {
            match client.receive()? {
                Value::Error(text) => return Err(io::Error::other(text)),
                reply => replies.push(reply),
            }
        }
    }
    Ok(replies)
}

fn delete(target: SocketAddr, keys: &[Bytes]) -> io::Result<()> {
    ask(target, b"DEL", &mut keys.iter()).map(|_| ())
}

fn read_all(target: SocketAddr, kept: &[(Bytes, Bytes)]) -> io::Result<()> {
    let replies = ask(target, b"GET", &mut kept.iter().map(|(key, _)| key))?;
    let lost = kept.iter().zip(&replies).find(|((_, value), reply)| **reply != Value::Bulk(value.clone()));
    match lost {
        None => Ok(()),
        Some(((key, value), reply)) => Err(io::Error::other(format!(
            "the acknowledged SET {} {} is lost: a read at the end answered {reply:?}",
            key.escape_ascii(),
            value.escape_ascii()
        ))),
    }
}
