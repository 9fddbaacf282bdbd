//! The clients of one shard: their bytes in, their commands planned, their replies out.

mod commands;

use std::net::SocketAddr;
use std::sync::Arc;

use net::resp::Limits;
use raft::Time;
use runtime::{Part, SocketId};

use super::client::Client;
#[cfg(feature = "simulation")]
use super::client::UNANSWERED_REQUESTS_MAX;
use super::client::UNWRITTEN_BYTES_MAX;
use super::io::{Action, ClientData};
#[cfg(feature = "simulation")]
use super::looks::Bound;
use super::request::{Outcome, ReplyTo};
use super::settings::ShardSettings;
use super::transfers::Asked as FilesAsked;
use crate::directory::Directory;
use crate::resp::{Session, to_proto};
use crate::view::View;

/// Bytes of one client's input in one turn.
pub(super) struct Arrival {
    socket: SocketId,
    bytes: ArrivedBytes,
}

enum ArrivedBytes {
    /// Straight from the ring's buffer: nothing was left from before.
    Fresh(ClientData),
    /// With what was left from before in front.
    Joined(Vec<u8>),
}

impl Arrival {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            ArrivedBytes::Fresh(data) => data,
            ArrivedBytes::Joined(bytes) => bytes,
        }
    }
}

/// All clients of a shard.
pub(super) struct Clients {
    shard: u16,
    directory: Arc<Directory>,
    view: View,
    deadline_us: u64,
    limits: Limits,
    /// By the socket's slot, which is dense.
    table: Vec<Option<Box<Client>>>,
    count: u64,
    /// Bytes of replies that clients have not taken, as of their last flush.
    unread_bytes: usize,
    /// Clients that may have something to send or to read on.
    touched: Vec<usize>,
    /// Clients whose held-back input may go on.
    unblocked: Vec<usize>,
    /// This turn's arrivals.
    arrivals: Vec<Arrival>,
    /// One reply at a time is made here.
    scratch: Vec<u8>,
    /// One of them asked for snapshots of all groups of this node.
    wants_snapshots: bool,
    /// What they asked about snapshot files in this turn.
    asked: Vec<FilesAsked>,
}

impl Clients {
    pub(super) fn new(settings: &ShardSettings) -> Clients {
        Clients {
            shard: settings.shard,
            directory: Arc::clone(&settings.directory),
            view: View::new(settings),
            deadline_us: settings.deadline_us,
            limits: Limits::default(),
            table: Vec::new(),
            count: 0,
            unread_bytes: 0,
            touched: Vec::new(),
            unblocked: Vec::new(),
            arrivals: Vec::new(),
            scratch: Vec::new(),
            wants_snapshots: false,
            asked: Vec::new(),
        }
    }

    /// A client connected: from where, and at which address of this node.
    pub(super) fn accept(&mut self, socket: SocketId, addresses: [SocketAddr; 2], actions: &mut Vec<Action>) {
        let slot = socket.slot() as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        let facts = self.directory.shard(self.shard);
        let number = facts.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let shards = u64::from(self.directory.placement.shards);
        let now = crate::resp::ClusterView::unix_time(&self.view);
        let session = Session::new(number * shards + u64::from(self.shard), addresses[0], addresses[1], now);
        let mut client = Box::new(Client::new(socket, session));
        let is_welcome = self.count < self.directory.clients_max();
        if is_welcome {
            actions.push(Action::Receive { socket });
        } else {
            client.turn_away(TOO_MANY);
        }
        self.table[slot] = Some(client);
        self.count += 1;
        facts.clients.store(self.count, std::sync::atomic::Ordering::Relaxed);
        if !is_welcome {
            self.touch(slot);
        }
    }

    /// Whether `socket` is a client's.
    pub(super) fn has(&self, socket: SocketId) -> bool {
        self.find(socket).is_some()
    }

    fn find(&self, socket: SocketId) -> Option<usize> {
        let slot = socket.slot() as usize;
        self.table.get(slot)?.as_ref().filter(|client| client.socket == socket).map(|_| slot)
    }

    /// Bytes arrived: they join what was left, or stay where they are until the turn ends.
    pub(super) fn take_data(&mut self, socket: SocketId, data: ClientData) {
        let Some(slot) = self.find(socket) else { return };
        if let Some(earlier) = self.arrivals.iter_mut().find(|arrival| arrival.socket == socket) {
            let mut joined = earlier.bytes().to_vec();
            joined.extend_from_slice(&data);
            earlier.bytes = ArrivedBytes::Joined(joined);
            return;
        }
        let client = self.table[slot].as_mut().expect("just found");
        let bytes = if client.rest.is_empty() {
            ArrivedBytes::Fresh(data)
        } else {
            let mut joined = std::mem::take(&mut client.rest);
            joined.extend_from_slice(&data);
            ArrivedBytes::Joined(joined)
        };
        self.arrivals.push(Arrival { socket, bytes });
    }

