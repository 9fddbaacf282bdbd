//! One client thread: what it asks next, and what it makes of the answer.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Brought, Shared};
use crate::client::{Client, Value};
use crate::history::{Call, Recorder, Reply, Request};
use crate::poll;

/// How a reply ends an operation.
pub(crate) enum Answer {
    Ok(Reply),
    Fail,
    Unknown,
    /// No reply that a correct server gives.
    Wrong(String),
}

/// Reads the reply to a request. Error words are those of Redis Cluster, and `TIMEOUT`.
pub(crate) fn answer(request: &Request, reply: Value) -> Answer {
    match (request, reply) {
        (_, Value::Error(text)) => match text.split(' ').next().unwrap_or_default() {
            "TIMEOUT" => Answer::Unknown,
            "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "NOSPACE" => Answer::Fail,
            // The connection was not let in: the node has never seen the request.
            _ if text == "ERR max number of clients reached" => Answer::Fail,
            _ if text.contains("not an integer") => Answer::Ok(Reply::NotAnInteger),
            _ => Answer::Wrong(format!("{request} answered -{text}")),
        },
        (Request::Get, Value::Bulk(value)) => Answer::Ok(Reply::Value(Some(value))),
        (Request::Get, Value::Null) => Answer::Ok(Reply::Value(None)),
        (Request::Set(_), Value::Simple(text)) if text == "OK" => Answer::Ok(Reply::Stored),
        (Request::Del | Request::Incr(_) | Request::Append(_), Value::Integer(number)) => {
            Answer::Ok(Reply::Integer(number))
        }
        (_, reply) => Answer::Wrong(format!("{request} answered {reply:?}")),
    }
}

/// The arguments of a request as a command.
pub(crate) fn command(key: &[u8], request: &Request) -> Vec<Vec<u8>> {
    let words: Vec<&[u8]> = match request {
        Request::Get => vec![b"GET", key],
        Request::Set(value) => vec![b"SET", key, value],
        Request::Del => vec![b"DEL", key],
        Request::Incr(_) => vec![b"INCRBY", key],
        Request::Append(value) => vec![b"APPEND", key, value],
    };
    let mut words: Vec<Vec<u8>> = words.into_iter().map(<[u8]>::to_vec).collect();
    if let Request::Incr(by) = request {
        words.push(by.to_string().into_bytes());
    }
    words
}

/// Runs until the workload is stopped.
pub(super) fn run(shared: &Shared, number: u32) {
    let mut session = Session {
        shared,
        number,
        rng: Rng::with_seed(shared.plan.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number))),
        recorder: shared.clock.recorder(),
        brought: Brought::default(),
        window: 0,
        written: 0,
    };
    let pace = Duration::from_secs(1) / shared.plan.rate;
    let mut client = None;
    let mut turn = Instant::now();
    while !session.stopped() {
        session.enter(shared.window());
        let Some(mut connected) = client.take().or_else(|| session.connect()) else { continue };
        if session.step(&mut connected).is_ok() {
            client = Some(connected);
        }
        turn = (turn + pace).max(Instant::now());
        poll::until(turn, || session.stopped());
    }
    session.enter(u64::MAX);
}

struct Session<'a> {
    shared: &'a Shared,
    number: u32,
    rng: Rng,
    recorder: Recorder,
    brought: Brought,
    /// Whose keys are used.
    window: u64,
    written: u64,
}

