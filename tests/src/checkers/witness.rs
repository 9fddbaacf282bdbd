//! Histories with a witness: somebody who stood beside the state machines and wrote down which request each entry of the
//! log was, and between which entries each read was answered. The order is then known, not searched for, so every request
//! is judged, of every key and kind, in the time it takes to sort them.
//!
//! An acknowledged write is one entry of its group's log, and has its reply; one with an unknown outcome is one or none, a
//! refused one none; an entry is somebody's request. Entries answer what a register answers that went through all before
//! them, and so do the reads between them. Within a group, whatever returned before something else was called stands
//! before it, and so does what the same client was answered and had asked earlier: a connection's requests take effect in
//! the order sent. A read that saw an entry stands behind it.
//!
//! A read that several answers of its time explain stands at the earliest of them that may be: that forbids least.
//!
//! What this does not check: that the witness is right, or that replicas agree with each other; the order of requests for
//! different groups, which nobody promises; and the order between an unanswered request and others of its client.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::history::{Bytes, Operation, Outcome, Reply, Request, printable};

/// An entry of a group's log that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The group.
    pub group: u32,
    /// Its index: each stands in a group's list once.
    pub index: u64,
    /// The place of the request in the history; none if nobody asked for this.
    pub operation: Option<usize>,
    /// What the machine answered.
    pub reply: Reply,
}

/// A read that a machine answered, whoever heard the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The group.
    pub group: u32,
    /// The newest entry in the state: at least this,
    pub first: u64,
    /// and at most this. Two where a state was restored that several entries have left behind.
    pub last: u64,
    /// When, by the clock of the history.
    pub at: u64,
    /// What was read.
    pub key: Bytes,
    /// What it was.
    pub value: Option<Bytes>,
}

/// All that the witness saw.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// The entries, in any order.
    pub entries: Vec<Entry>,
    /// The reads, in any order.
    pub answers: Vec<Answer>,
}

/// What is wrong, and the requests that show it, if any.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is wrong, in a sentence.
    pub what: String,
    /// The requests that show it.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for Operation { client, key, request, called, outcome } in &self.operations {
            write!(f, "\n  client {client} called {request} of {} at {called} ns", printable(key))?;
            match outcome {
                Outcome::Ok { returned, reply } => write!(f, ", returned at {returned} ns: {reply}")?,
                Outcome::Fail => write!(f, ", refused")?,
                Outcome::Unknown => write!(f, ", outcome unknown")?,
            }
        }
        Ok(())
    }
}

/// How many requests have a place in the order. The others are refused, or unknown and not applied, or unanswered reads.
pub type Placed = usize;

/// Judges a history. `group_of` says to which group a key belongs.
///
/// # Errors
/// The first violation found.
pub fn check(
    operations: &[Operation],
    witness: &Witness,
    group_of: impl Fn(&[u8]) -> u32,
) -> Result<Placed, Violation> {
    let judge = Judge { operations, groups: operations.iter().map(|asked| group_of(&asked.key)).collect() };
    let places = judge.entries(&witness.entries)?;
    judge.replay(witness)?;
    judge.order(places, &witness.answers)
}

struct Judge<'a> {
    operations: &'a [Operation],
    groups: Vec<u32>,
}

/// Something that stands in the order, and who.
#[derive(Clone, Copy)]
struct Place {
    index: u64,
    operation: usize,
}

