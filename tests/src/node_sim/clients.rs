//! The clients: each keeps to one connection until it breaks, asks, records what it was told and when, and never repeats
//! a request. Keys come in families, as in `crate::workload`.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use ringraft::Redirect;
use runtime::{Part, SocketId};

use super::machine::client_address;
use super::net::{Party, Reading};
use super::profile::{PATIENCE_US, Profile};
use super::world::{Happening, World};
use crate::client::encode;
use crate::history::{Bytes, Operation, Outcome, Request, printable};
use crate::workload::session::bytes;

/// How long it waits before it tries another node.
pub(super) const RETRY_US: u64 = 100_000;
/// Keys that are read in one write in the end.
const READ_AT_ONCE: usize = 20;

/// Where client `number` seems to be.
pub fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 1, 0, 1), 1000 + u16::try_from(number).expect("few clients")))
}

/// One client.
#[derive(Default)]
pub(super) struct Client {
    pub(super) connection: Option<usize>,
    pub(super) connected: bool,
    /// Bytes of replies that are not whole yet.
    pub(super) heard: Vec<u8>,
    /// The operations that wait for replies, oldest first.
    pub(super) waiting: VecDeque<Waiting>,
    /// When it gives up on the connection.
    patience_until: u64,
    /// Where it was told to go.
    pub(super) moved_to: Option<SocketAddr>,
    /// Its number as the author of operations: a new one after each unknown outcome.
    author: u32,
    planned: bool,
    /// The keys it still has to read in the end, each through which machine.
    todo: Vec<(usize, Bytes)>,
    /// What it wrote last on this connection under a key that nobody else writes, if that was in the write whose answers come now.
    pub(super) wrote: Option<Bytes>,
    /// The machine it is connected to.
    at: Option<usize>,
    /// What a reader reads on this connection.
    reads: Bytes,
}

/// An operation without an answer so far.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) operation: usize,
    /// It was sent in one write with others.
    pub(super) pipelined: bool,
    /// A last read, through this machine: repeated until it is answered.
    through: Option<usize>,
}

/// All clients, and what they saw.
pub struct Clients {
    pub(super) list: Vec<Client>,
    pub(super) operations: Vec<Operation>,
    authors: u32,
    written: u64,
    /// Nothing new is asked.
    resting: bool,
    /// Writes of keys that are written once, once acknowledged.
    pub durable: Vec<(Bytes, Bytes)>,
}

impl Clients {
    /// The clients of a life.
    pub fn new(profile: &Profile) -> Clients {
        let count = profile.clients + profile.readers;
        let author = |number: usize| u32::try_from(number).expect("few clients");
        Clients {
            list: (0..count).map(|number| Client { author: author(number), ..Client::default() }).collect(),
            operations: Vec::new(),
            authors: author(count),
            written: 0,
            resting: false,
            durable: Vec::new(),
        }
    }

    /// How many clients there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All that was recorded, and the writes of keys that are written once.
    pub fn take_recorded(&mut self) -> (Vec<Operation>, Vec<(Bytes, Bytes)>) {
        (std::mem::take(&mut self.operations), std::mem::take(&mut self.durable))
    }

    /// Has every key read once more through each of `machines`.
    pub fn read_back(&mut self, machines: &[usize]) {
        let mut keys: Vec<Bytes> = self.operations.iter().map(|operation| operation.key.clone()).collect();
        keys.sort();
        keys.dedup();
        let clients = self.list.len();
        for (number, key) in keys.iter().enumerate() {
            let client = &mut self.list[number % clients];
            client.todo.extend(machines.iter().map(|machine| (*machine, key.clone())));
        }
        self.list.iter_mut().for_each(|client| client.todo.sort());
    }

    /// Nothing new is asked from now on.
    pub fn rest(&mut self) {
        self.resting = true;
    }

    /// Whether nobody waits for an answer.
    pub fn are_idle(&self) -> bool {
        self.list.iter().all(|client| client.waiting.is_empty() && client.todo.is_empty())
    }

    /// The value that nobody writes twice, at least `bytes_min` long.
    fn unique(&mut self, number: usize, bytes_min: usize) -> Bytes {
        self.written += 1;
        let mut value = format!("{number}.{}", self.written).into_bytes();
        if value.len() < bytes_min {
            value.push(b'_');
            value.resize(bytes_min, b'x');
        }
        value
    }

