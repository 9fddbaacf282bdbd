//! What clients recorded, completed by a last read of every key from every node, and judged.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Brought;
use super::session::{Answer, answer, bytes};
use crate::checkers::{append_list, linearizable};
use crate::client::Client;
use crate::history::{Bytes, Clock, History, Operation, Outcome, Reply, Request, printable};

/// Keys per pipeline of the last reads.
const READ_AT_ONCE: usize = 100;

/// What all clients of a workload recorded.
pub struct Recorded {
    clock: Clock,
    operations: Vec<Operation>,
    /// Keys that were written once and acknowledged, with their values.
    durable: Vec<(Bytes, Bytes)>,
    /// What was wrong at first sight.
    faults: Vec<String>,
}

impl Recorded {
    pub(super) fn new(clock: Clock, brought: Brought) -> Self {
        let Brought { operations, durable, faults } = brought;
        Recorded { clock, operations, durable, faults }
    }

    /// Keys that were written once and acknowledged, with their values.
    pub fn durable(&self) -> &[(Bytes, Bytes)] {
        &self.durable
    }

    /// Every key that was used.
    pub fn keys(&self) -> BTreeSet<Bytes> {
        self.operations.iter().map(|operation| operation.key.clone()).collect()
    }

    /// How many requests were recorded.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// True when nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Reads every key once more through `target`, as a client of its own whose reads belong to the history.
    ///
    /// # Errors
    ///
    /// If the node does not answer every read: the cluster was to be healthy by now.
    pub fn read_back(&mut self, target: SocketAddr) -> io::Result<()> {
        let mut client = Client::connect(target, Duration::from_secs(10))?;
        let keys = self.keys();
        let mut recorder = self.clock.recorder();
        let keys: Vec<Bytes> = keys.into_iter().collect();
        for keys in keys.chunks(READ_AT_ONCE) {
            let calls: Vec<_> = keys.iter().map(|key| recorder.call(key, Request::Get)).collect();
            client.send(&keys.iter().flat_map(|key| bytes(key, &Request::Get)).collect::<Vec<_>>())?;
            for call in calls {
                match answer(&Request::Get, client.receive()?) {
                    Answer::Ok(reply) => recorder.answered(call, reply),
                    Answer::Wrong(what) => return Err(io::Error::other(what)),
                    Answer::Fail | Answer::Unknown => {
                        return Err(io::Error::other(format!(
                            "{target} refused a read of a healthy cluster"
                        )));
                    }
                }
            }
        }
        self.operations.extend(recorder.into_operations());
        Ok(())
    }

    /// Judges everything.
    pub fn judge(self) -> Judgement {
        let Recorded { operations, durable, faults, .. } = self;
        judge(operations, &durable, faults)
    }
}

/// Judges what clients recorded: all operations, last reads among them; the keys that were written once and acknowledged; and
/// what was wrong at first sight.
pub fn judge(operations: Vec<Operation>, durable: &[(Bytes, Bytes)], mut faults: Vec<String>) -> Judgement {
    let answered = operations.iter().filter(|operation| operation.returned().is_some()).count();
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    faults.extend(lost(&operations, durable));
    let (lists, registers): (Vec<_>, Vec<_>) =
        operations.into_iter().partition(|operation| operation.key.starts_with(b"l"));
    let report = linearizable::check(&History::merge([registers]), &linearizable::Limits::default());
    let lists = append_list::check(&History::merge([lists]));
    faults.extend(lists.iter().map(ToString::to_string));
    Judgement { answered, unknown, durable: durable.len(), report, faults }
}

/// Acknowledged writes of keys that are written once, and then read as something else.
fn lost<'a>(operations: &'a [Operation], durable: &'a [(Bytes, Bytes)]) -> impl Iterator<Item = String> + 'a {
    let durable: std::collections::HashMap<&Bytes, &Bytes> = durable.iter().map(|(k, v)| (k, v)).collect();
    operations.iter().filter_map(move |operation| {
        let value = durable.get(&operation.key)?;
        match &operation.outcome {
            Outcome::Ok { reply: Reply::Value(seen), .. } if seen.as_ref() != Some(value) => Some(format!(
                "the acknowledged SET {} {} is lost: a read at the end answered {:?}",
                printable(&operation.key),
                printable(value),
                seen.as_deref().map(printable)
            )),
            _ => None,
        }
    })
}

/// The verdict about a workload.
#[derive(Debug)]
pub struct Judgement {
    /// Requests that were answered.
    pub answered: usize,
    /// Requests whose outcome nobody knows.
    pub unknown: usize,
    /// Keys written once and acknowledged.
    pub durable: usize,
    /// The search's verdict.
    pub report: linearizable::Report,
    /// Everything else that is wrong.
    pub faults: Vec<String>,
}

impl Judgement {
    /// Nothing is wrong, and nothing is undecided.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.report.is_linearizable()
    }

    /// Panics unless every judge saw that acknowledged writes are gone: those of single writes, of append lists, and the search
    /// for each family of keys.
    pub fn assert_forgetful(&self) {
        for what in ["is lost", "key \"l"] {
            assert!(self.faults.iter().any(|fault| fault.contains(what)), "nothing {what}: {self}");
        }
        let keys: Vec<u8> = self.report.violations.iter().map(|violation| violation.key[0]).collect();
        assert!(b"rcw".iter().all(|family| keys.contains(family)), "{self}");
    }

    /// Panics with all that is wrong.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let Judgement { answered, unknown, durable, report, faults } = self;
        writeln!(
            f,
            "{answered} requests answered, {unknown} with unknown outcome, {durable} keys written once"
        )?;
        for fault in faults.iter().take(SHOWN) {
            writeln!(f, "fault: {fault}")?;
        }
        if faults.len() > SHOWN {
            writeln!(f, "and {} more faults", faults.len() - SHOWN)?;
        }
        write!(f, "{report}")
    }
}