impl Judge<'_> {
    fn wrong<T>(&self, what: String, operations: &[usize]) -> Result<T, Violation> {
        let operations = operations.iter().map(|at| self.operations[*at].clone()).collect();
        Err(Violation { what, operations })
    }

    /// Where each write stands: at one entry, whose reply is its reply.
    fn entries(&self, entries: &[Entry]) -> Result<Vec<Option<u64>>, Violation> {
        let mut places = vec![None; self.operations.len()];
        for entry in entries {
            let (group, index) = (entry.group, entry.index);
            let Some(at) = entry.operation else {
                return self
                    .wrong(format!("group {group}: nobody asked for what was applied at {index}"), &[]);
            };
            if self.groups[at] != group {
                return self
                    .wrong(format!("applied at {index} of group {group}, which has not this key"), &[at]);
            }
            if let Some(first) = places[at].replace(index) {
                return self.wrong(format!("applied twice, at {first} and {index} of group {group}"), &[at]);
            }
            match &self.operations[at].outcome {
                Outcome::Fail => {
                    return self.wrong(format!("refused, and applied at {index} of group {group}"), &[at]);
                }
                Outcome::Ok { reply, .. } if *reply != entry.reply => {
                    let text =
                        format!("the reply is not that of entry {index} of group {group}: {}", entry.reply);
                    return self.wrong(text, &[at]);
                }
                Outcome::Ok { .. } | Outcome::Unknown => {}
            }
        }
        let lost = |(operation, place): (&Operation, &Option<u64>)| {
            operation.returned().is_some() && operation.request != Request::Get && place.is_none()
        };
        match self.operations.iter().zip(&places).position(lost) {
            Some(at) => self.wrong("acknowledged, and applied nowhere".into(), &[at]),
            None => Ok(places),
        }
    }

    /// Goes through the entries and the reads between them: each answers what a register would.
    fn replay(&self, witness: &Witness) -> Result<(), Violation> {
        let mut entries: Vec<&Entry> = witness.entries.iter().collect();
        let mut answers: Vec<&Answer> = witness.answers.iter().collect();
        entries.sort_by_key(|entry| (entry.group, entry.index));
        answers.sort_by_key(|answer| (answer.group, answer.last));
        let mut registers = HashMap::<&[u8], Bytes>::new();
        let mut answers = answers.into_iter().peekable();
        for number in 0..=entries.len() {
            let next = entries.get(number);
            while let Some(answer) = answers.next_if(|answer| {
                next.is_none_or(|next| (answer.group, answer.last) < (next.group, next.index))
            }) {
                let value = registers.get(answer.key.as_slice());
                if value != answer.value.as_ref() {
                    let seen = Reply::Value(answer.value.clone());
                    let (key, expected) = (printable(&answer.key), Reply::Value(value.cloned()));
                    let Answer { group, last, at, .. } = answer;
                    let text = format!(
                        "group {group}: at {at} ns a read of {key} in the state at {last} is answered {seen}, not {expected}"
                    );
                    return self.wrong(text, &[]);
                }
            }
            let Some((entry, at)) = next.and_then(|entry| Some((entry, entry.operation?))) else { continue };
            let Operation { key, request, .. } = &self.operations[at];
            let expected = apply(&mut registers, key, request);
            if entry.reply != expected {
                let Entry { group, index, reply, .. } = entry;
                let text = format!("entry {index} of group {group} answers {reply}, not {expected}");
                return self.wrong(text, &[at]);
            }
        }
        Ok(())
    }

    /// Goes through the calls by time, with what had returned before each.
    fn order(&self, mut places: Vec<Option<u64>>, answers: &[Answer]) -> Result<Placed, Violation> {
        let heard = Heard::of(answers);
        let mut calls: Vec<usize> = (0..self.operations.len()).collect();
        calls.sort_by_key(|at| self.operations[*at].called);
        let mut returns: Vec<(u64, usize)> =
            (0..self.operations.len()).filter_map(|at| Some((self.operations[at].returned()?, at))).collect();
        returns.sort_unstable();
        let mut returns = returns.into_iter().peekable();
        // What stands furthest in each group, of all that has returned and of each client's.
        let (mut returned, mut by_client) =
            (HashMap::<u32, Place>::new(), HashMap::<(u32, u32), Place>::new());
        for at in calls {
            let operation = &self.operations[at];
            while let Some((_, before)) = returns.next_if(|(time, _)| *time < operation.called) {
                // Its call was earlier than its return, so it has its place by now.
                let Some(index) = places[before] else { continue };
                further(
                    returned.entry(self.groups[before]).or_insert(Place { index: 0, operation: before }),
                    index,
                    before,
                );
            }
            let group = self.groups[at];
            let own = (operation.client, group);
            // Whoever got no answer from this request knows nothing of its order among its own.
            let own_floor = by_client.get(&own).filter(|_| operation.returned().is_some());
            let floor = [returned.get(&group), own_floor].into_iter().flatten();
            let floor = floor.copied().max_by_key(|place| place.index);
            if operation.request == Request::Get {
                places[at] = self.place_read(at, floor, &heard)?;
            } else if let (Some(index), Some(floor)) = (places[at], floor)
                && index <= floor.index
            {
                let text = format!(
                    "the second stands at {index} of group {group}, the first, before it, at {}",
                    floor.index
                );
                return self.wrong(text, &[floor.operation, at]);
            }
            if let (Some(index), true) = (places[at], operation.returned().is_some()) {
                further(by_client.entry(own).or_insert(Place { index: 0, operation: at }), index, at);
            }
        }
        Ok(places.iter().flatten().count())
    }

    /// Where an answered read stands: the earliest place, not before `floor`, where a machine gave its answer in its time.
    fn place_read(
        &self,
        at: usize,
        floor: Option<Place>,
        heard: &Heard<'_>,
    ) -> Result<Option<u64>, Violation> {
        let Operation { key, called, outcome, .. } = &self.operations[at];
        let Outcome::Ok { returned, reply: Reply::Value(value) } = outcome else { return Ok(None) };
        let explain = heard.between(key, *called, *returned).filter(|answer| answer.value == *value);
        let floor_index = floor.map_or(0, |floor| floor.index);
        let (mut newest, mut place) = (None, None);
        for answer in explain.filter(|answer| answer.group == self.groups[at]) {
            newest = newest.max(Some(answer.last));
            if answer.last >= floor_index {
                let earliest = answer.first.max(floor_index);
                place = Some(place.map_or(earliest, |place: u64| place.min(earliest)));
            }
        }
        match (place, newest, floor) {
            (Some(place), ..) => Ok(Some(place)),
            (None, Some(newest), Some(floor)) => {
                let text = format!(
                    "the second saw group {} as of {newest}, the first, before it, stands at {}",
                    self.groups[at], floor.index
                );
                self.wrong(text, &[floor.operation, at])
            }
            (None, ..) => self.wrong("read, and no machine answered so in its time".into(), &[at]),
        }
    }
}