    /// What nobody adds twice, a little more than any before.
    fn unique_by(&mut self, more: i64) -> i64 {
        self.written += 1;
        4 * i64::try_from(self.written).expect("a life is short") + more
    }

    /// The bytes of the next operation. No two writes are alike, so that each entry of a log tells which of them it is.
    fn next_bytes(&self, key: &[u8], request: &Request) -> Vec<u8> {
        match request {
            Request::Del => encode(&[b"DEL", key, &unused_key(key, self.operations.len())]),
            _ => bytes(key, request),
        }
    }

    /// The operation ended so, and nothing was read.
    pub(super) fn unanswered(&mut self, number: usize, waiting: Waiting, outcome: Outcome) {
        let operation = &mut self.operations[waiting.operation];
        let client = &mut self.list[number];
        client.todo.extend(waiting.through.map(|machine| (machine, operation.key.clone())));
        if outcome == Outcome::Unknown {
            client.author = self.authors;
            client.wrote = None;
            self.authors += 1;
        }
        operation.outcome = outcome;
    }

    /// Whether client `number` has something to ask.
    fn has_more(&self, number: usize) -> bool {
        !self.resting || !self.list[number].todo.is_empty()
    }
}

impl World {
    /// Lets the clients begin.
    pub fn begin_clients(&mut self) {
        for number in 0..self.clients.count() {
            self.plan_client(number, 1_000 * number as u64);
        }
    }

    pub(super) fn plan_client(&mut self, number: usize, after_us: u64) {
        if !std::mem::replace(&mut self.clients.list[number].planned, true) {
            self.plan(after_us, Happening::Client(number));
        }
    }

    /// A client does what is next: it gives up, connects, or asks.
    pub fn client_goes_on(&mut self, number: usize) {
        let now_us = self.now_us;
        let client = &mut self.clients.list[number];
        client.planned = false;
        if client.connection.is_some() && client.patience_until <= now_us {
            self.client_gives_up(number, "no answer");
        }
        let client = &self.clients.list[number];
        match client.connection {
            None => self.client_connects(number),
            Some(_) if client.connected => self.client_asks_if_idle(number),
            Some(_) => {}
        }
        if self.clients.has_more(number) || !self.clients.list[number].waiting.is_empty() {
            self.plan_client(number, self.profile.pace_us.max(RETRY_US));
        }
    }

    pub(super) fn client_connects(&mut self, number: usize) {
        if !self.clients.has_more(number) {
            return;
        }
        let anywhere = self.random.usize(..self.machines.len());
        let shard = self.random.u16(..self.profile.shards);
        let client = &mut self.clients.list[number];
        let machine = client.todo.last().map_or(anywhere, |(machine, _)| *machine);
        let target = client.moved_to.take().unwrap_or_else(|| client_address(machine, shard));
        client.at = Some(machine);
        if number >= self.profile.clients {
            let family = *b"rdcl".get(self.random.usize(..4)).expect("one of four");
            client.reads = shared_key(family.into(), &mut self.random, self.profile.keys);
        }
        client.heard.clear();
        client.connected = false;
        client.patience_until = self.now_us + self.profile.patience_us.min(PATIENCE_US / 4);
        let socket = SocketId::simulated(u32::try_from(number).expect("few clients"), 0);
        let connection = self.call(Party::Client(number), socket, target);
        self.connections[connection].read(0, Reading::All);
        self.clients.list[number].connection = Some(connection);
    }

    /// A client's call was accepted.
    pub fn client_connected(&mut self, number: usize, connection: usize) {
        let Some(client) = self.clients.list.get_mut(number) else { return }; // the operator asks by itself
        if client.connection == Some(connection) {
            client.connected = true;
            client.patience_until = u64::MAX;
            self.client_asks_if_idle(number);
        }
    }

    fn client_asks_if_idle(&mut self, number: usize) {
        if self.clients.list[number].waiting.is_empty() && self.clients.has_more(number) {
            self.client_asks(number);
        }
    }

    /// One request, or a few in one write.
    fn client_asks(&mut self, number: usize) {
        if !self.clients.list[number].todo.is_empty() {
            return self.client_reads_back(number);
        }
        if number >= self.profile.clients {
            let key = self.clients.list[number].reads.clone();
            return self.client_sends(number, vec![(key, Request::Get)], None);
        }
        let count = if self.random.u8(..4) == 0 { self.random.usize(1..=6) } else { 1 };
        let mut requests = Vec::new();
        for _ in 0..count {
            self.draw_request(number, &mut requests);
        }
        self.client_sends(number, requests, None);
    }

