//! Keys that are only appended to and read: the value itself is the order of the appends, so that the whole
//! history is checked in the time it takes to sort it, however many clients there were.
//!
//! Every append adds a token that no other append of the key adds, ended by `;`. Each operation then has a
//! place in the value: an append covers its token's bytes, a read stands at the length it saw. A history is
//! linearizable exactly when every value read is a prefix of the longest one, no token stands twice or was
//! surely not appended, no two appends cover the same bytes, and whatever returned before something else
//! was called also stands before it.

use std::collections::HashMap;
use std::fmt;

use crate::history::{Bytes, History, Operation, Outcome, Reply, Request, printable};

/// The last byte of every token.
pub const TOKEN_END: u8 = b';';

/// What is wrong with a key, and the operations that show it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The key.
    pub key: Bytes,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The operations that show it, one or two.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key \"{}\": {}", printable(&self.key), self.what)?;
        for Operation { client, request, called, outcome, .. } in &self.operations {
            write!(f, "  client {client} called at {called} ns: {request}")?;
            match outcome {
                Outcome::Ok { returned, reply } => writeln!(f, ", returned at {returned} ns: {reply}")?,
                Outcome::Fail => writeln!(f, ", failed")?,
                Outcome::Unknown => writeln!(f, ", outcome unknown")?,
            }
        }
        Ok(())
    }
}

/// Checks every key of a history that holds nothing but APPEND and GET. At most one violation per key.
///
/// # Panics
///
/// If a request is neither, or a token is not unique in its key or does not end with [`TOKEN_END`] alone:
/// a workload that this checker cannot judge.
pub fn check(history: &History) -> Vec<Violation> {
    let judge = |(key, operations): (&[u8], Vec<&Operation>)| {
        check_key(&operations).err().map(|Wrong { what, operations }| Violation {
            key: key.to_vec(),
            what,
            operations: operations.into_iter().cloned().collect(),
        })
    };
    history.by_key().into_iter().filter_map(judge).collect()
}

/// Panics with the evidence unless every key is in order.
pub fn assert_ordered(history: &History) {
    let violations = check(history);
    let text: String = violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{} keys are not linearizable\n{text}", violations.len());
}

struct Wrong<'a> {
    what: String,
    operations: Vec<&'a Operation>,
}

fn wrong<'a>(what: impl Into<String>, operations: &[&'a Operation]) -> Wrong<'a> {
    Wrong { what: what.into(), operations: operations.to_vec() }
}

/// The bytes an operation stands at; a read stands between two bytes.
struct Place<'a> {
    start: usize,
    end: usize,
    operation: &'a Operation,
}

fn check_key<'a>(operations: &[&'a Operation]) -> Result<(), Wrong<'a>> {
    let order = longest_read(operations);
    let tokens = appended(operations);
    let mut places = Vec::with_capacity(operations.len());
    let offsets = token_offsets(order, &tokens)?;
    for &operation in operations {
        let place = match &operation.request {
            Request::Get => read_place(operation, order)?,
            Request::Append(token) => append_place(operation, token, &offsets, order)?,
            other => panic!("the append-list check cannot judge {other}"),
        };
        places.extend(place.map(|(start, end)| Place { start, end, operation }));
    }
    disjoint(&places)?;
    real_time(&places)
}

/// The longest value that was read, with its reader.
#[derive(Clone, Copy)]
struct Order<'a> {
    value: &'a [u8],
    reader: Option<&'a Operation>,
}

fn read_value(operation: &Operation) -> Option<&[u8]> {
    match &operation.outcome {
        Outcome::Ok { reply: Reply::Value(value), .. } => Some(value.as_deref().unwrap_or_default()),
        _ => None,
    }
}

fn longest_read<'a>(operations: &[&'a Operation]) -> Order<'a> {
    let mut order = Order { value: &[], reader: None };
    for &operation in operations {
        if let Some(value) = read_value(operation).filter(|value| value.len() > order.value.len()) {
            order = Order { value, reader: Some(operation) };
        }
    }
    order
}

