//! Snapshots on their way between nodes: the connections of their own that they travel on, and the bounds they share.
//!
//! A leader that is asked for a snapshot calls the follower's shard ([`super::sends`]); the follower takes its files one by one,
//! loads them, and answers once it is safe ([`super::receives`]). Each chunk is answered, and few are under way at a time
//! (`snapshot::transfer::Window`): a transfer holds two chunks in memory at the sender (one is read while another is sent), those
//! few at the receiver, and the slower end sets the pace.

mod backups;

use std::net::SocketAddr;
use std::time::Duration;

use net::handshake::Kind;
use net::link::{Greeted, Link, Local, Output, PeerShard, Received};
use raft::{EntryId, NodeId, Time};
use runtime::{Buffer, Disk, Part, SocketId};
use snapshot::RateLimit;
use snapshot::transfer::Message;

use super::Shard;
use super::io::{Action, Dialer, Input};
use super::receives::Receive;
use super::sends::Outgoing;
use super::settings::ShardSettings;
use crate::state_machine::StateMachine;
pub(super) use backups::{Asked, Backups, ReadEnd};
#[cfg(feature = "simulation")]
pub(super) use backups::{GROUPS_HELD_MAX, READS_WAITING_MAX};

/// What one chunk carries: large enough for the disk, small enough for a turn to check.
pub(super) const CHUNK_BYTES: u32 = 512 << 10;

/// Connections for snapshots that were accepted, at most: more than may be received at the same time.
pub(super) const CALLERS_MAX: usize = 16;

/// A caller that has not said what it brings is cut off after so long.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// Each end says something at least this often, so that the other knows a long verification from a dead peer.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A connection on which nothing is heard for so long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How old may be what `status` says of them.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// One end of a snapshot's connection.
pub(super) struct Line {
    pub(super) link: Link<SocketId>,
    spoke: Time,
}

/// What came in on a line.
pub(super) struct Heard {
    pub(super) messages: Vec<(Message, Vec<u8>)>,
    /// Anything at all, beats included.
    pub(super) any: bool,
}

impl Line {
    pub(super) fn new(now: Time, node: NodeId, peer: PeerShard, seed: u64) -> Line {
        let settings = net::link::Settings {
            kind: Kind::Snapshot,
            silence_max: SILENCE_MAX,
            seed,
            ..net::link::Settings::default()
        };
        Line { link: Link::new(now, node, peer, settings), spoke: now }
    }

    /// Takes in what has come whole. Bytes that are no message end the connection.
    pub(super) fn hear(&mut self, now: Time) -> Heard {
        let mut heard = Heard { messages: Vec::new(), any: false };
        let mut sound = true;
        while sound && let Some(Received::Frame(frame)) = self.link.next(now) {
            heard.any = true;
            if frame.body.is_empty() {
                continue; // a beat
            }
            match Message::decode(frame.body) {
                Ok((message, _)) => heard.messages.push((message, frame.tail.to_vec())),
                Err(_) => sound = false,
            }
        }
        if !sound {
            self.hang_up(now);
        }
        heard
    }

    /// Ends the connection; a line that dials will dial again.
    pub(super) fn hang_up(&mut self, now: Time) {
        if let Some(socket) = self.link.socket() {
            self.link.closed(now, socket);
        }
    }

    /// Sends a message with what belongs behind it. The caller asks `link.can_send` first.
    pub(super) fn send(&mut self, now: Time, durable_batch: u64, message: &Message, data: Option<Buffer>) {
        let mut body = Vec::new();
        message.encode(&mut body);
        self.spoke = now;
        self.link.send_frame(now, durable_batch, body, data.map(Part::Buffer).into_iter().collect());
    }

    /// Says that this end lives, if it has said nothing for a while.
    pub(super) fn beat(&mut self, now: Time, durable_batch: u64) {
        if now.saturating_sub(self.spoke) >= BEAT_INTERVAL && self.link.can_send() {
            self.spoke = now;
            self.link.send_frame(now, durable_batch, Vec::new(), Vec::new());
        }
    }