    /// The next of the last reads, if it is connected to where they are to go through.
    fn client_reads_back(&mut self, number: usize) {
        let moved = self.profile.redirect == Redirect::Moved;
        let client = &mut self.clients.list[number];
        let Some((through, _)) = client.todo.last() else { return };
        let through = *through;
        if client.at != Some(through) && !moved {
            return self.client_gives_up(number, "it goes to another node");
        }
        let count = if moved { 1 } else { READ_AT_ONCE };
        let mut requests = Vec::new();
        while requests.len() < count
            && let Some((_, key)) = client.todo.pop_if(|(machine, _)| *machine == through)
        {
            requests.push((key, Request::Get));
        }
        self.client_sends(number, requests, Some(through));
    }

    fn client_sends(&mut self, number: usize, requests: Vec<(Bytes, Request)>, through: Option<usize>) {
        let Some(connection) = self.clients.list[number].connection else { return };
        let mut sent = Vec::new();
        let pipelined = requests.len() > 1;
        let patience_us = if self.clients.resting { PATIENCE_US } else { self.profile.patience_us };
        self.say(|| format!("client {number} asks on {connection}: {}", in_words(&requests)));
        for (key, request) in requests {
            sent.extend(self.clients.next_bytes(&key, &request));
            let client = &mut self.clients.list[number];
            client.waiting.push_back(Waiting {
                operation: self.clients.operations.len(),
                pipelined,
                through,
            });
            client.patience_until = self.now_us + patience_us;
            self.clients.operations.push(Operation {
                client: client.author,
                key,
                request,
                called: self.nanoseconds(),
                outcome: Outcome::Unknown,
            });
        }
        self.send(connection, 0, vec![Part::Bytes(sent)]);
    }

    /// The recorders' clock. What happens in one microsecond happens in order.
    pub(super) fn nanoseconds(&self) -> u64 {
        self.now_us * 1000
    }

    fn draw_request(&mut self, number: usize, requests: &mut Vec<(Bytes, Request)>) {
        let (random, keys) = (&mut self.random, self.profile.keys);
        let bytes_min = random.usize(..=self.profile.value_bytes_max);
        let (key, kind) = match random.u8(..20) {
            0..6 => (shared_key('r', random, keys), random.u8(..2)),
            6..9 => (shared_key('d', random, keys), random.u8(..3)),
            9..12 => (shared_key('c', random, keys), [0, 3][random.usize(..2)]),
            12..15 => (shared_key('l', random, keys), [0, 4][random.usize(..2)]),
            15..17 => {
                let key = format!("p{}", self.clients.list[number].author).into_bytes();
                let value = self.clients.unique(number, bytes_min);
                requests.push((key.clone(), Request::Set(value)));
                return requests.push((key, Request::Get));
            }
            _ => {
                let value = self.clients.unique(number, bytes_min);
                let key = [b"w", value.split(|byte| *byte == b'_').next().unwrap_or(&value)].concat();
                return requests.push((key, Request::Set(value)));
            }
        };
        let by = self.clients.unique_by(random.i64(1..4));
        let request = match kind {
            0 => Request::Get,
            1 => Request::Set(self.clients.unique(number, bytes_min)),
            2 => Request::Del,
            3 => Request::Incr(by),
            _ => Request::Append([self.clients.unique(number, 0), b";".to_vec()].concat()),
        };
        requests.push((key, request));
    }
}

/// A key that clients share.
fn shared_key(family: char, random: &mut fastrand::Rng, keys: usize) -> Bytes {
    format!("{family}{}", random.usize(..keys)).into_bytes()
}

/// A key in the slot of `key` that never exists, another one for each operation: deleted beside `key`, it tells one DEL from
/// another.
pub(super) fn unused_key(key: &[u8], operation: usize) -> Bytes {
    [b"{", key, b"}", operation.to_string().as_bytes()].concat()
}

fn in_words(requests: &[(Bytes, Request)]) -> String {
    let word = |(key, request): &(Bytes, Request)| format!("{} {request}", printable(key));
    requests.iter().map(word).collect::<Vec<_>>().join(", ")
}
