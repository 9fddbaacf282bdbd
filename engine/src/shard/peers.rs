//! What peers send: taken in frame by frame.

use net::link::Received;
use raft::NodeId;
use runtime::{BufferMut, Disk, SocketId};

use super::Shard;
use super::dispatch::Requests;
use super::frames::open_frame;
use super::io::{Action, Input};
use super::links::LinkEvent;
use super::request::RequestBody;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Takes in what happened at the sockets. Clients' bytes are kept for later in the turn.
    pub(super) fn take_inputs(&mut self, inputs: &mut Vec<Input>) {
        for input in inputs.drain(..) {
            let Some(input) = self.transfers.take_input(self.now, input, &self.links.local) else { continue };
            match input {
                Input::ClientAccepted { socket, address, local_address } => {
                    self.clients.accept(socket, [address, local_address], &mut self.actions);
                }
                Input::PeerAccepted { socket } => self.links.accept(self.now, socket, &mut self.actions),
                Input::Connected { socket } => self.links.connected(self.now, socket),
                Input::ClientData { socket, data } => self.clients.take_data(socket, data),
                Input::PeerData { socket, buffer, filled } => self.take_peer_data(socket, buffer, filled),
                Input::Sent { socket, parts } if self.clients.has(socket) => self.clients.sent(socket, parts),
                Input::Sent { socket, .. } => self.links.sent(self.now, socket),
                Input::Ended { socket, orderly } if self.clients.has(socket) => {
                    self.clients.end(socket, orderly, &mut self.actions);
                }
                Input::Ended { socket, .. } => self.links.ended(self.now, socket),
            }
        }
        self.follow_links();
    }

    /// Carries out what the links want and draws the consequences.
    pub(super) fn follow_links(&mut self) {
        self.form();
        loop {
            let events = self.links.carry_out(self.now, &mut self.actions);
            if events.is_empty() {
                return;
            }
            for event in events {
                match event {
                    LinkEvent::Up { link, reborn } => {
                        self.link_is_up(link);
                        if reborn {
                            self.peer_is_lost(link);
                        }
                    }
                    LinkEvent::Down { link } => self.link_is_down(link),
                    LinkEvent::Read { link } => self.read_link(link),
                    LinkEvent::Snapshot(caller) => {
                        self.transfers.adopt(self.now, *caller, &self.links.local, &mut self.actions);
                    }
                    LinkEvent::NoMember { reason } => self.end_membership(reason),
                    LinkEvent::Forming { node, incarnation } => {
                        if let Some(former) = &mut self.former {
                            former.connected(self.now, node, incarnation);
                        }
                    }
                }
            }
            self.form();
        }
    }

    fn link_is_up(&mut self, link: usize) {
        for number in 0..self.replicas.len() {
            if self.links.carries(link, self.replicas[number].group) {
                self.mark_dirty(number);
            }
        }
    }

    fn link_is_down(&mut self, link: usize) {
        let (node, lost) = self.links.lost(link);
        self.take_lost(lost);
        for number in 0..self.replicas.len() {
            if self.links.carries(link, self.replicas[number].group) {
                self.replicas[number].raft.unreachable(node);
                self.mark_dirty(number);
            }
        }
        if let Some(former) = self.former.as_mut().filter(|_| self.links.peer(link).shard == 0) {
            former.disconnected(node);
        }
    }

    /// The shard at the other end of a link is silent, or does not vouch for itself, or its node was started anew: what
    /// rests on it must wake.
    pub(super) fn peer_is_lost(&mut self, link: usize) {
        let node = self.links.peer(link).node;
        tracing::info!(%node, link, "a peer's shard is lost");
        // A group's route leads to its new leader once nothing is waited for along the old one. Its election has begun.
        let in_doubt = self.links.give_up(link);
        self.take_lost(in_doubt);
        for number in 0..self.replicas.len() {
            if self.links.carries(link, self.replicas[number].group) {
                self.replicas[number].raft.peer_lost(self.now, node);
                self.mark_dirty(number);
            }
        }
    }

    fn take_peer_data(&mut self, socket: SocketId, buffer: BufferMut, filled: usize) {
        let Some(number) = self.links.of_socket(socket) else {
            // A caller that has not greeted yet, or a connection that is no more.
            let _stale = self.links.take_incoming(socket, buffer, filled);
            return;
        };
        self.links.received(number, self.now, socket, buffer, filled);
        self.read_link(number);
    }

    /// Reads everything that has come in whole on a link.
    fn read_link(&mut self, number: usize) {
        let (peer, mut link) = self.links.take_out(number);
        let mut sound = true;
        while let Some(received) = link.next(self.now) {
            match received {
                Received::Frame(frame) => {
                    sound = self.take_frame(number, peer.node, peer.shard, frame.body, frame.tail)
                }
                Received::Forming(message) => self.hear(peer.node, message),
            }
            if !sound {
                break;
            }
        }
        if !sound {
            tracing::warn!(node = %peer.node, "a frame contradicts itself: closing the link");
            if let Some(socket) = link.socket() {
                self.actions.push(Action::Close { socket });
                link.closed(self.now, socket);
            }
        }
        self.links.put_back(number, link);
    }

    fn hear(&mut self, node: NodeId, message: net::forming::Forming) {
        let known = self.links.incarnation_of(node);
        if let (Some(former), Some(incarnation)) = (&mut self.former, known) {
            former.heard(self.now, node, incarnation, message);
        }
    }

    /// Steps every message, answers our own requests, and offers the peer's to the groups led here. False: the
    /// frame contradicts itself.
    fn take_frame(&mut self, link: usize, node: NodeId, shard: u16, body: &[u8], tail: &[u8]) -> bool {
        let Some(parcel) = open_frame(body, tail) else { return false };
        let was_lost = self.links.liveness.is_lost(link);
        if let Some(beat) = parcel.beat
            && self.links.liveness.heard(link, self.now, beat)
        {
            self.peer_is_lost(link);
        }
        let is_lost = self.links.liveness.is_lost(link);
        if was_lost && !is_lost {
            self.link_is_up(link); // requests were held
        }
        for (message, range, configs) in parcel.messages {
            let Some(number) = self.local(message.group) else { continue };
            self.mark_dirty(number);
            let replica = &mut self.replicas[number];
            // Over the bound of un-synced batches a follower says so and the leader sends again: it never
            // stops reading, for beats and votes stand behind the entries.
            let room = self.log.has_room() && self.log.has_room_for_entries();
            if range.is_empty() || room {
                replica.step(self.now, &mut self.log, node, message, &tail[range], &configs);
            } else {
                replica.raft.refuse(self.now, node, message);
            }
            if is_lost && replica.raft.is_quiesced() {
                replica.raft.peer_lost(self.now, node); // nobody will say so later
            }
            // At once: what a later message brings stands in the log behind a new leader's no-op.
            self.take_events(number);
        }
        for (sequence, outcome, range) in parcel.replies {
            self.take_reply(link, sequence, outcome, &tail[range]);
        }
        let mut requests = Requests::default();
        for (call, range) in parcel.calls {
            let head = Self::proxied_head(call, node, shard, self.now);
            requests.push(head, RequestBody::Bytes(&tail[range]));
        }
        self.dispatch(&requests);
        true
    }
}
