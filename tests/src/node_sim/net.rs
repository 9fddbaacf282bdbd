//! The simulated network: connections that deliver in order, late, or not at all.
//!
//! A connection is a pair of byte streams, as TCP makes it: what is lost is sent again, so loss shows as delay, and a cut
//! link as silence until it heals. A connection ends in order, or by a reset, or not at all when the machine at its other
//! end lost its power: that shows only when something is sent to it after it is up again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ringraft::simulation::{ClientData, Input};
use runtime::{BufferMut, Part, SocketId};

/// What may be on its way or unread on a stream before its sender has to wait: a kernel's buffers.
const WINDOW_BYTES: usize = 256 << 10;

/// Who holds an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A shard of a machine.
    Shard {
        /// The machine.
        machine: usize,
        /// The shard.
        shard: u16,
    },
    /// A client of the simulation, by number.
    Client(usize),
}

/// What an end does with what arrives.
#[derive(Default)]
pub enum Reading {
    /// It leaves it where it is.
    #[default]
    Not,
    /// It takes everything.
    All,
    /// It takes once, into this buffer from this byte on.
    Into(BufferMut, usize),
}

/// One end of a connection.
pub struct End {
    /// Whose it is.
    pub party: Party,
    /// What its owner calls it.
    pub socket: SocketId,
    /// Its owner has not closed it.
    pub open: bool,
    /// Its machine went without a word.
    pub dead: bool,
    reading: Reading,
    arrived: VecDeque<Vec<u8>>,
    arrived_bytes: usize,
    /// Nothing comes after what has arrived: in order, or not.
    finished: Option<bool>,
    told_finished: bool,
    /// Bytes on their way from here.
    flying_bytes: usize,
    /// A send whose owner waits for room.
    sending: Option<Vec<Part>>,
    /// When the newest packet from here arrives: later ones do not overtake it.
    pub last_due: u64,
}

impl End {
    /// An end that is open.
    pub fn new(party: Party, socket: SocketId) -> End {
        End {
            party,
            socket,
            open: true,
            dead: false,
            reading: Reading::Not,
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            finished: None,
            told_finished: false,
            flying_bytes: 0,
            sending: None,
            last_due: 0,
        }
    }

    /// Whether anything can still reach its owner.
    pub fn is_there(&self) -> bool {
        self.open && !self.dead
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Asks for the connection.
    Syn,
    /// Grants it.
    SynAck,
    /// Bytes, never none.
    Data(Vec<u8>),
    /// Nothing follows.
    Fin,
    /// The connection is no more.
    Reset,
}

/// A connection. End 0 asked for it.
pub struct Connection {
    /// Its ends; the second exists once it was accepted.
    pub ends: [Option<End>; 2],
    /// Which address was called.
    pub called: SocketAddr,
    /// By side: packets sent to it, and come in there, and those that overtook others.
    sent: [u64; 2],
    came_in: [u64; 2],
    early: [BTreeMap<u64, Packet>; 2],
}

impl Connection {
    /// A connection that `caller` asks for.
    pub fn new(caller: End, called: SocketAddr) -> Connection {
        let ends = [Some(caller), None];
        Connection { ends, called, sent: [0; 2], came_in: [0; 2], early: Default::default() }
    }

    /// The number of the next packet to side `to`.
    pub fn number(&mut self, to: usize) -> u64 {
        self.sent[to] += 1;
        self.sent[to]
    }

    /// A packet reached side `to`, perhaps before others that were sent earlier.
    pub fn wait_in_line(&mut self, to: usize, number: u64, packet: Packet) {
        self.early[to].insert(number, packet);
    }

    /// Lets `data`, which arrives as packet `number`, change places with the one behind it, if that is here already.
    pub fn overtake(&mut self, to: usize, number: u64, data: &mut Vec<u8>) {
        if let Some(Packet::Data(next)) = self.early[to].get_mut(&(number + 1)) {
            std::mem::swap(next, data);
        }
    }

    /// The next packet in the order sent, if it is there.
    pub fn next_in_line(&mut self, to: usize) -> Option<Packet> {
        let packet = self.early[to].remove(&(self.came_in[to] + 1))?;
        self.came_in[to] += 1;
        Some(packet)
    }

    fn end(&mut self, side: usize) -> Option<&mut End> {
        self.ends[side].as_mut()
    }

