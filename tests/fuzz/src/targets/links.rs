//! A whole connection of a peer: greeting, then frames or messages of forming.

use std::time::Duration;

use net::handshake::{Message, Welcome};
use net::link::{Incoming, IncomingOutput, Link, Local, Output, PeerShard, Received, Settings};
use raft::{NodeId, Time};
use runtime::BufferMut;

use super::frames::{frame, greeting, identity, members, repair};
use crate::feed::Feed;

/// The only socket here.
const SOCKET: u32 = 7;

/// One end of a connection and what the other end still has to say.
struct End<'a> {
    now: Time,
    local: Local,
    rest: &'a [u8],
    sizes: Feed<'a>,
}

impl End<'_> {
    /// Lets the next piece arrive. `None`: nothing is left, or nothing fits.
    fn piece(&mut self, mut buffer: BufferMut, from: usize) -> Option<(BufferMut, usize)> {
        let bytes = (1 + 4 * usize::from(self.sizes.byte())).min(self.rest.len()).min(buffer.len() - from);
        let (piece, rest) = self.rest.split_at(bytes);
        buffer[from..from + bytes].copy_from_slice(piece);
        self.rest = rest;
        (bytes > 0).then_some((buffer, from + bytes))
    }
}

/// Flags: who calls, whether we are formed, whether checksums are right; eight bytes of piece sizes; a stream.
pub fn link(data: &[u8]) {
    let mut feed = Feed(data);
    let (calls, formed, repaired) = (feed.flag(), feed.flag(), feed.flag());
    let sizes = Feed(feed.bytes(8));
    let mut stream = feed.0.to_vec();
    if repaired {
        repair(&mut stream);
    }
    let local = Local { identity: identity(2, formed), directory: members() };
    let mut end = End { now: Time(1_000_000), local, rest: &stream, sizes };
    if calls { call(&mut end) } else { be_called(&mut end) }
}

fn be_called(end: &mut End<'_>) {
    let settings = Settings { seed: 7, ..Settings::default() };
    let mut incoming = Incoming::new(end.now, SOCKET, &settings);
    while let Some(output) = incoming.take_output() {
        match output {
            IncomingOutput::Receive { buffer, from } => {
                let Some((buffer, filled)) = end.piece(buffer, from) else { return };
                incoming.received(buffer, filled, &end.local);
            }
            IncomingOutput::Greeted(greeted) => {
                let caller = &greeted.hello.caller;
                if caller.node == NodeId(2) {
                    return; // the engine has no link to itself
                }
                let peer = PeerShard { node: caller.node, shard: caller.shard };
                let mut link = Link::new(end.now, NodeId(2), peer, settings);
                link.adopt(end.now, greeted, &end.local);
                return talk(end, &mut link);
            }
            _ => {}
        }
    }
}

fn call(end: &mut End<'_>) {
    let settings = Settings { seed: 7, ..Settings::default() };
    let peer = PeerShard { node: NodeId(3), shard: 0 };
    let mut link = Link::new(end.now, NodeId(2), peer, settings);
    link.tick(link.deadline());
    link.dialed(SOCKET);
    link.connected(end.now, SOCKET, &end.local);
    talk(end, &mut link);
}

fn talk(end: &mut End<'_>, link: &mut Link<u32>) {
    loop {
        while let Some(received) = link.next(end.now) {
            match received {
                Received::Frame(frame) => assert!(frame.body.as_ptr().addr().is_multiple_of(16)),
                Received::Forming(_) => {}
            }
        }
        let Some(output) = link.take_output() else { return };
        match output {
            Output::Receive { socket, buffer, from } => {
                let Some((buffer, filled)) = end.piece(buffer, from) else { return };
                end.now = end.now + Duration::from_millis(1);
                link.received(end.now, socket, buffer, filled, &end.local);
            }
            Output::Send { socket, .. } => link.sent(end.now, socket),
            _ => {}
        }
    }
}

/// Seeds of [`link`].
#[must_use]
pub fn link_seeds() -> Vec<Vec<u8>> {
    let (mut called, mut answered) = (Vec::new(), Vec::new());
    Message::Hello(greeting(1)).encode(&mut called);
    Message::Welcome(Welcome { answerer: identity(3, true) }).encode(&mut answered);
    for stream in [&mut called, &mut answered] {
        stream.extend(frame(0, b"body", b"tail"));
        stream.extend(frame(1, &[1; 40], b""));
    }
    let with = |flags: [u8; 3], stream: &[u8]| [&flags[..], &[255, 0, 9, 3, 70, 1, 20, 200], stream].concat();
    let mut forming = Vec::new();
    let mut hello = greeting(1);
    hello.caller.cluster_id = net::handshake::ClusterId::UNFORMED;
    Message::Hello(hello).encode(&mut forming);
    Message::Forming(net::forming::Forming::StateQuery { question: 3 }).encode(&mut forming);
    vec![
        with([0, 1, 1], &called),
        with([1, 1, 1], &answered),
        with([0, 0, 1], &forming),
        with([0, 1, 1], &forming),
        with([0, 1, 0], &called),
    ]
}
