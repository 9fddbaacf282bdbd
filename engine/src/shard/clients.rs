//! The clients of one shard: their bytes in, their commands planned, their replies out.

use std::ops::Range;
use std::sync::Arc;

use net::resp::{Limits, Parse};
use raft::Time;
use runtime::{Part, SocketId};

use super::client::Client;
use super::dispatch::Requests;
use super::io::{Action, ClientData};
use super::request::{Kind, Outcome, ReplyTo, RequestBody, RequestHead};
use super::settings::ShardSettings;
use crate::directory::Directory;
use crate::resp::{Plan, Planner, Session};
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

/// The commands found in a turn's arrivals.
#[derive(Default)]
struct Parsed<'t> {
    words: Vec<&'t [u8]>,
    /// Words of inline commands, which had to be unquoted.
    inline: Vec<Vec<u8>>,
    commands: Vec<ParsedCommand>,
}

struct ParsedCommand {
    client: usize,
    words: Range<usize>,
    inline: bool,
}

/// All clients of a shard.
pub(super) struct Clients {
    shard: u16,
    directory: Arc<Directory>,
    planner: Planner,
    view: View,
    deadline_us: u64,
    limits: Limits,
    /// By the socket's slot, which is dense.
    table: Vec<Option<Box<Client>>>,
    count: u64,
    /// Clients that may have something to send or to read on.
    touched: Vec<usize>,
    /// Clients whose held-back input may go on.
    unblocked: Vec<usize>,
    /// This turn's arrivals.
    arrivals: Vec<Arrival>,
}

impl Clients {
    pub(super) fn new(settings: &ShardSettings) -> Clients {
        Clients {
            shard: settings.shard,
            directory: Arc::clone(&settings.directory),
            planner: Planner::new(settings.directory.placement.groups),
            view: View::new(settings),
            deadline_us: settings.deadline_us,
            limits: Limits::default(),
            table: Vec::new(),
            count: 0,
            touched: Vec::new(),
            unblocked: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    /// A client connected.
    pub(super) fn accept(&mut self, socket: SocketId, actions: &mut Vec<Action>) {
        let slot = socket.slot() as usize;
        if self.table.len() <= slot {
            self.table.resize_with(slot + 1, || None);
        }
        let facts = self.directory.shard(self.shard);
        let number = facts.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let shards = u64::from(self.directory.placement.shards);
        let session = Session::new(number * shards + u64::from(self.shard));
        self.table[slot] = Some(Box::new(Client::new(socket, session)));
        self.count += 1;
        facts.clients.store(self.count, std::sync::atomic::Ordering::Relaxed);
        actions.push(Action::Receive { socket });
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

    /// A client is gone.
    pub(super) fn end(&mut self, socket: SocketId, actions: &mut Vec<Action>) {
        let Some(slot) = self.find(socket) else { return };
        self.close(slot, actions);
    }

    fn close(&mut self, slot: usize, actions: &mut Vec<Action>) {
        if let Some(client) = self.table[slot].take() {
            actions.push(Action::Close { socket: client.socket });
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
            if !client.rest.is_empty() && client.room() > 0 && !self.arrivals.iter().any(|arrival| arrival.socket == socket) {
                let bytes = ArrivedBytes::Joined(std::mem::take(&mut client.rest));
                self.arrivals.push(Arrival { socket, bytes });
            }
        }
        std::mem::take(&mut self.arrivals)
    }

    /// Reads the commands in `arrivals` and plans each: answered here, or one or more requests. Returns how
    /// many bytes of each arrival were used.
    pub(super) fn read<'t>(&mut self, now: Time, arrivals: &'t [Arrival], reading: &'t mut Reading<'t>) -> Vec<usize> {
        let mut used = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            used.push(self.parse(arrival, &mut reading.parsed));
        }
        let _ = now;
        used
    }
}
