//! The clients of the table: each has keys of its own, writes the next one or reads back what it has.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;

/// A request succeeds within this, whatever goes on: some majority is always connected, but cuts move every half second
/// and an election takes longer, so service may have to wait for the end of a round.
const PROGRESS: Duration = Duration::from_secs(30);
/// Above a request's deadline.
const PATIENCE: Duration = Duration::from_secs(4);
/// What is read back during a round: the newest keys. After it, all are.
const READ_BACK: usize = 100;
/// Keys per request when all are read, or deleted.
const AT_ONCE: usize = 500;

/// One client in one round.
pub struct Owner {
    name: String,
    nonce: u64,
    written: usize,
    /// Values are at least so long.
    pub value_bytes: usize,
    targets: Vec<SocketAddr>,
    rng: Rng,
    client: Option<Client>,
}

impl Owner {
    pub fn new(number: u16, round: u64, seed: u64, targets: Vec<SocketAddr>) -> Owner {
        let rng = Rng::with_seed(seed ^ (u64::from(number) << 32) ^ round);
        Owner {
            name: format!("{number:02}"),
            nonce: round,
            written: 0,
            value_bytes: 0,
            targets,
            rng,
            client: None,
        }
    }

    fn key(&self, number: usize) -> String {
        format!("{} {number:08}", self.name)
    }

    fn value(&self, number: usize) -> String {
        let text = format!("x {} {number} {} y", self.name, self.nonce);
        format!("{text:.<size$}", size = self.value_bytes)
    }

    /// How many keys it has written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Writes and reads until told to stop.
    pub fn run(mut self, stop: &AtomicBool) -> Owner {
        while !stop.load(Ordering::Relaxed) {
            if self.rng.bool() {
                let (key, value) = (self.key(self.written), self.value(self.written));
                let reply = self.ask(&["SET", &key, &value]);
                assert_eq!(reply, Value::Simple("OK".into()), "SET {key}");
                self.written += 1;
            } else {
                self.read_back(self.written.saturating_sub(READ_BACK));
            }
        }
        self
    }

    /// Every key from `first` on is there, exactly as it was written.
    fn read_back(&mut self, first: usize) {
        for start in (first..self.written).step_by(AT_ONCE) {
            let numbers = start..self.written.min(start + AT_ONCE);
            let keys: Vec<String> = numbers.clone().map(|number| self.key(number)).collect();
            let reply = self.ask_all("MGET", &keys);
            let expected: Vec<Value> =
                numbers.map(|number| Value::Bulk(self.value(number).into_bytes())).collect();
            let found = reply.items().unwrap_or_default();
            let wrong = expected.iter().zip(found).position(|(expected, found)| expected != found);
            assert!(
                found.len() == expected.len() && wrong.is_none(),
                "client {} of round {}: key {:?} is {:?}",
                self.name,
                self.nonce,
                wrong.map(|place| &keys[place]),
                wrong.map_or(&reply, |place| &found[place]),
            );
        }
    }

    /// After a round: through every node each key is there, then none is.
    pub fn finish(mut self, nodes: &[SocketAddr]) {
        for node in nodes {
            self.targets = vec![*node];
            self.client = None;
            self.read_back(0);
        }
        let keys: Vec<String> = (0..self.written).map(|number| self.key(number)).collect();
        for keys in keys.chunks(AT_ONCE) {
            self.ask_all("DEL", keys);
        }
        for node in nodes {
            self.targets = vec![*node];
            self.client = None;
            for keys in keys.chunks(AT_ONCE) {
                assert_eq!(
                    self.ask_all("EXISTS", keys),
                    Value::Integer(0),
                    "deleted keys are back on {node}"
                );
            }
        }
    }

    fn ask_all(&mut self, command: &str, keys: &[String]) -> Value {
        let words: Vec<&str> = [command].into_iter().chain(keys.iter().map(String::as_str)).collect();
        self.ask(&words)
    }

    /// Asks any node, and another one after each failure. All its requests may be repeated: nobody else writes its keys.
    fn ask(&mut self, words: &[&str]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut last = None;
        let answer = poll::until_some(Instant::now() + PROGRESS, || {
            let mut client = match self.client.take() {
                Some(client) => client,
                None => Client::connect(self.targets[self.rng.usize(..self.targets.len())], PATIENCE).ok()?,
            };
            let reply = client.call(&words).ok()?;
            if reply
                .error_code()
                .is_some_and(|code| ["TIMEOUT", "CLUSTERDOWN", "TRYAGAIN", "NOSPACE"].contains(&code))
            {
                last = Some(reply);
                return None;
            }
            self.client = Some(client);
            Some(reply)
        });
        answer.unwrap_or_else(|| {
            panic!("client {}: no answer in {PROGRESS:?}; the last was {last:?}", self.name)
        })
    }
}