fn further(place: &mut Place, index: u64, operation: usize) {
    if index >= place.index {
        *place = Place { index, operation };
    }
}

/// The reads that machines answered, by key and time.
struct Heard<'a>(BTreeMap<(&'a [u8], u64), Vec<&'a Answer>>);

impl<'a> Heard<'a> {
    fn of(answers: &'a [Answer]) -> Heard<'a> {
        let mut heard = BTreeMap::<_, Vec<_>>::new();
        for answer in answers {
            heard.entry((answer.key.as_slice(), answer.at)).or_default().push(answer);
        }
        Heard(heard)
    }

    fn between(&self, key: &'a [u8], from: u64, to: u64) -> impl Iterator<Item = &'a Answer> {
        self.0.range((key, from)..=(key, to)).flat_map(|(_, answers)| answers.iter().copied())
    }
}

/// What a register does: its reply, and its value after.
fn apply<'a>(registers: &mut HashMap<&'a [u8], Bytes>, key: &'a [u8], request: &Request) -> Reply {
    match request {
        Request::Get => Reply::Value(registers.get(key).cloned()),
        Request::Set(value) => {
            registers.insert(key, value.clone());
            Reply::Stored
        }
        Request::Del => Reply::Integer(i64::from(registers.remove(key).is_some())),
        Request::Incr(by) => {
            let number = registers.get(key).map_or(Some(0), |value| integer(value));
            let Some(sum) = number.and_then(|number| number.checked_add(*by)) else {
                return Reply::NotAnInteger;
            };
            registers.insert(key, sum.to_string().into_bytes());
            Reply::Integer(sum)
        }
        Request::Append(tail) => {
            let value = registers.entry(key).or_default();
            value.extend_from_slice(tail);
            Reply::Integer(i64::try_from(value.len()).expect("values are short"))
        }
    }
}

/// A number as Redis reads it: no spaces, no plus, no leading zeros.
fn integer(value: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == value).then_some(number)
}

#[cfg(test)]
mod tests;
