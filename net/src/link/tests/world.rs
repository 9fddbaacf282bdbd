//! Two ends and the cables between them.

use std::collections::VecDeque;
use std::time::Duration;

use raft::{NodeId, Time};
use runtime::{BufferMut, Part};

use crate::forming::Forming;
use crate::handshake::{Address, ClusterId, Directory, FORMAT_VERSION, Identity, KnownNode};
use crate::link::*;

/// What a node says of itself when nothing is special.
pub(super) fn local(node: u16) -> Local {
    let known =
        |node: u16| KnownNode { node: NodeId(node), incarnation: 1000 + u64::from(node), shard_count: 4 };
    let identity = Identity {
        cluster_id: ClusterId([1; 16]),
        node: NodeId(node),
        incarnation: 1000 + u64::from(node),
        boot: 1,
        shard: 0,
        shard_count: 4,
        group_count: 16,
        format_version: FORMAT_VERSION,
        directory_version: 0,
        client_address: Address::new("127.0.0.1", 6000 + node).unwrap(),
    };
    let nodes = vec![known(1), known(2)];
    Local { identity, directory: Directory { version: 0, nodes, removed: Vec::new() } }
}

pub(super) struct End {
    pub(super) link: Link<u32>,
    pub(super) local: Local,
    /// What happened to the link, in words.
    pub(super) seen: Vec<String>,
    pub(super) frames: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) formings: Vec<Forming>,
    incoming: Vec<Incoming<u32>>,
}

/// One direction ends at each side; side 0 is node 1. Socket `2 * cable + side`.
#[derive(Default)]
struct Cable {
    bytes: [VecDeque<u8>; 2],
    receives: [Option<(BufferMut, usize)>; 2],
    closed: [bool; 2],
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) ends: [End; 2],
    pub(super) settings: Settings,
    pub(super) shard: u16,
    /// Sizes of what one receive gets.
    pub(super) pieces: Vec<usize>,
    /// Nobody listens.
    pub(super) unreachable: bool,
    /// What is sent gets lost.
    pub(super) mute: bool,
    /// What is sent from now on stays under way.
    pub(super) hold_sends: bool,
    /// Flips a bit of the byte that comes so many bytes later at side 1.
    pub(super) corrupt: Option<usize>,
    cables: Vec<Cable>,
    held: Vec<(usize, u32, Vec<u8>)>,
    received: usize,
}

fn place(socket: u32) -> (usize, usize) {
    (socket as usize / 2, socket as usize % 2)
}

impl World {
    pub(super) fn new() -> World {
        let settings = Settings { seed: 7, patience: None, ..Settings::default() };
        let now = Time(1_000_000);
        let end = |node| End {
            link: new_link(now, node, 0, &settings),
            local: local(node),
            seen: Vec::new(),
            frames: Vec::new(),
            formings: Vec::new(),
            incoming: Vec::new(),
        };
        World {
            now,
            ends: [end(1), end(2)],
            settings,
            shard: 0,
            pieces: vec![usize::MAX],
            unreachable: false,
            mute: false,
            hold_sends: false,
            corrupt: None,
            cables: Vec::new(),
            held: Vec::new(),
            received: 0,
        }
    }

    /// Makes both links anew.
    pub(super) fn relink(&mut self) {
        [0, 1].into_iter().for_each(|end| self.forget(end));
    }

    /// One end forgets its link and everything about it; the other does not notice.
    pub(super) fn forget(&mut self, end: usize) {
        let node = self.ends[end].local.identity.node.0;
        self.ends[end].link = new_link(self.now, node, self.shard, &self.settings);
    }

    /// Both ends learn that the connection broke.
    pub(super) fn break_cables(&mut self) {
        for end in &mut self.ends {
            if let Some(socket) = end.link.socket() {
                end.link.closed(self.now, socket);
            }
        }
    }

    pub(super) fn send(&mut self, end: usize, body: &[u8], tail: &[u8]) {
        let tail = vec![Part::Bytes(tail.to_vec())];
        self.ends[end].link.send_frame(self.now, 0, body.to_vec(), tail);
    }