    /// Lets time pass and carries out what the link wants; `dial` says whom a line that dials dials, and under which
    /// number. True: it lost its connection.
    pub(super) fn carry_out(
        &mut self,
        now: Time,
        dial: Option<(u64, SocketAddr)>,
        actions: &mut Vec<Action>,
    ) -> bool {
        if self.link.deadline() <= now {
            self.link.tick(now);
        }
        let mut lost = false;
        while let Some(output) = self.link.take_output() {
            match output {
                Output::Dial => actions.extend(dial.map(|(number, address)| {
                    let dialer = Dialer::Transfer(number);
                    Action::Dial { dialer, address }
                })),
                Output::Send { socket, parts } => actions.push(Action::Send { socket, parts }),
                Output::Receive { socket, buffer, from } => {
                    actions.push(Action::ReceiveInto { socket, buffer, from });
                }
                Output::Close { socket } => actions.push(Action::Close { socket }),
                Output::Established { .. } => self.spoke = now,
                Output::Refused { refused, .. } => {
                    tracing::debug!(reason = refused.reason, "a snapshot's connection is refused")
                }
                Output::Lost(_) => lost = true,
            }
        }
        lost
    }
}

/// A connection that a sender has made.
pub(super) struct Caller {
    pub(super) number: u64,
    pub(super) line: Line,
    /// What is to be said on it.
    pub(super) outbox: Vec<Message>,
    /// It must have said by then what it brings, or be gone.
    pub(super) closes_at: Time,
}

/// All transfers of one shard.
pub(super) struct Transfers<D: Disk> {
    pub(super) outgoing: Vec<Outgoing<D>>,
    pub(super) callers: Vec<Caller>,
    pub(super) receives: Vec<Receive<D>>,
    pub(super) backups: Backups<D>,
    pub(super) send_rate: RateLimit,
    pub(super) receive_rate: RateLimit,
    /// Numbers transfers, callers and attempts of this start.
    next_number: u64,
    /// When one of them wants a turn.
    pub(super) wake_at: Time,
    /// When it is told next how far they are, if there were some the last time.
    tells_at: Option<Time>,
}

