//! What shards and clients do at their sockets, and what packets do there.

use std::net::SocketAddr;

use ringraft::simulation::{Action, Input};
use runtime::{Part, SocketId};

use super::machine::{Process, client_address, listener_at};
use super::net::{Connection, End, Packet, Party, Reading};
use super::world::{Happening, World};

/// A packet that meets a cut link is sent again after this long.
const RESEND_US: u64 = 150_000;
/// A call that nobody answers is repeated after this long.
const RECALL_US: u64 = 1_000_000;
/// What is lost is sent again after at least this long.
const LOST_US: u64 = 200_000;

impl World {
    /// Does what a shard decided.
    pub fn carry_out(&mut self, machine: usize, shard: u16, action: Action) {
        let slot = &mut self.machines[machine].slots[usize::from(shard)];
        match action {
            Action::Dial { dialer, address } => {
                let number = self.connections.len();
                let socket = slot.open(number, 0);
                if let Process::Up(node) = &mut self.machines[machine].process {
                    node.dialing(shard, dialer, socket);
                }
                self.call(Party::Shard { machine, shard }, socket, address);
            }
            Action::Send { socket, parts } => {
                if let Some((connection, side)) = slot.find(socket) {
                    self.send(connection, side, parts);
                }
            }
            Action::Receive { socket } => self.read(machine, shard, socket, Reading::All),
            Action::ReceiveInto { socket, buffer, from } => {
                self.read(machine, shard, socket, Reading::Into(buffer, from));
            }
            Action::Pause { socket } => {
                if let Some((connection, side)) = slot.find(socket) {
                    self.connections[connection].pause(side);
                }
            }
            Action::Close { socket } => {
                if let Some((connection, side)) = slot.find(socket) {
                    slot.close(socket);
                    slot.inputs.retain(|input| socket_of(input) != socket);
                    self.close(connection, side);
                }
            }
        }
    }

    /// Asks for a connection. The new connection's number.
    pub fn call(&mut self, party: Party, socket: SocketId, address: SocketAddr) -> usize {
        self.connections.push(Connection::new(End::new(party, socket), address));
        let number = self.connections.len() - 1;
        self.post(number, 1, Packet::Syn);
        number
    }

    /// Sends from `side` of a connection.
    pub fn send(&mut self, connection: usize, side: usize, parts: Vec<Part>) {
        let (bytes, done) = self.connections[connection].send(side, parts);
        if !bytes.is_empty() {
            self.post(connection, 1 - side, Packet::Data(bytes));
        }
        if let (Some(parts), Some(end)) = (done, &self.connections[connection].ends[side])
            && let Party::Shard { machine, shard } = end.party
        {
            let socket = end.socket;
            self.give(machine, shard, Input::Sent { socket, parts }, 2);
        }
    }

    /// Closes `side`.
    pub fn close(&mut self, connection: usize, side: usize) {
        if let Some(end) = &mut self.connections[connection].ends[side] {
            end.open = false;
            self.post(connection, 1 - side, Packet::Fin);
        }
    }

    /// Breaks a connection for both ends.
    pub fn reset(&mut self, connection: usize) {
        for side in 0..2 {
            self.post(connection, side, Packet::Reset);
        }
    }

    fn read(&mut self, machine: usize, shard: u16, socket: SocketId, reading: Reading) {
        let slot = &mut self.machines[machine].slots[usize::from(shard)];
        let Some((connection, side)) = slot.find(socket) else { return };
        self.connections[connection].read(side, reading);
        self.hand_over(connection, side);
    }

    /// An input for a shard.
    fn give(&mut self, machine: usize, shard: u16, input: Input, after_us: u64) {
        self.machines[machine].slots[usize::from(shard)].inputs.push(input);
        self.wake(machine, shard, after_us);
    }

    /// Sends a packet on its way to side `to`.
    fn post(&mut self, connection: usize, to: usize, packet: Packet) {
        let (from, target) = self.machines_of(connection, to);
        let mut delay_us = self.delay_us(from, target);
        if self.random.u16(..1000) < self.profile.links.lost_per_mille {
            delay_us += LOST_US;
        }
        let mut due_us = self.now_us + delay_us;
        if let Some(end) = &mut self.connections[connection].ends[1 - to] {
            due_us = due_us.max(end.last_due);
            end.last_due = due_us;
        }
        let number = self.connections[connection].number(to);
        self.plan_at(due_us, Happening::Arrive { connection, to, number, packet });
    }

    /// Between which machines the way to side `to` leads; none for clients.
    fn machines_of(&self, connection: usize, to: usize) -> (Option<usize>, Option<usize>) {
        let connection = &self.connections[connection];
        let machine = |side: usize| match &connection.ends[side] {
            Some(End { party: Party::Shard { machine, .. }, .. }) => Some(*machine),
            Some(End { party: Party::Client(_), .. }) => None,
            None => listener_at(connection.called).map(|(machine, ..)| machine),
        };
        (machine(1 - to), machine(to))
    }

    /// A packet arrives, unless its way is cut: then it is sent again. Those behind it wait for it.
    pub fn arrive(&mut self, connection: usize, to: usize, number: u64, packet: Packet) {
        let (from, target) = self.machines_of(connection, to);
        let powered = target.is_none_or(|machine| self.machines[machine].powered);
        if self.weather.is_cut(from, target) || !powered {
            let after_us = if packet == Packet::Syn { RECALL_US } else { RESEND_US };
            return self.plan(after_us, Happening::Arrive { connection, to, number, packet });
        }
        let packet = match packet {
            Packet::Data(data) if from.is_some() && target.is_some() => {
                Packet::Data(self.mangle(connection, to, number, data))
            }
            other => other,
        };
        self.connections[connection].wait_in_line(to, number, packet);
        while let Some(packet) = self.connections[connection].next_in_line(to) {
            self.come_in(connection, to, packet);
        }
    }