fn appended<'a>(operations: &[&'a Operation]) -> HashMap<&'a [u8], &'a Operation> {
    let mut tokens = HashMap::new();
    for &operation in operations {
        if let Request::Append(token) = &operation.request {
            let ends = token.iter().filter(|byte| **byte == TOKEN_END).count();
            assert!(ends == 1 && token.ends_with(&[TOKEN_END]), "token {} is not ended", printable(token));
            let twice = tokens.insert(token.as_slice(), operation);
            assert!(twice.is_none(), "token {} is not unique", printable(token));
        }
    }
    tokens
}

/// Where each token of the order stands.
fn token_offsets<'a>(
    order: Order<'a>,
    tokens: &HashMap<&'a [u8], &'a Operation>,
) -> Result<HashMap<&'a [u8], usize>, Wrong<'a>> {
    let mut offsets = HashMap::new();
    let mut offset = 0;
    let reader: Vec<&Operation> = order.reader.into_iter().collect();
    for token in order.value.split_inclusive(|byte| *byte == TOKEN_END) {
        let Some(append) = tokens.get(token) else {
            return Err(wrong(format!("nobody appended \"{}\", which was read", printable(token)), &reader));
        };
        let evidence = [reader.as_slice(), &[*append]].concat();
        if append.outcome == Outcome::Fail {
            return Err(wrong("an append that failed for sure was read", &evidence));
        }
        if offsets.insert(token, offset).is_some() {
            return Err(wrong("one append took effect twice", &evidence));
        }
        offset += token.len();
    }
    Ok(offsets)
}

fn read_place<'a>(operation: &'a Operation, order: Order<'a>) -> Result<Option<(usize, usize)>, Wrong<'a>> {
    let Some(value) = read_value(operation) else { return Ok(None) };
    if !order.value.starts_with(value) {
        let evidence: Vec<&Operation> = order.reader.into_iter().chain([operation]).collect();
        return Err(wrong("two reads saw different orders", &evidence));
    }
    Ok(Some((value.len(), value.len())))
}

fn append_place<'a>(
    operation: &'a Operation,
    token: &[u8],
    offsets: &HashMap<&'a [u8], usize>,
    order: Order<'a>,
) -> Result<Option<(usize, usize)>, Wrong<'a>> {
    let read = offsets.get(token).map(|offset| (*offset, offset + token.len()));
    let Outcome::Ok { reply: Reply::Integer(length), .. } = operation.outcome else { return Ok(read) };
    let end = usize::try_from(length).unwrap_or(0);
    let Some(start) = end.checked_sub(token.len()) else {
        return Err(wrong("an append answered less than its own length", &[operation]));
    };
    let evidence: Vec<&Operation> = order.reader.into_iter().chain([operation]).collect();
    match read {
        Some(read) if read != (start, end) => {
            Err(wrong("an append stands elsewhere than its reply says", &evidence))
        }
        None if start < order.value.len() => {
            Err(wrong("an acknowledged append is missing where its reply says it stands", &evidence))
        }
        _ => Ok(Some((start, end))),
    }
}

fn disjoint<'a>(places: &[Place<'a>]) -> Result<(), Wrong<'a>> {
    let mut appends: Vec<&Place> = places.iter().filter(|place| place.start < place.end).collect();
    appends.sort_unstable_by_key(|place| place.start);
    for pair in appends.windows(2) {
        if pair[1].start < pair[0].end {
            return Err(wrong(
                "two acknowledged appends stand at the same bytes",
                &[pair[0].operation, pair[1].operation],
            ));
        }
    }
    Ok(())
}

/// Goes through calls and returns by time: nothing called may start before the furthest end that had
/// already returned. At equal times calls come first, since the clock cannot tell.
fn real_time<'a>(places: &[Place<'a>]) -> Result<(), Wrong<'a>> {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(places.len() * 2);
    for (at, place) in places.iter().enumerate() {
        events.push((place.operation.called, false, at));
        events.extend(place.operation.returned().map(|returned| (returned, true, at)));
    }
    events.sort_unstable();
    let mut furthest: Option<&Place> = None;
    for (_, is_return, at) in events {
        let place = &places[at];
        let end = furthest.map_or(0, |furthest| furthest.end);
        if is_return && place.end >= end {
            furthest = Some(place);
        }
        if !is_return && place.start < end {
            let before: Vec<&Operation> = furthest.map(|place| place.operation).into_iter().collect();
            let evidence = [before.as_slice(), &[place.operation]].concat();
            return Err(wrong(
                "the second returned an earlier state than the first, called after it",
                &evidence,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
