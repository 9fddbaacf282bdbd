//! Keys into a cluster: SETs in batches, each to who owns its slot, repeated until it is acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::batch::{Answer, Batch, answer};
use crate::cli::Failure;
use crate::cli::client::{Client, ClientError};
use crate::cli::load::routes::{moved, owners};
use crate::cli::progress::Amount;
use crate::kv::SLOT_COUNT;

/// A node takes a connection, and says who owns what, at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A node answers a SET within its deadline of 2 s, or late when the batch is large and the disk slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A batch of which nothing is acknowledged is repeated for so long: several elections.
const REPEAT_FOR: Duration = Duration::from_secs(60);
/// Between two tries.
const REPEAT_INTERVAL: Duration = Duration::from_millis(50);
/// A node that cannot be reached is passed by for so long.
const PASS_BY: Duration = Duration::from_secs(2);

/// Writes into one cluster over connections of its own.
pub(super) struct Writer<'a> {
    targets: &'a [SocketAddr],
    amount: &'a Amount,
    /// Who owns each slot, as far as that is known.
    owners: Vec<Option<SocketAddr>>,
    links: HashMap<SocketAddr, Client>,
    unreachable: HashMap<SocketAddr, Instant>,
    batch: Batch,
    turn: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(targets: &'a [SocketAddr], amount: &'a Amount) -> Writer<'a> {
        let mut writer = Writer {
            targets,
            amount,
            owners: vec![None; usize::from(SLOT_COUNT)],
            links: HashMap::new(),
            unreachable: HashMap::new(),
            batch: Batch::default(),
            turn: 0,
        };
        writer.learn_owners();
        writer
    }

    /// Adds a key; a full batch is written.
    ///
    /// # Errors
    /// As for [`Writer::flush`].
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        if self.batch.add(key, value) { self.flush() } else { Ok(()) }
    }

    /// Returns once all keys are acknowledged, which means: on the disks of a majority.
    ///
    /// # Errors
    /// [`Exit::Timeout`](crate::cli::Exit::Timeout): for a minute nothing was. [`Exit::Failed`](crate::cli::Exit::Failed): the
    /// cluster refuses a key, and says why.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let mut deadline = Instant::now() + REPEAT_FOR;
        while self.batch.len() > 0 {
            let before = self.batch.len();
            let Some(why) = self.write_once()? else { break };
            if self.batch.len() < before {
                deadline = Instant::now() + REPEAT_FOR;
            }
            if Instant::now() >= deadline {
                return Err(Failure::timeout(format!("nothing was stored for {REPEAT_FOR:?}: {why}")));
            }
            std::thread::sleep(REPEAT_INTERVAL);
            self.learn_owners();
        }
        Ok(())
    }

    /// Sends the batch, and keeps of it what is not acknowledged. Some: why that is.
    fn write_once(&mut self) -> Result<Option<String>, Failure> {
        let mut parts: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for place in 0..self.batch.len() {
            let address = self.address_of(self.batch.slot(place));
            parts.entry(address).or_default().push(place);
        }
        let mut why = None;
        let mut sent = Vec::new();
        // All nodes work at their parts at once.
        for (address, places) in parts {
            match self.send(address, &places) {
                Ok(client) => sent.push((address, places, client)),
                Err(error) => why = Some(self.failed(address, &error)),
            }
        }
        let (mut stored, mut refused) = (vec![false; self.batch.len()], None);
        for (address, places, mut client) in sent {
            let mut news = Vec::new();
            let outcome = client.replies(places.len(), |at, reply| match answer(reply) {
                Answer::Stored => stored[places[at]] = true,
                Answer::Again(text) => {
                    news.extend(moved(text.as_bytes(), address));
                    why = Some(format!("{address}: {text}"));
                }
                Answer::Refused(text) => refused = Some(format!("{address}: {text}")),
            });
            match outcome {
                Ok(()) => drop(self.links.insert(address, client)),
                Err(error) => why = Some(self.failed(address, &error)),
            }
            for (slot, owner) in news {
                self.owners[usize::from(slot)] = Some(owner);
            }
        }
        self.amount.done(self.batch.keep_unstored(&stored));
        match refused {
            Some(what) => Err(Failure::failed(format!("a key is refused: {what}"))),
            None => Ok(why),
        }
    }

    fn send(&mut self, address: SocketAddr, places: &[usize]) -> Result<Client, ClientError> {
        let mut client = match self.links.remove(&address) {
            Some(client) => client,
            None => {
                let mut client = Client::connect(address, CONNECT_TIMEOUT)?;
                client.be_patient(ANSWER_TIMEOUT)?;
                client
            }
        };
        client.send(&self.batch.requests(places))?;
        Ok(client)
    }

    fn failed(&mut self, address: SocketAddr, error: &ClientError) -> String {
        self.unreachable.insert(address, Instant::now());
        error.to_string()
    }

    /// Who is asked to store a key of `slot`: its owner, or while that is not known or not reached, any of the targets, which
    /// pass it on or say who the owner is.
    fn address_of(&mut self, slot: u16) -> SocketAddr {
        self.unreachable.retain(|_, since| since.elapsed() < PASS_BY);
        let is_reached = |address: &SocketAddr| !self.unreachable.contains_key(address);
        let owner = self.owners[usize::from(slot)].filter(is_reached);
        let count = self.targets.len();
        let mut others = (0..count).map(|step| self.targets[(self.turn + step) % count]);
        owner.or_else(|| others.find(is_reached)).unwrap_or_else(|| {
            self.turn += 1;
            self.targets[self.turn % count]
        })
    }

    /// Asks the targets who owns what; what nobody says stays as it was.
    fn learn_owners(&mut self) {
        for target in self.targets {
            let Ok(mut client) = Client::connect(*target, CONNECT_TIMEOUT) else { continue };
            let known = client.ask(&[b"CLUSTER", b"SLOTS"], |reply| owners(reply, *target));
            let Ok(known) = known else { continue };
            for (first, last, owner) in known {
                for slot in first..=last.min(SLOT_COUNT - 1) {
                    self.owners[usize::from(slot)] = Some(owner);
                }
            }
            return;
        }
    }
}