impl<D: Disk> Transfers<D> {
    pub(super) fn new(now: Time, settings: &ShardSettings) -> Transfers<D> {
        let rate = || {
            let (bytes, burst) = (snapshot::TRANSFER_BYTES_PER_SECOND, snapshot::TRANSFER_BURST_BYTES);
            RateLimit::new(bytes, burst, Duration::from_micros(now.0))
        };
        Transfers {
            outgoing: Vec::new(),
            callers: Vec::new(),
            receives: Vec::new(),
            backups: Backups::default(),
            send_rate: rate(),
            receive_rate: rate(),
            // A number means one transfer, also to a receiver that remembers an earlier start of ours.
            next_number: settings.boot << 32,
            wake_at: Time::NEVER,
            tells_at: None,
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn is_empty(&self) -> bool {
        let between_nodes = self.outgoing.is_empty() && self.callers.is_empty() && self.receives.is_empty();
        between_nodes && self.backups.is_empty()
    }

    fn line_of(&mut self, socket: SocketId) -> Option<&mut Line> {
        let outgoing = self.outgoing.iter_mut().map(|outgoing| &mut outgoing.line);
        let mut lines = outgoing.chain(self.callers.iter_mut().map(|caller| &mut caller.line));
        lines.find(|line| line.link.socket() == Some(socket))
    }

    /// Takes an input at a snapshot's socket; any other comes back.
    pub(super) fn take_input(&mut self, now: Time, input: Input, local: &Local) -> Option<Input> {
        if self.outgoing.is_empty() && self.callers.is_empty() {
            return Some(input);
        }
        let socket = match &input {
            Input::Connected { socket } | Input::Sent { socket, .. } | Input::Ended { socket, .. } => *socket,
            Input::PeerData { socket, .. } => *socket,
            Input::ClientAccepted { .. } | Input::PeerAccepted { .. } | Input::ClientData { .. } => {
                return Some(input);
            }
        };
        let Some(Line { link, .. }) = self.line_of(socket) else { return Some(input) };
        match input {
            Input::Connected { .. } => link.connected(now, socket, local),
            Input::Sent { .. } => link.sent(now, socket),
            Input::Ended { .. } => link.closed(now, socket),
            Input::PeerData { buffer, filled, .. } => link.received(now, socket, buffer, filled, local),
            other => return Some(other),
        }
        None
    }

    /// A sender has called and is welcome.
    pub(super) fn adopt(
        &mut self,
        now: Time,
        greeted: Greeted<SocketId>,
        local: &Local,
        actions: &mut Vec<Action>,
    ) {
        let caller = &greeted.hello.caller;
        let (node, peer) = (local.identity.node, PeerShard { node: caller.node, shard: caller.shard });
        if self.callers.len() >= CALLERS_MAX || node == peer.node {
            actions.push(Action::Close { socket: greeted.socket });
            return;
        }
        let number = self.next_number();
        let mut line = Line::new(now, node, peer, 0);
        line.link.adopt(now, greeted, local);
        self.callers.push(Caller { number, line, outbox: Vec::new(), closes_at: now + BEGIN_WITHIN });
    }

    /// The driver carried out a dial for transfer `number`. False: there is no such transfer any more.
    pub(super) fn dialed(&mut self, number: u64, socket: SocketId) -> bool {
        let outgoing = self.outgoing.iter_mut().find(|outgoing| outgoing.number == number);
        outgoing.map(|outgoing| outgoing.line.link.dialed(socket)).is_some()
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Moves every transfer on. Costs a comparison when there is none.
    pub(super) fn drive_transfers(&mut self) {
        self.transfers.wake_at = Time::NEVER;
        if self.transfers.is_empty() && self.transfers.tells_at.is_none() {
            return;
        }
        self.drive_backups();
        self.drive_sends();
        self.drive_callers();
        self.drive_receives();
        self.flush_callers();
        self.tell_transfers();
        let outgoing = self.transfers.outgoing.iter().map(|outgoing| outgoing.line.link.deadline());
        let callers = self.transfers.callers.iter().map(|caller| caller.line.link.deadline());
        let links = outgoing.chain(callers).min().unwrap_or(Time::NEVER);
        self.transfers.wake_at = self.transfers.wake_at.min(links);
    }

    /// Tells `status` how far they are, and at once when there are none any more.
    fn tell_transfers(&mut self) {
        let transfers = &self.transfers;
        if !transfers.is_empty() && transfers.tells_at.is_some_and(|at| self.now < at) {
            return;
        }
        let caller = |number| transfers.callers.iter().find(|caller| Some(caller.number) == number);
        let from = |receive: &Receive<D>| caller(receive.caller).map(|caller| caller.line.link.peer().node);
        let receives = transfers.receives.iter().map(|receive| receive.status(from(receive)));
        let all: Vec<_> = transfers.outgoing.iter().map(Outgoing::status).chain(receives).collect();
        self.directory.shard(self.shard).transfers.set(all);
        self.transfers.tells_at = (!self.transfers.is_empty()).then(|| self.now + TELL_INTERVAL);
    }

    /// The driver carried out a dial.
    pub(super) fn dialed_transfer(&mut self, number: u64, socket: SocketId) {
        if !self.transfers.dialed(number, socket) {
            self.actions.push(Action::Close { socket });
        }
    }

    /// The follower was offered a snapshot: its sender calls, and sends what the offer is about.
    pub(super) fn expect_snapshot(&mut self, replica: usize, from: NodeId, id: EntryId) {
        let group = self.replicas[replica].group;
        tracing::debug!(%group, %from, %id, "too far behind for the log: a snapshot is on its way");
    }
}
