//! Every request of the clients, judged by the entry that it became or the state that it read ([`witness`]). Also those that
//! the search over the histories leaves undecided.
//!
//! No two writes of a life are alike ([`super::clients`]), so an entry's command tells whose it is. A read is known by its
//! key, its answer and its time. What this does not check: that replicas apply alike, which the witness sees at once
//! (`witnessed`), and group 0, which no client writes.

use std::collections::HashMap;

use ringraft::kv::{Command, Condition, List, SlotMap, key_slot};

use super::clients::unused_key;
use super::violated;
use super::witnessed::{Ledger, hash_of, ledger};
use super::world::World;
use crate::checkers::witness::{self, Answer, Entry, Witness};
use crate::client::read_reply;
use crate::history::{Bytes, Operation, Reply, Request};
use crate::workload::session;

const CHECK: &str = "by_index";

impl World {
    /// Judges all that clients asked in this life.
    pub(super) fn check_by_index(&self, operations: &[Operation]) {
        let witness = ledger(|ledger| testify(ledger, operations));
        let slots = SlotMap::new(u16::try_from(self.profile.groups).expect("few groups"));
        if let Err(violation) = witness::check(operations, &witness, |key| slots.group(key_slot(key)).0) {
            violated(CHECK, violation.to_string());
        }
        self.check_backups(operations, &witness.entries);
    }
}

/// What the ledger says about these requests.
fn testify(ledger: &Ledger, operations: &[Operation]) -> Witness {
    let mut writes = HashMap::<u64, usize>::new();
    let mut keys = HashMap::<u64, &Bytes>::new();
    for (at, Operation { key, request, .. }) in operations.iter().enumerate() {
        let digest = digest(key, request, at);
        if *request == Request::Get {
            keys.insert(digest, key);
        } else {
            writes.insert(digest, at);
        }
    }
    let entry = |((group, index), entry): (&(raft::GroupId, raft::Index), &super::witnessed::Entry)| {
        let operation = writes.get(&entry.command).copied();
        let request = operation.map_or(&Request::Del, |at| &operations[at].request);
        Entry { group: group.0, index: index.0, operation, reply: reply(request, &entry.reply) }
    };
    let answer = |answer: &super::witnessed::Answer| {
        let Reply::Value(value) = reply(&Request::Get, &answer.reply) else { return None };
        let (first, last) = (answer.state.0.0, answer.state.1.0);
        let key = keys.get(&answer.query)?.to_vec();
        Some(Answer { group: answer.group.0, first, last, at: answer.at_us * 1000, key, value })
    };
    Witness {
        entries: ledger.applied.iter().map(entry).collect(),
        answers: ledger.answers.iter().filter_map(answer).collect(),
    }
}

/// The digest of the command that a request becomes.
fn digest(key: &[u8], request: &Request, at: usize) -> u64 {
    let unused = unused_key(key, at);
    let keys = [key, &unused[..]];
    let command = match request {
        Request::Get => Command::Get { key },
        Request::Set(value) => Command::Set { key, value, condition: Condition::Always, get: false },
        Request::Del => Command::Del { keys: List::slice(&keys) },
        Request::Incr(by) => Command::IncrBy { key, by: *by },
        Request::Append(value) => Command::Append { key, value },
    };
    hash_of(command.to_vec().as_slice())
}

/// What a machine's answer to a request means.
fn reply(request: &Request, mut bytes: &[u8]) -> Reply {
    let read = read_reply(&mut bytes).map(|value| session::answer(request, value));
    match read {
        Ok(session::Answer::Ok(reply)) => reply,
        _ => violated(CHECK, format!("a machine answers {request} with {}", bytes.escape_ascii())),
    }
}