    /// Bytes that left `side` and that the other side has not taken.
    fn unread_bytes(&self, side: usize) -> usize {
        let flying = self.ends[side].as_ref().map_or(0, |end| end.flying_bytes);
        flying + self.ends[1 - side].as_ref().map_or(0, |end| end.arrived_bytes)
    }

    /// Takes a send: the bytes to be sent as one packet, and whether the sender may go on at once.
    pub fn send(&mut self, side: usize, parts: Vec<Part>) -> (Vec<u8>, Option<Vec<Part>>) {
        let bytes = parts.iter().map(Part::bytes).collect::<Vec<_>>().concat();
        let room = self.unread_bytes(side) < WINDOW_BYTES;
        let end = self.end(side).expect("whoever sends has an end");
        end.flying_bytes += bytes.len();
        if room {
            return (bytes, Some(parts));
        }
        end.sending = Some(parts);
        (bytes, None)
    }

    /// Data from the other side arrives at `side`.
    pub fn arrive(&mut self, side: usize, data: Vec<u8>) {
        if let Some(from) = self.end(1 - side) {
            from.flying_bytes = from.flying_bytes.saturating_sub(data.len());
        }
        let Some(end) = self.end(side).filter(|end| end.is_there() && end.finished.is_none()) else { return };
        end.arrived_bytes += data.len();
        end.arrived.push_back(data);
    }

    /// Nothing follows at `side`.
    pub fn finish(&mut self, side: usize, orderly: bool) {
        let Some(end) = self.end(side).filter(|end| end.is_there()) else { return };
        if !orderly {
            end.arrived.clear();
            end.arrived_bytes = 0;
            end.told_finished &= end.finished == Some(false);
            end.finished = Some(false);
        } else if end.finished.is_none() {
            end.finished = Some(true);
        }
    }

    /// The owner of `side` reads so from now on.
    pub fn read(&mut self, side: usize, reading: Reading) {
        if let Some(end) = self.end(side) {
            end.reading = reading;
        }
    }

    /// The owner of `side` lets no more come for now; a receive into a buffer goes on.
    pub fn pause(&mut self, side: usize) {
        if let Some(end) = self.end(side)
            && matches!(end.reading, Reading::All)
        {
            end.reading = Reading::Not;
        }
    }

    /// What the owner of `side` gets now. `split` says how many bytes of a packet are seen at once.
    pub fn take(&mut self, side: usize, inputs: &mut Vec<Input>, mut split: impl FnMut(usize) -> usize) {
        let Some(end) = self.end(side).filter(|end| end.is_there()) else { return };
        let socket = end.socket;
        loop {
            match std::mem::take(&mut end.reading) {
                Reading::Not => break,
                Reading::All => {
                    end.reading = Reading::All;
                    let Some(data) = end.next_piece(usize::MAX, &mut split) else { break };
                    inputs.push(Input::ClientData { socket, data: ClientData::Owned(data) });
                }
                Reading::Into(mut buffer, from) => {
                    let Some(data) = end.next_piece(buffer.len() - from, &mut split) else {
                        end.reading = Reading::Into(buffer, from);
                        break;
                    };
                    let filled = from + data.len();
                    buffer[from..filled].copy_from_slice(&data);
                    inputs.push(Input::PeerData { socket, buffer, filled });
                }
            }
        }
        // An end in order shows to those who read only.
        let reads = !matches!(end.reading, Reading::Not);
        if let Some(orderly) = end.finished
            && !end.told_finished
            && (reads || !orderly)
        {
            end.told_finished = true;
            inputs.push(Input::Ended { socket, orderly });
        }
    }

    /// The sender at `side` may go on, if it waited and there is room now.
    pub fn take_sent(&mut self, side: usize) -> Option<Input> {
        if self.unread_bytes(side) >= WINDOW_BYTES {
            return None;
        }
        let end = self.end(side).filter(|end| end.is_there())?;
        let parts = end.sending.take()?;
        Some(Input::Sent { socket: end.socket, parts })
    }
}

impl End {
    /// The next bytes, at most `bytes_max`.
    fn next_piece(&mut self, bytes_max: usize, split: &mut impl FnMut(usize) -> usize) -> Option<Vec<u8>> {
        let mut data = self.arrived.pop_front()?;
        let len = split(data.len()).clamp(1, data.len()).min(bytes_max);
        if len < data.len() {
            let rest = data.split_off(len);
            self.arrived.push_front(rest);
        }
        self.arrived_bytes -= data.len();
        Some(data)
    }
}