    /// What the network does to bytes that nobody notices but whoever reads them.
    fn mangle(&mut self, connection: usize, to: usize, number: u64, mut data: Vec<u8>) -> Vec<u8> {
        let per_mille = self.profile.links.mangled_per_mille;
        if per_mille == 0 || self.random.u16(..1000) >= per_mille {
            return data;
        }
        match self.random.u8(..3) {
            0 => data.extend_from_within(..),
            1 => self.connections[connection].overtake(to, number, &mut data),
            _ => {
                let (at, bit) = (self.random.usize(..data.len()), self.random.u8(..8));
                data[at] ^= 1 << bit;
            }
        }
        self.say(|| format!("packet {number} to side {to} of connection {connection} is mangled"));
        data
    }

    fn come_in(&mut self, connection: usize, to: usize, packet: Packet) {
        self.counts.packets += 1;
        match packet {
            Packet::Syn => self.accept(connection),
            Packet::SynAck => self.called_back(connection),
            Packet::Data(data) => {
                if !self.connections[connection].ends[to].as_ref().is_some_and(End::is_there) {
                    return self.post(connection, 1 - to, Packet::Reset); // nobody is there
                }
                self.connections[connection].arrive(to, data);
                self.hand_over(connection, to);
            }
            Packet::Fin | Packet::Reset => {
                self.connections[connection].finish(to, packet == Packet::Fin);
                self.hand_over(connection, to);
            }
        }
    }

    /// A call was accepted.
    fn called_back(&mut self, connection: usize) {
        let Some(end) = self.connections[connection].ends[0].as_ref().filter(|end| end.is_there()) else {
            return;
        };
        let (party, socket) = (end.party, end.socket);
        match party {
            Party::Shard { machine, shard } => self.give(machine, shard, Input::Connected { socket }, 1),
            Party::Client(number) => self.client_connected(number, connection),
        }
    }

    /// A call reached the machine it was for.
    fn accept(&mut self, connection: usize) {
        let called = self.connections[connection].called;
        let caller = self.connections[connection].ends[0].as_ref().filter(|end| end.is_there());
        let Some(caller) = caller.map(|end| end.party) else { return };
        let listener = listener_at(called).filter(|(machine, shard, _)| {
            *shard < self.profile.shards
                && self.machines.get(*machine).is_some_and(|machine| machine.listens())
        });
        let Some((machine, shard, for_clients)) = listener else {
            return self.post(connection, 0, Packet::Reset);
        };
        let socket = self.machines[machine].slots[usize::from(shard)].open(connection, 1);
        self.connections[connection].ends[1] = Some(End::new(Party::Shard { machine, shard }, socket));
        let input = match for_clients {
            true => {
                let address = match caller {
                    Party::Client(number) => super::clients::address(number),
                    Party::Shard { machine, shard } => client_address(machine, shard),
                };
                Input::ClientAccepted { socket, address, local_address: called }
            }
            false => Input::PeerAccepted { socket },
        };
        self.give(machine, shard, input, 1);
        self.post(connection, 0, Packet::SynAck);
    }

    /// Gives the owner of `side` what it can take.
    pub fn hand_over(&mut self, connection: usize, side: usize) {
        let Some(end) = &self.connections[connection].ends[side] else { return };
        match end.party {
            Party::Client(number) if number == self.clients.count() => self.operator_hears(connection, side),
            Party::Client(number) if self.is_caller(number) => self.caller_hears(connection, side),
            Party::Client(number) => self.client_hears(number, connection, side),
            Party::Shard { machine, shard } => {
                let mut inputs = Vec::new();
                let (split_per_mille, random) = (self.profile.links.split_per_mille, &mut self.random);
                self.connections[connection].take(side, &mut inputs, |len| {
                    if len > 1 && random.u16(..1000) < split_per_mille { random.usize(1..len) } else { len }
                });
                for input in inputs {
                    self.give(machine, shard, input, 1);
                }
                self.let_sender_go_on(connection, 1 - side);
            }
        }
    }

    /// There may be room on the way from `side` now.
    pub fn let_sender_go_on(&mut self, connection: usize, side: usize) {
        let Some(input) = self.connections[connection].take_sent(side) else { return };
        if let Some(End { party: Party::Shard { machine, shard }, .. }) =
            self.connections[connection].ends[side]
        {
            self.give(machine, shard, input, 1);
        }
    }

    /// A machine's connections end: its node was killed (`loud`: the kernel says so), or its power went.
    pub fn cut_off(&mut self, machine: usize, loud: bool) {
        let of_it = |end: &End| matches!(end.party, Party::Shard { machine: at, .. } if at == machine);
        for number in 0..self.connections.len() {
            for side in 0..2 {
                let Some(end) = &mut self.connections[number].ends[side] else { continue };
                if !of_it(end) || !end.is_there() {
                    continue;
                }
                end.dead = true;
                if loud {
                    self.post(number, 1 - side, Packet::Reset);
                }
            }
        }
        for slot in &mut self.machines[machine].slots {
            slot.inputs.clear();
            slot.sockets.clear();
        }
    }
}

fn socket_of(input: &Input) -> SocketId {
    match input {
        Input::ClientAccepted { socket, .. }
        | Input::PeerAccepted { socket }
        | Input::Connected { socket }
        | Input::ClientData { socket, .. }
        | Input::PeerData { socket, .. }
        | Input::Sent { socket, .. }
        | Input::Ended { socket, .. } => *socket,
    }
}
