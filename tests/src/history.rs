//! Histories: what clients asked, what they were told, and when.
//!
//! Each client thread owns a [`Recorder`] and appends to it without locks; the recorders share one
//! clock, so that "returned before the other was called" can be trusted across threads of one
//! process. [`History::merge`] brings the recordings together for the checkers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The bytes of a key or of a value.
pub type Bytes = Vec<u8>;

/// What a client asked of one key that holds a string, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// `GET key`.
    Get,
    /// `SET key value`.
    Set(Bytes),
    /// `DEL key`.
    Del,
    /// `INCRBY key by`.
    Incr(i64),
    /// `APPEND key value`.
    Append(Bytes),
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The value of a `GET`; `None` when the key is absent.
    Value(Option<Bytes>),
    /// `+OK` of a `SET`.
    Stored,
    /// The count of a `DEL`, the sum of an `INCRBY`, the length of an `APPEND`.
    Integer(i64),
    /// `-ERR value is not an integer or out of range`: the increment was refused because of the value.
    NotAnInteger,
}

/// How an operation ended, as far as its client can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered `reply` at `returned` nanoseconds.
    Ok {
        /// When the reply was read, in nanoseconds of the recorders' clock.
        returned: u64,
        /// The reply.
        reply: Reply,
    },
    /// The server proved that it was not and will not be applied.
    Fail,
    /// It may take effect at any time after its call, or never.
    Unknown,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked. A client has at most one unanswered request outside a pipeline.
    pub client: u32,
    /// The key.
    pub key: Bytes,
    /// What was asked.
    pub request: Request,
    /// When, in nanoseconds of the recorders' clock: before the first byte was written.
    pub called: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// When it returned; `None` unless it was answered.
    pub fn returned(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok { returned, .. } => Some(returned),
            Outcome::Fail | Outcome::Unknown => None,
        }
    }
}

/// Escapes bytes as in a Rust byte string and shortens what is too long for a table.
pub fn printable(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 40;
    let escaped = |part: &[u8]| part.escape_ascii().to_string();
    if bytes.len() <= SHOWN_BYTES {
        return escaped(bytes);
    }
    let half = SHOWN_BYTES / 2;
    let (head, tail) = (&bytes[..half], &bytes[bytes.len() - half..]);
    format!("{}..{}.. ({} bytes)", escaped(head), escaped(tail), bytes.len())
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Get => write!(f, "GET"),
            Request::Set(value) => write!(f, "SET {}", printable(value)),
            Request::Del => write!(f, "DEL"),
            Request::Incr(by) => write!(f, "INCRBY {by}"),
            Request::Append(value) => write!(f, "APPEND {}", printable(value)),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Value(Some(value)) => write!(f, "\"{}\"", printable(value)),
            Reply::Value(None) => write!(f, "(nil)"),
            Reply::Stored => write!(f, "OK"),
            Reply::Integer(number) => write!(f, "{number}"),
            Reply::NotAnInteger => write!(f, "not an integer"),
        }
    }
}

/// The clock that all recorders of a run share, and the source of client numbers.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    clients: Arc<AtomicU32>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now(), clients: Arc::default() }
    }
}

impl Clock {
    /// Nanoseconds since the clock was made (CLOCK_MONOTONIC).
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a run is shorter than 584 years")
    }

    /// A recorder for a client of its own.
    pub fn recorder(&self) -> Recorder {
        Recorder { clock: self.clone(), client: self.next_client(), operations: Vec::new() }
    }

    fn next_client(&self) -> u32 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }
}

/// An operation that was called and has not ended yet.
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation that never ends would be checked as unknown"]
pub struct Call(usize);

/// The recording of one client thread.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    client: u32,
    operations: Vec<Operation>,
}

impl Recorder {
    /// Notes a request. Call it before the first byte is written. Until it is ended, the operation counts
    /// as unknown, so that a client that panics leaves a correct history.
    pub fn call(&mut self, key: &[u8], request: Request) -> Call {
        self.operations.push(Operation {
            client: self.client,
            key: key.to_vec(),
            request,
            called: self.clock.now(),
            outcome: Outcome::Unknown,
        });
        Call(self.operations.len() - 1)
    }

    /// Notes the reply. Call it after the whole reply was read.
    pub fn answered(&mut self, call: Call, reply: Reply) {
        let returned = self.clock.now();
        self.operations[call.0].outcome = Outcome::Ok { returned, reply };
    }

    /// Notes that the request was surely not applied.
    pub fn failed(&mut self, call: Call) {
        self.operations[call.0].outcome = Outcome::Fail;
    }

    /// Notes that nobody can tell whether the request was or will be applied. The client goes on under a
    /// new number, since its old self may still be writing.
    pub fn unknown(&mut self, call: Call) {
        self.operations[call.0].outcome = Outcome::Unknown;
        self.client = self.clock.next_client();
    }

    /// What was recorded.
    pub fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}

/// All operations of a run, in the order of their calls.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// Brings recordings together.
    pub fn merge(recordings: impl IntoIterator<Item = Vec<Operation>>) -> History {
        recordings.into_iter().flatten().collect()
    }

    /// The operations, in the order of their calls.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations of each key, each in the order of calls, ordered by key.
    pub fn by_key(&self) -> Vec<(&[u8], Vec<&Operation>)> {
        let mut keys = std::collections::BTreeMap::<&[u8], Vec<&Operation>>::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        keys.into_iter().collect()
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let mut operations: Vec<Operation> = operations.into_iter().collect();
        operations.sort_by_key(|operation| operation.called);
        History { operations }
    }
}