    /// A send finished.
    pub(super) fn sent(&mut self, socket: SocketId, parts: Vec<Part>) {
        let Some(slot) = self.find(socket) else { return };
        self.table[slot].as_mut().expect("just found").sent(parts);
        self.touch(slot);
    }

    /// A client is gone, or (`orderly`) done sending: then what it asked for is still answered.
    pub(super) fn end(&mut self, socket: SocketId, orderly: bool, actions: &mut Vec<Action>) {
        let Some(slot) = self.find(socket) else { return };
        if orderly {
            self.table[slot].as_mut().expect("just found").ended = true;
            self.touch(slot);
        } else {
            self.close(slot, actions);
        }
    }

    fn close(&mut self, slot: usize, actions: &mut Vec<Action>) {
        if let Some(client) = self.table[slot].take() {
            actions.push(Action::Close { socket: client.socket });
            self.unread_bytes -= client.counted;
            self.count -= 1;
            let facts = self.directory.shard(self.shard);
            facts.clients.store(self.count, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The turn's arrivals, with those whose input had been held back.
    pub(super) fn take_arrivals(&mut self) -> Vec<Arrival> {
        for slot in std::mem::take(&mut self.unblocked) {
            let Some(client) = self.table[slot].as_mut() else { continue };
            let socket = client.socket;
            if !client.rest.is_empty()
                && client.room() > 0
                && !self.arrivals.iter().any(|arrival| arrival.socket == socket)
            {
                let bytes = ArrivedBytes::Joined(std::mem::take(&mut client.rest));
                self.arrivals.push(Arrival { socket, bytes });
            }
        }
        std::mem::take(&mut self.arrivals)
    }

    /// Keeps what was not understood yet for the next turn.
    pub(super) fn keep_rest(&mut self, arrivals: Vec<Arrival>, used: &[usize]) {
        for (arrival, used) in arrivals.into_iter().zip(used) {
            let Some(slot) = self.find(arrival.socket) else { continue };
            let client = self.table[slot].as_mut().expect("just found");
            match arrival.bytes {
                ArrivedBytes::Fresh(data) => client.rest.extend_from_slice(&data[*used..]),
                ArrivedBytes::Joined(mut bytes) => {
                    bytes.drain(..*used);
                    client.rest = bytes;
                }
            }
            if client.rest.capacity() > REST_BYTES_KEPT_MAX && client.rest.len() < REST_BYTES_KEPT_MAX {
                client.rest.shrink_to(REST_BYTES_KEPT_MAX);
            }
        }
    }

    /// The answer to a request, or to a part of one.
    pub(super) fn answer(&mut self, socket: SocketId, reply: u64, part: u32, outcome: Outcome, bytes: &[u8]) {
        let Some(slot) = self.find(socket) else { return };
        let client = self.table[slot].as_mut().expect("just found");
        let bytes = match outcome {
            Outcome::Done => bytes,
            Outcome::NotLeader | Outcome::Refused => REFUSED,
            Outcome::Unknown => UNKNOWN,
            Outcome::NoSpace => NO_SPACE,
        };
        client.answered(bytes.len());
        let unread_max =
            if self.unread_bytes > SHARD_UNREAD_BYTES_MAX { UNWRITTEN_BYTES_MAX } else { UNREAD_BYTES_MAX };
        let drop_it = bytes.len() > SMALL_REPLY_BYTES && client.unwritten() > unread_max;
        let bytes = if drop_it { UNREAD } else { bytes };
        if part == ReplyTo::WHOLE {
            let proto = client.session.proto;
            client.replies.fill_with(reply, &mut client.out, |out| to_proto(bytes, proto, out));
        } else if let Some(place) = client.gathering.iter().position(|(of, _)| *of == reply) {
            let gather = &mut client.gathering[place].1;
            if gather.add(part as usize, bytes) {
                let (_, gather) = client.gathering.swap_remove(place);
                let proto = client.session.proto;
                client.replies.fill_with(reply, &mut client.out, |out| gather.finish(proto, out));
            }
        }
        self.touch(slot);
    }

    fn touch(&mut self, slot: usize) {
        if let Some(client) = self.table[slot].as_mut().filter(|client| !client.touched) {
            client.touched = true;
            self.touched.push(slot);
        }
    }

    /// Sends what is ready, reads on where there is room again, closes what is done.
    pub(super) fn flush(&mut self, now: Time, actions: &mut Vec<Action>) {
        for slot in std::mem::take(&mut self.touched) {
            let Some(client) = self.table[slot].as_mut() else { continue };
            client.touched = false;
            client.flush(now, actions);
            self.unread_bytes = self.unread_bytes - client.counted + client.unwritten();
            client.counted = client.unwritten();
            if client.is_done() {
                self.close(slot, actions);
            } else if !client.rest.is_empty() && client.room() > 0 && client.was_full {
                client.was_full = false;
                self.unblocked.push(slot);
            }
        }
    }

    /// Disconnects clients that have not read their replies for too long.
    pub(super) fn tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        for slot in 0..self.table.len() {
            if self.table[slot].as_ref().is_some_and(|client| client.is_stuck(now)) {
                tracing::warn!("closing a client that has not read its replies for 30 s");
                self.close(slot, actions);
            }
        }
    }

    /// How full what has a limit is.
    #[cfg(feature = "simulation")]
    pub(super) fn bounds(&self, bounds: &mut Vec<Bound>) {
        let clients = || self.table.iter().flatten();
        let most = |count: fn(&Client) -> usize| clients().map(|client| count(client)).max().unwrap_or(0);
        // One answer may be above what makes the next ones be dropped.
        let answer_max = raft::COMMAND_BYTES_MAX;
        let input_max = Limits::default().command_bytes_max as usize;
        bounds.extend([
            Bound::new("requests of a client", most(|client| client.replies.len()), UNANSWERED_REQUESTS_MAX),
            Bound::new("unread bytes of a client", most(Client::unwritten), UNREAD_BYTES_MAX + answer_max),
            Bound::new(
                "unread bytes of all clients",
                self.unread_bytes,
                SHARD_UNREAD_BYTES_MAX + UNREAD_BYTES_MAX,
            ),
            Bound::new(
                "input of a client",
                most(|client| client.rest.len()),
                input_max + super::transfers::CHUNK_BYTES as usize,
            ),
        ]);
    }

    /// Whether a client has asked for snapshots since this was asked.
    pub(super) fn take_wants_snapshots(&mut self) -> bool {
        std::mem::take(&mut self.wants_snapshots)
    }

    /// What clients asked about snapshot files since this was asked.
    pub(super) fn take_asked(&mut self) -> Vec<FilesAsked> {
        std::mem::take(&mut self.asked)
    }

    /// What is owed to clients.
    #[cfg(feature = "simulation")]
    pub(super) fn leftovers(&self, left: &mut Vec<(&'static str, usize)>) {
        let clients = || self.table.iter().flatten();
        left.extend([
            ("replies to clients", clients().map(|client| client.replies.len()).sum()),
            ("parts of replies to clients", clients().map(|client| client.gathering.len()).sum()),
            ("unread bytes of clients", clients().map(|client| client.unwritten()).sum()),
            ("unread bytes counted", self.unread_bytes),
        ]);
    }

    /// True when input that waited can go on at once.
    pub(super) fn has_more(&self) -> bool {
        !self.unblocked.is_empty()
    }
}

/// Surely not applied; Redis Cluster's word for "no leader now", which clients know to try again.
const REFUSED: &[u8] =
    b"-CLUSTERDOWN no leader for this slot was found in time; nothing was applied, try again\r\n";

/// Surely not applied. A word of its own, as no election helps: somebody must make room.
const NO_SPACE: &[u8] =
    b"-NOSPACE the disk of this slot's leader is full, or its log is at its cap: the command was not \
applied; reads go on, writes too once there is room\r\n";

/// As Redis says it.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// May be applied; a word no client library repeats blindly.
const UNKNOWN: &[u8] = b"-TIMEOUT outcome unknown: the command may or may not have been applied\r\n";

/// Replies are left unread, and there is no more room for large ones.
const UNREAD: &[u8] = b"-TIMEOUT outcome unknown: too many replies on this connection are unread\r\n";

/// Bytes that one connection may leave unread; [`super::client`] sees to it that only those reach it that ask for large
/// values faster than they read. Beyond it large replies are dropped.
const UNREAD_BYTES_MAX: usize = 64 << 20;

/// Bytes that all connections of a shard may leave unread together; beyond it each may have what lets it ask at all.
const SHARD_UNREAD_BYTES_MAX: usize = 256 << 20;

/// A reply up to this size is never dropped.
const SMALL_REPLY_BYTES: usize = 4 << 10;

/// An input buffer larger than this is given back once its large command is done.
const REST_BYTES_KEPT_MAX: usize = 64 << 10;
