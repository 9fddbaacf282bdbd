//! Whom a shard has links to: the members, who is to become one, and who waits to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use net::handshake::Identity;
use net::link::{Link, PeerShard};
use raft::{NodeId, Time};

use super::super::outbox::Outbox;
use super::{Entry, Links};

/// Strangers that wait to be added, at most: as many as a cluster can have members.
const CALLERS_MAX: usize = 8;

/// The place of a link that is over is another's after this: by then nothing is on its way to it any more.
const REUSE_AFTER: Duration = Duration::from_secs(10);

/// What a link's peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A member, or on the list that the cluster is to form with.
    Member,
    /// To become a member: added, and not yet met.
    Awaited,
    /// It called, unformed and unknown, and waits to be added.
    Caller,
    /// It greeted as a member and knows more than this node: it joined while this node was away. From such a one alone
    /// this node may learn who the members are now.
    Unheard,
    /// None of these any more.
    Gone { since: Time },
}

/// An outbox sends fewer requests than this power of two in one start.
const OUTBOX_SHIFT: u32 = 40;

impl Links {
    /// Makes the link to a shard of a member (one with `shards` shards, 0: not known yet), or says so of the link there
    /// is. `address` is that shard's own.
    pub(in crate::shard) fn connect(&mut self, now: Time, peer: PeerShard, shards: u16, address: SocketAddr) {
        self.make(now, peer, shards, address, Standing::Member);
    }

    /// Calls a node that was added and that nobody has met yet.
    pub(in crate::shard) fn await_node(&mut self, now: Time, node: NodeId, address: SocketAddr) {
        self.make(now, PeerShard { node, shard: 0 }, 0, address, Standing::Awaited);
    }

    /// The link for a stranger's call; `None`: there are too many of them.
    pub(super) fn for_caller(&mut self, now: Time, caller: &Identity) -> Option<usize> {
        let peer = PeerShard { node: caller.node, shard: caller.shard };
        let (standing, shards) = match caller.cluster_id.is_formed() {
            true => (Standing::Unheard, caller.shard_count),
            false => (Standing::Caller, 0),
        };
        let strangers = self.entries.iter().filter(|entry| entry.is_stranger());
        let mut nodes: Vec<NodeId> = strangers.map(|entry| entry.peer.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let has_room = nodes.len() < CALLERS_MAX || nodes.contains(&peer.node);
        if peer.node == self.directory.node || (standing == Standing::Caller && peer.shard != 0) || !has_room
        {
            return None;
        }
        // Nothing is dialled there: it calls.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Some(self.make(now, peer, shards, nowhere, standing))
    }

    /// The peer of `link` greeted as a member. If it is one that this node still waits for, it joined while this node was
    /// away, and may lead those that tell of it.
    pub(super) fn greeted(&mut self, link: usize, now: Time, peer: &Identity) {
        let entry = &mut self.entries[link];
        if entry.standing == Standing::Awaited {
            let address = entry.address;
            entry.stand(now, peer.shard_count, address, Standing::Unheard);
        }
    }

    fn make(
        &mut self,
        now: Time,
        peer: PeerShard,
        shards: u16,
        address: SocketAddr,
        standing: Standing,
    ) -> usize {
        if let Some(at) = self.entries.iter().position(|entry| entry.peer == peer) {
            self.entries[at].stand(now, shards, address, standing);
            return at;
        }
        let entry = self.new_entry(now, peer, shards, address, standing);
        match self.entries.iter().position(|entry| entry.is_free(now)) {
            Some(at) => {
                self.liveness.forget(at);
                self.entries[at] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        }
    }

    fn new_entry(
        &mut self,
        now: Time,
        peer: PeerShard,
        shards: u16,
        address: SocketAddr,
        standing: Standing,
    ) -> Entry {
        let seed = self.seed ^ (u64::from(peer.node.0) << 32) ^ u64::from(peer.shard);
        let settings = net::link::Settings { seed, ..net::link::Settings::default() };
        let mut link = Link::new(now, self.directory.node, peer, settings);
        if matches!(standing, Standing::Caller | Standing::Unheard) {
            link.stop(now);
        }
        // From another place at every start, by its seed, and in every outbox of a start.
        self.outboxes += 1;
        let start = self.seed >> 1;
        let outbox = Outbox::counting_from(start ^ (self.outboxes << OUTBOX_SHIFT));
        Entry {
            peer,
            address,
            standing,
            shards,
            owes_beat: false,
            link: Some(Box::new(link)),
            outbox,
            pending: Vec::new(),
            noted: Vec::new(),
            loaded: VecDeque::new(),
            up: false,
        }
    }

    /// The members changed: closes what is left of links to others, and connections to other disks of members.
    /// `is_wanted` says whom besides members this shard goes on calling.
    pub(in crate::shard) fn retire(&mut self, now: Time, is_wanted: impl Fn(NodeId) -> bool) {
        let Links { entries, local, liveness, .. } = self;
        for (number, entry) in entries.iter_mut().enumerate() {
            let link = entry.link.as_mut().expect("not away between frames");
            match (entry.standing, local.directory.node(entry.peer.node)) {
                (Standing::Gone { .. }, _) => {}
                (_, Some(known)) => link.keep_only(now, known.incarnation),
                (Standing::Caller, None) => {}
                (Standing::Awaited | Standing::Unheard, None) if is_wanted(entry.peer.node) => {}
                // One that was unheard of and still is: it calls again if it knows yet more.
                (Standing::Member | Standing::Awaited | Standing::Unheard, None) => {
                    link.stop(now);
                    liveness.forget(number);
                    entry.standing = Standing::Gone { since: now };
                }
            }
        }
    }

    /// Strangers that have hung up are forgotten.
    pub(super) fn drop_callers(&mut self, now: Time) {
        for entry in &mut self.entries {
            let connected = entry.link.as_ref().is_some_and(|link| link.socket().is_some());
            if entry.is_stranger() && !connected {
                entry.standing = Standing::Gone { since: now };
            }
        }
    }
}

impl Entry {
    /// The peer of this link is something else to us than before, or elsewhere.
    fn stand(&mut self, now: Time, shards: u16, address: SocketAddr, standing: Standing) {
        let link = self.link.as_mut().expect("not away between frames");
        match (self.standing, standing) {
            // More than a stranger already.
            (Standing::Member, Standing::Caller | Standing::Unheard) => return,
            (Standing::Awaited, Standing::Caller) | (Standing::Unheard, Standing::Awaited) => return,
            (_, Standing::Caller) => {}
            (_, Standing::Unheard) => self.shards = shards,
            (Standing::Gone { .. } | Standing::Caller | Standing::Unheard, _) => link.start(now),
            _ => {}
        }
        if !matches!(standing, Standing::Caller | Standing::Unheard) {
            (self.address, self.shards) = (address, shards);
        }
        self.standing = standing;
    }

    /// Whether the link carries groups.
    pub(super) fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member | Standing::Unheard) && self.shards > 0
    }

    fn is_stranger(&self) -> bool {
        matches!(self.standing, Standing::Caller | Standing::Unheard)
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.standing, Standing::Gone { .. })
    }

    /// Whether the place of this link may be another's.
    fn is_free(&self, now: Time) -> bool {
        matches!(self.standing, Standing::Gone { since } if now.saturating_sub(since) >= REUSE_AFTER)
    }
}