    /// Bytes that no link made, on the connection of `end`.
    pub(super) fn inject(&mut self, end: usize, bytes: &[u8]) {
        let (cable, side) = place(self.ends[end].link.socket().expect("it is connected"));
        self.cables[cable].bytes[1 - side].extend(bytes);
    }

    /// Time passes, no deadline is missed.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while self.now < until {
            let deadline =
                |end: &End| end.incoming.iter().map(Incoming::deadline).fold(end.link.deadline(), Time::min);
            let next = self.ends.iter().map(deadline).fold(until, Time::min);
            self.now = next.max(self.now);
            self.settle();
        }
    }

    /// Everything that can happen now happens.
    pub(super) fn settle(&mut self) {
        loop {
            if !self.hold_sends {
                for (end, socket, bytes) in std::mem::take(&mut self.held) {
                    self.transmit(end, socket, &bytes);
                }
            }
            let acted = [0, 1].map(|end| self.settle_end(end));
            if !self.deliver() && acted == [false, false] {
                break;
            }
        }
    }

    /// Carries out what one end wants; answers whether it wanted anything.
    fn settle_end(&mut self, at: usize) -> bool {
        let (mut acted, now) = (false, self.now);
        self.ends[at].link.tick(now);
        self.pull(at);
        while let Some(output) = self.ends[at].link.take_output() {
            self.carry_out(at, output);
            acted = true;
        }
        for number in 0..self.ends[at].incoming.len() {
            self.ends[at].incoming[number].tick(now);
        }
        let mut incoming = std::mem::take(&mut self.ends[at].incoming);
        incoming.retain_mut(|incoming| {
            let mut alive = true;
            while let Some(output) = incoming.take_output() {
                acted = true;
                alive &= self.carry_out_incoming(at, incoming.socket(), output);
            }
            alive
        });
        self.ends[at].incoming.extend(incoming);
        acted
    }

    fn pull(&mut self, at: usize) {
        let End { link, frames, formings, .. } = &mut self.ends[at];
        while let Some(received) = link.next(self.now) {
            match received {
                Received::Frame(frame) => frames.push((frame.body.to_vec(), frame.tail.to_vec())),
                Received::Forming(forming) => formings.push(forming),
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output<u32>) {
        let now = self.now;
        match output {
            Output::Dial => {
                let socket = u32::try_from(2 * self.cables.len() + at).unwrap();
                self.cables.push(Cable::default());
                let End { link, local, .. } = &mut self.ends[at];
                link.dialed(socket);
                if self.unreachable {
                    return link.closed(now, socket);
                }
                link.connected(now, socket, local);
                let incoming = Incoming::new(now, socket ^ 1, &self.settings);
                self.ends[1 - at].incoming.push(incoming);
            }
            Output::Send { socket, parts } => {
                let bytes: Vec<u8> = parts.iter().flat_map(Part::bytes).copied().collect();
                if self.hold_sends {
                    self.held.push((at, socket, bytes));
                } else {
                    self.transmit(at, socket, &bytes);
                }
            }
            Output::Receive { socket, buffer, from } => {
                let (cable, side) = place(socket);
                self.cables[cable].receives[side] = Some((buffer, from));
            }
            Output::Close { socket } => self.close(socket),
            Output::Established { forming, .. } => {
                self.ends[at]
                    .seen
                    .push(if forming { "established for forming" } else { "established" }.into());
            }
            Output::Refused { refused, by_us } => {
                let end = &mut self.ends[at];
                let by = if by_us { "us" } else { "peer" };
                end.seen.push(format!("refused by {by}, {}: {}", refused.code, refused.reason));
                if !by_us && refused.ends_membership(&end.local.identity) {
                    end.seen.push("no member any more".into());
                }
            }
            Output::Lost(lost) => self.ends[at].seen.push(format!("lost: {lost}")),
        }
    }

    /// Answers whether the connection is still without a greeting.
    fn carry_out_incoming(&mut self, at: usize, socket: u32, output: IncomingOutput<u32>) -> bool {
        let (cable, side) = place(socket);
        match output {
            IncomingOutput::Receive { buffer, from } => {
                self.cables[cable].receives[side] = Some((buffer, from));
                return true;
            }
            IncomingOutput::Rejected(_) => {
                self.ends[at].seen.push("turned away".into());
                return true;
            }
            IncomingOutput::SendThenClose { parts } => {
                self.cables[cable].bytes[1 - side].extend(parts[0].bytes());
                self.cables[cable].closed[side] = true;
            }
            IncomingOutput::Close => self.close(socket),
            IncomingOutput::Greeted(greeted) => {
                let End { link, local, .. } = &mut self.ends[at];
                link.adopt(self.now, greeted, local);
            }
        }
        false
    }

    fn transmit(&mut self, at: usize, socket: u32, bytes: &[u8]) {
        let (cable, side) = place(socket);
        if !self.mute && !self.cables[cable].closed[1 - side] {
            self.cables[cable].bytes[1 - side].extend(bytes);
        }
        self.ends[at].link.sent(self.now, socket);
    }

    fn close(&mut self, socket: u32) {
        let (cable, side) = place(socket);
        self.cables[cable].closed[side] = true;
        self.cables[cable].receives[side] = None;
    }

    /// Brings bytes to whoever waits for them, and the news of a close behind them; answers whether any came.
    fn deliver(&mut self) -> bool {
        let mut came = false;
        for cable in 0..self.cables.len() {
            for side in [0, 1] {
                let socket = u32::try_from(2 * cable + side).unwrap();
                if self.cables[cable].closed[side] {
                    continue;
                }
                if self.cables[cable].bytes[side].is_empty() {
                    came |= self.cables[cable].closed[1 - side] && !self.mute && self.hang_up(side, socket);
                } else if let Some((buffer, from)) = self.cables[cable].receives[side].take() {
                    let (buffer, filled) = self.fill(cable, side, buffer, from);
                    self.receive(side, socket, buffer, filled);
                    came = true;
                }
            }
        }
        came
    }

    fn fill(&mut self, cable: usize, side: usize, mut buffer: BufferMut, from: usize) -> (BufferMut, usize) {
        self.received += 1;
        let piece = self.pieces[self.received % self.pieces.len()];
        let bytes = &mut self.cables[cable].bytes[side];
        let taken = bytes.len().min(piece).min(buffer.len() - from);
        for (place, byte) in buffer[from..from + taken].iter_mut().zip(bytes.drain(..taken)) {
            *place = byte;
            if side == 1
                && let Some(left) = &mut self.corrupt
            {
                if *left == 0 {
                    *place ^= 4;
                    self.corrupt = None;
                } else {
                    *left -= 1;
                }
            }
        }
        (buffer, from + taken)
    }

    fn receive(&mut self, at: usize, socket: u32, buffer: BufferMut, filled: usize) {
        let End { link, local, incoming, .. } = &mut self.ends[at];
        match incoming.iter_mut().find(|incoming| incoming.socket() == socket) {
            Some(incoming) => incoming.received(buffer, filled, local),
            None => link.received(self.now, socket, buffer, filled, local),
        }
    }

    /// The other side has closed; answers whether this one cared.
    fn hang_up(&mut self, at: usize, socket: u32) -> bool {
        self.close(socket);
        let End { link, incoming, .. } = &mut self.ends[at];
        match incoming.iter_mut().find(|incoming| incoming.socket() == socket) {
            Some(incoming) => incoming.sent_or_closed(),
            None => link.closed(self.now, socket),
        }
        true
    }
}

fn new_link(now: Time, node: u16, shard: u16, settings: &Settings) -> Link<u32> {
    let peer = PeerShard { node: NodeId(3 - node), shard };
    Link::new(now, NodeId(node), peer, settings.clone())
}
