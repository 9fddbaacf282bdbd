//! Connections that peers made to us, until their greeting is judged.

use std::sync::atomic::Ordering::Relaxed;

use net::handshake::{Identity, Kind, Refusal};
use net::link::{Incoming, IncomingOutput, PeerShard, Rejection};
use raft::Time;
use runtime::{BufferMut, SocketId};

use super::{LinkEvent, Links};
use crate::shard::io::Action;

/// Accepted connections that have not greeted yet, at most: more than all peers' shards at once need. Beyond
/// it new ones are closed; peers try again.
const INCOMING_MAX: usize = 256;

impl Links {
    /// A peer connected to us.
    pub(in crate::shard) fn accept(&mut self, now: Time, socket: SocketId, actions: &mut Vec<Action>) {
        if self.incoming.len() >= INCOMING_MAX {
            actions.push(Action::Close { socket });
            return;
        }
        self.incoming.push(Incoming::new(now, socket, &net::link::Settings::default()));
    }

    /// Bytes of a caller that has not been welcomed yet. False: `socket` is none of those.
    pub(in crate::shard) fn take_incoming(
        &mut self,
        socket: SocketId,
        buffer: BufferMut,
        filled: usize,
    ) -> Result<(), BufferMut> {
        let Some(incoming) = self.incoming.iter_mut().find(|incoming| incoming.socket() == socket) else {
            return Err(buffer);
        };
        incoming.received(buffer, filled, &self.local);
        Ok(())
    }

    /// Hands welcome callers to their links, turns others away.
    pub(in crate::shard) fn judge_incoming(
        &mut self,
        now: Time,
        actions: &mut Vec<Action>,
        events: &mut Vec<LinkEvent>,
    ) {
        let mut at = 0;
        while at < self.incoming.len() {
            let socket = self.incoming[at].socket();
            let mut done = false;
            while let Some(output) = self.incoming[at].take_output() {
                match output {
                    IncomingOutput::Receive { buffer, from } => {
                        actions.push(Action::ReceiveInto { socket, buffer, from })
                    }
                    IncomingOutput::SendThenClose { parts } => actions.push(Action::Send { socket, parts }),
                    IncomingOutput::Close => {
                        actions.push(Action::Close { socket });
                        done = true;
                    }
                    IncomingOutput::Rejected(Rejection::Refused { refusal, .. })
                        if !Refusal::is_news(refusal.code()) =>
                    {
                        tracing::debug!("turned a caller on the peer port away: {refusal}");
                    }
                    IncomingOutput::Rejected(rejection) => {
                        if matches!(rejection, Rejection::NotAHello(_) | Rejection::NoHello) {
                            self.directory.shard(self.shard).links_damaged.fetch_add(1, Relaxed);
                        }
                        if let Some(suppressed) = self.log_budget.allow(now) {
                            tracing::warn!(suppressed, "turned a caller on the peer port away: {rejection}");
                        }
                    }
                    IncomingOutput::Greeted(greeted) if greeted.hello.kind == Kind::Snapshot => {
                        done = true;
                        events.push(LinkEvent::Snapshot(Box::new(greeted)));
                    }
                    IncomingOutput::Greeted(greeted) => {
                        done = true;
                        match self.link_for(now, &greeted.hello.caller) {
                            Some(link) => {
                                let entry = &mut self.entries[link];
                                entry.link.as_mut().expect("not away").adopt(now, greeted, &self.local);
                                events.push(LinkEvent::Read { link });
                            }
                            None => actions.push(Action::Close { socket }), // not ready for it yet: it tries again
                        }
                    }
                }
            }
            if done {
                self.incoming.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// The link of a welcome caller: that of its shard, or one made for a stranger: who waits to be added, or was added
    /// while this node was away.
    fn link_for(&mut self, now: Time, caller: &Identity) -> Option<usize> {
        let peer = PeerShard { node: caller.node, shard: caller.shard };
        let known = self.entries.iter().position(|entry| entry.peer == peer && !entry.is_gone());
        let is_member = self.local.directory.node(caller.node).is_some();
        if known.is_some() || (is_member && caller.cluster_id.is_formed()) {
            return known;
        }
        self.for_caller(now, caller)
    }
}
