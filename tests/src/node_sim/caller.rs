//! One who is no client of the history: it asks one thing at a time, on a connection of its own. Backups are taken so, and what
//! they held is written and read so.

use std::net::SocketAddr;

use ringraft::simulation::Input;
use runtime::{Part, SocketId};

use super::net::{Party, Reading};
use super::world::World;
use crate::client::{Value, read_reply};

/// Its connection, and what came on it.
#[derive(Default)]
pub struct Caller {
    connection: Option<usize>,
    /// What it asked is not answered yet.
    pub is_waiting: bool,
    /// What came since it asked.
    pub heard: Vec<u8>,
    /// So much of that is whole replies.
    whole_bytes: usize,
    /// These.
    pub replies: Vec<Value>,
}

impl Caller {
    /// Whether it has a connection, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Takes in what came.
    fn hear(&mut self, data: &[u8]) {
        self.heard.extend_from_slice(data);
        loop {
            let mut rest = &self.heard[self.whole_bytes..];
            let Ok(reply) = read_reply(&mut rest) else { return };
            self.whole_bytes = self.heard.len() - rest.len();
            self.replies.push(reply);
        }
    }
}

impl World {
    /// The client number that it connects as: the one after the operator's.
    fn caller_number(&self) -> usize {
        self.clients.count() + 1
    }

    /// Whether a client number is its.
    pub fn is_caller(&self, number: usize) -> bool {
        number == self.caller_number()
    }

    /// It connects, and leaves the connection that it had.
    pub fn caller_calls(&mut self, address: SocketAddr) {
        self.caller_hangs_up();
        let number = self.caller_number();
        let socket = SocketId::simulated(u32::try_from(number).expect("few clients"), 0);
        let connection = self.call(Party::Client(number), socket, address);
        self.connections[connection].read(0, Reading::All);
        self.caller.connection = Some(connection);
    }

    /// It asks.
    pub fn caller_asks(&mut self, request: Vec<u8>) {
        let Some(connection) = self.caller.connection else { return };
        self.caller = Caller { connection: Some(connection), is_waiting: true, ..Caller::default() };
        self.send(connection, 0, vec![Part::Bytes(request)]);
    }

    /// It leaves.
    pub fn caller_hangs_up(&mut self) {
        self.caller.is_waiting = false;
        if let Some(connection) = self.caller.connection.take() {
            self.close(connection, 0);
        }
    }

    /// Something arrived for it.
    pub fn caller_hears(&mut self, connection: usize, side: usize) {
        let mut inputs = Vec::new();
        self.connections[connection].take(side, &mut inputs, |len| len);
        self.let_sender_go_on(connection, 1 - side);
        if self.caller.connection != Some(connection) {
            return;
        }
        for input in inputs {
            match input {
                Input::ClientData { data, .. } => self.caller.hear(&data),
                Input::Ended { .. } => self.caller_hangs_up(),
                _ => {}
            }
        }
        self.backup_hears();
    }
}