impl Session<'_> {
    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Goes on with the keys of `window`, and hands over what was recorded about those of the windows before it: also
    /// of those that were slept through, since somebody waits for everyone.
    fn enter(&mut self, window: u64) {
        while self.window < window {
            let recorder = std::mem::replace(&mut self.recorder, self.shared.clock.recorder());
            let mut brought = std::mem::take(&mut self.brought);
            brought.operations = recorder.into_operations();
            self.shared.hand_over(self.window, brought);
            self.window = if window == u64::MAX { window } else { self.window + 1 };
        }
    }

    /// Connects to any node that lets it.
    fn connect(&mut self) -> Option<Client> {
        poll::until_some(Instant::now() + Duration::from_millis(200), || {
            let target = self.rng.choice(self.shared.targets().iter().copied())?;
            Client::connect(target, self.shared.plan.timeout).ok()
        })
    }

    /// A value that nobody writes twice.
    fn unique(&mut self) -> Vec<u8> {
        self.written += 1;
        format!("{}.{}", self.number, self.written).into_bytes()
    }

    /// What is sent in one write. An error means that the connection is of no use any more.
    fn step(&mut self, client: &mut Client) -> io::Result<()> {
        let mut requests = Vec::with_capacity(self.shared.plan.pipeline + 1);
        while requests.len() < self.shared.plan.pipeline {
            self.draw(&mut requests);
        }
        let replies = self.ask(client, &requests)?;
        for (at, ((key, request), reply)) in requests.iter().zip(&replies).enumerate() {
            match (key[0], request, reply) {
                (b'w', Request::Set(value), Some(Reply::Stored)) => {
                    self.brought.durable.push((key.clone(), value.clone()));
                }
                (b'p', Request::Set(value), Some(Reply::Stored)) => self.sees(value, &replies[at + 1]),
                _ => {}
            }
        }
        Ok(())
    }

    /// One request, or two that belong together.
    fn draw(&mut self, requests: &mut Vec<(Vec<u8>, Request)>) {
        let window = self.window;
        let key = |family: char, rng: &mut Rng| {
            format!("{family}{window}.{}", rng.usize(0..self.shared.plan.keys)).into_bytes()
        };
        let rng = &mut self.rng;
        let (key, kind) = match rng.u8(0..20) {
            0..6 => (key('r', rng), rng.u8(0..2)),
            6..9 => (key('d', rng), rng.u8(0..3)),
            9..12 => (key('c', rng), [0, 3][rng.usize(0..2)]),
            12..15 => (key('l', rng), [0, 4][rng.usize(0..2)]),
            15..17 => return self.write_then_read(requests),
            _ => return self.write_once(requests),
        };
        let request = match kind {
            0 => Request::Get,
            1 => Request::Set(self.unique()),
            2 => Request::Del,
            3 => Request::Incr(self.rng.i64(1..4)),
            _ => Request::Append([self.unique(), b";".to_vec()].concat()),
        };
        requests.push((key, request));
    }

    /// One SET of a key of its own: it must be there for ever once it is acknowledged.
    fn write_once(&mut self, requests: &mut Vec<(Vec<u8>, Request)>) {
        let value = self.unique();
        requests.push((format!("w{}.", self.window).into_bytes(), Request::Set(value.clone())));
        requests.last_mut().expect("just pushed").0.extend(value);
    }

    /// SET and GET of one key in one write: the GET must see the SET, whoever leads the key. Each pair of a write has a
    /// key of its own, since to the search all of a write happens at once.
    fn write_then_read(&mut self, requests: &mut Vec<(Vec<u8>, Request)>) {
        let key = format!("p{}.{}.{}", self.window, self.number, requests.len()).into_bytes();
        requests.push((key.clone(), Request::Set(self.unique())));
        requests.push((key, Request::Get));
    }

    /// Judges the GET that followed a SET of `value` in the same write.
    fn sees(&mut self, value: &[u8], read: &Option<Reply>) {
        if let Some(Reply::Value(seen)) = read
            && seen.as_deref() != Some(value)
        {
            self.brought.faults.push(format!("a pipelined GET did not see the SET before it: {read:?}"));
        }
    }

    /// Sends requests in one write and records how each ended; the replies of those that succeeded.
    fn ask(
        &mut self,
        client: &mut Client,
        requests: &[(Vec<u8>, Request)],
    ) -> io::Result<Vec<Option<Reply>>> {
        let bytes: Vec<u8> = requests.iter().flat_map(|(key, request)| bytes(key, request)).collect();
        let calls: Vec<Call> =
            requests.iter().map(|(key, request)| self.recorder.call(key, request.clone())).collect();
        let mut broken = client.send(&bytes).err();
        let mut replies = Vec::with_capacity(requests.len());
        for (call, (_, request)) in calls.into_iter().zip(requests) {
            let received = match broken {
                None => client.receive(),
                Some(_) => Err(io::ErrorKind::BrokenPipe.into()),
            };
            replies.push(match received {
                Ok(reply) => self.end(call, request, reply),
                Err(error) => {
                    self.recorder.unknown(call);
                    broken.get_or_insert(error);
                    None
                }
            });
        }
        broken.map_or(Ok(replies), Err)
    }

    fn end(&mut self, call: Call, request: &Request, reply: Value) -> Option<Reply> {
        match answer(request, reply) {
            Answer::Ok(reply) => {
                self.recorder.answered(call, reply.clone());
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                return Some(reply);
            }
            Answer::Fail => self.recorder.failed(call),
            Answer::Unknown => self.recorder.unknown(call),
            Answer::Wrong(what) => {
                self.recorder.unknown(call);
                self.brought.faults.push(what);
            }
        }
        None
    }
}

/// A request as it goes over the wire.
pub(crate) fn bytes(key: &[u8], request: &Request) -> Vec<u8> {
    let words = command(key, request);
    crate::client::encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}
