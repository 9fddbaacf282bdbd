//! The connections to the shards of other nodes, and what waits for each.

mod callers;
mod outgoing;
mod peers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use net::handshake::{ClusterId, Directory as Known, FORMAT_VERSION, Identity, Refusal};
use net::link::{Greeted, Incoming, Link, Local, LogBudget, Output, PeerShard};
use raft::{GroupId, NodeId, Time};
use runtime::{Buffer, BufferMut, SocketId};

use super::frames::{FrameBuilder, concerns};
use super::io::{Action, Dialer};
use super::liveness::Liveness;
use super::outbox::Outbox;
use super::request::{Encode, Outcome, Request, RequestHead};
use super::settings::ShardSettings;
use crate::directory::Directory;
use crate::wire::Beat;
use peers::Standing;

/// A link to one shard of a peer, with what waits for it.
struct Entry {
    peer: PeerShard,
    address: SocketAddr,
    standing: Standing,
    /// How many shards the peer has; 0 while that is not known.
    shards: u16,
    /// The next frame says that this shard lives.
    owes_beat: bool,
    /// Away while its frames are being read.
    link: Option<Box<Link<SocketId>>>,
    outbox: Outbox,
    /// Replicas that owe the peer something, each once.
    pending: Vec<usize>,
    noted: Vec<bool>,
    /// Entries read back from disk for this peer.
    loaded: VecDeque<(usize, Buffer)>,
    up: bool,
}

/// What the shard must know of a link.
pub(super) enum LinkEvent {
    /// Frames pass now. `reborn`: the peer's node was started anew since it was last connected.
    Up { link: usize, reborn: bool },
    /// Only forming passes now.
    Forming { node: NodeId, incarnation: u64 },
    /// A caller became this link's connection: what came behind its greeting is to be read.
    Read { link: usize },
    /// The link is down.
    Down { link: usize },
    /// A peer calls to send a snapshot.
    Snapshot(Box<Greeted<SocketId>>),
    /// A node of this cluster that knows more says that this one is no member any more.
    NoMember { reason: String },
}

/// All links of one shard.
pub(super) struct Links {
    directory: Arc<Directory>,
    shard: u16,
    pub(super) local: Local,
    entries: Vec<Entry>,
    incoming: Vec<Incoming<SocketId>>,
    /// Who greeted for forming.
    incarnations: Vec<(NodeId, u64)>,
    builder: FrameBuilder,
    pub(super) liveness: Liveness,
    /// What links say of this shard.
    beat: Beat,
    log_budget: LogBudget,
    seed: u64,
    /// Outboxes made so far.
    outboxes: u64,
}

impl Links {
    pub(super) fn new(settings: &ShardSettings) -> Links {
        let facts = settings.directory.nodes();
        let own =
            facts.iter().find(|facts| facts.node == settings.node).expect("this node's facts come first");
        let identity = Identity {
            cluster_id: ClusterId::UNFORMED,
            node: settings.node,
            incarnation: settings.incarnation,
            boot: settings.boot,
            shard: settings.shard,
            shard_count: settings.directory.placement.shards,
            group_count: settings.directory.placement.groups,
            format_version: FORMAT_VERSION,
            directory_version: 0,
            client_address: own.client_or_peer(),
        };
        Links {
            directory: Arc::clone(&settings.directory),
            shard: settings.shard,
            local: Local { identity, directory: Known::default() },
            entries: Vec::new(),
            incoming: Vec::new(),
            incarnations: Vec::new(),
            builder: FrameBuilder::default(),
            liveness: Liveness::new(super::settings::ELECTION_TIMEOUT_MIN),
            beat: Beat { boot: settings.boot, vouches: true, is_unfit: false },
            // A scan of the port or a foreign cluster must not fill the disk with log lines.
            log_budget: LogBudget::new(10, Duration::from_secs(10)),
            seed: settings.seed,
            outboxes: 0,
        }
    }

    /// The link that carries `group`'s messages to `node`.
    pub(super) fn for_group(&self, node: NodeId, group: GroupId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.peer.node == node && self.concerned(entry, group))
    }

    fn concerned(&self, entry: &Entry, group: GroupId) -> bool {
        entry.is_member()
            && concerns(group, self.shard, self.directory.placement.shards, entry.peer.shard, entry.shards)
    }

    /// Whether frames pass on `link`, and its peer's shard shows that it lives.
    pub(super) fn is_up(&self, link: usize) -> bool {
        self.entries[link].up && !self.liveness.is_lost(link)
    }

    /// Passes a request on. False when the link is down or full, or its peer silent: nothing was taken.
    pub(super) fn pass_on(&mut self, link: usize, head: RequestHead, body: &dyn Encode) -> bool {
        self.is_up(link) && self.entries[link].outbox.pass_on(head, body)
    }

    /// The request that an answer on `link` belongs to.
    pub(super) fn answered(&mut self, link: usize, sequence: u64) -> Option<RequestHead> {
        self.entries[link].outbox.answered(sequence)
    }

    /// Requests passed on whose answer is overdue.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<RequestHead> {
        self.entries.iter_mut().flat_map(|entry| entry.outbox.overdue(now)).collect()
    }

    /// Adds the answer to a request of another node; dropped when its link is down, for so is the request.
    pub(super) fn reply(&mut self, node: NodeId, shard: u16, sequence: u64, outcome: Outcome, bytes: &[u8]) {
        let peer = PeerShard { node, shard };
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.peer == peer && entry.up) {
            entry.outbox.reply(sequence, outcome, bytes);
        }
    }

    /// Which link `socket` belongs to.
    pub(super) fn of_socket(&self, socket: SocketId) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.link.as_ref().is_some_and(|link| link.socket() == Some(socket)))
    }

    /// Bytes came on a link.
    pub(super) fn received(
        &mut self,
        link: usize,
        now: Time,
        socket: SocketId,
        buffer: BufferMut,
        filled: usize,
    ) {
        let Links { entries, local, .. } = self;
        let link = entries[link].link.as_mut().expect("not away between frames");
        link.received(now, socket, buffer, filled, local);
    }

    /// The socket is connected (dialled by us).
    pub(super) fn connected(&mut self, now: Time, socket: SocketId) {
        if let Some(link) = self.of_socket(socket) {
            let Links { entries, local, .. } = self;
            entries[link].link.as_mut().expect("not away between frames").connected(now, socket, local);
        }
    }

    /// A send is done.
    pub(super) fn sent(&mut self, now: Time, socket: SocketId) {
        if let Some(link) = self.of_socket(socket) {
            self.link(link).sent(now, socket);
        } else if let Some(incoming) = self.incoming.iter_mut().find(|incoming| incoming.socket() == socket) {
            incoming.sent_or_closed();
        }
    }

    /// A connection is gone.
    pub(super) fn ended(&mut self, now: Time, socket: SocketId) {
        if let Some(link) = self.of_socket(socket) {
            self.link(link).closed(now, socket);
        } else if let Some(incoming) = self.incoming.iter_mut().find(|incoming| incoming.socket() == socket) {
            incoming.sent_or_closed();
        }
    }

    /// The driver carried out [`Action::Dial`].
    pub(super) fn dialed(&mut self, link: usize, socket: SocketId) {
        self.link(link).dialed(socket);
    }

    fn link(&mut self, link: usize) -> &mut Link<SocketId> {
        self.entries[link].link.as_mut().expect("not away between frames")
    }

    /// Takes a link out while its frames are read, so that what they say may use all others.
    pub(super) fn take_out(&mut self, link: usize) -> (PeerShard, Box<Link<SocketId>>) {
        let entry = &mut self.entries[link];
        (entry.peer, entry.link.take().expect("taken out once"))
    }

    pub(super) fn put_back(&mut self, number: usize, link: Box<Link<SocketId>>) {
        self.entries[number].link = Some(link);
    }

    /// A message of forming for `node`'s shard 0.
    pub(super) fn send_forming(&mut self, now: Time, node: NodeId, message: net::forming::Forming) {
        let peer = PeerShard { node, shard: 0 };
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.peer == peer) {
            entry.link.as_mut().expect("not away between frames").send_forming(now, message);
        }
    }

    /// Both ends are formed: greet again, as members.
    pub(super) fn regreet(&mut self, now: Time, node: NodeId) {
        for entry in self.entries.iter_mut().filter(|entry| entry.peer.node == node) {
            entry.link.as_mut().expect("not away between frames").regreet(now);
        }
    }

    pub(super) fn tick(&mut self, now: Time) {
        for entry in &mut self.entries {
            entry.link.as_mut().expect("not away between frames").tick(now);
        }
        for incoming in &mut self.incoming {
            incoming.tick(now);
        }
        self.drop_callers(now);
    }

    /// The links need no look before this.
    pub(super) fn deadline(&self) -> Time {
        let links = self.entries.iter().filter_map(|entry| entry.link.as_ref()).map(|link| link.deadline());
        links.chain(self.incoming.iter().map(Incoming::deadline)).min().unwrap_or(Time::NEVER)
    }

    /// Carries out what links and callers want done; what concerns the shard comes back.
    pub(super) fn carry_out(&mut self, now: Time, actions: &mut Vec<Action>) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        self.judge_incoming(now, actions, &mut events);
        for link in 0..self.entries.len() {
            while let Some(output) = self.entries[link].link.as_mut().and_then(|link| link.take_output()) {
                self.carry_out_one(link, now, output, actions, &mut events);
            }
        }
        events
    }

    fn carry_out_one(
        &mut self,
        link: usize,
        now: Time,
        output: Output<SocketId>,
        actions: &mut Vec<Action>,
        events: &mut Vec<LinkEvent>,
    ) {
        let entry = &mut self.entries[link];
        let peer = entry.peer;
        match output {
            Output::Dial => actions.push(Action::Dial { dialer: Dialer::Link(link), address: entry.address }),
            Output::Send { socket, parts } => actions.push(Action::Send { socket, parts }),
            Output::Receive { socket, buffer, from } => {
                actions.push(Action::ReceiveInto { socket, buffer, from })
            }
            Output::Close { socket } => actions.push(Action::Close { socket }),
            Output::Established { peer: identity, forming: true } => {
                self.incarnations.retain(|(known, _)| *known != identity.node);
                self.incarnations.push((identity.node, identity.incarnation));
                events.push(LinkEvent::Forming { node: identity.node, incarnation: identity.incarnation });
            }
            Output::Established { peer: identity, forming: false } => {
                tracing::info!(node = %peer.node, shard = peer.shard, "peer is connected");
                self.directory.learn_client(identity.node, &identity.client_address);
                entry.up = true;
                self.greeted(link, now, &identity);
                self.directory.set_reachable(peer.node, true);
                let reborn = self.liveness.connected(link, now, identity.boot);
                events.push(LinkEvent::Up { link, reborn });
            }
            Output::Refused { refused, by_us } => {
                let who = if by_us { "refusing the peer" } else { "the peer refuses us" };
                if Refusal::is_news(refused.code) {
                    tracing::warn!(node = %peer.node, "{who}: {}", refused.reason);
                } else {
                    tracing::debug!(node = %peer.node, "{who}: {}", refused.reason);
                }
                if !by_us && refused.ends_membership(&self.local.identity) {
                    events.push(LinkEvent::NoMember { reason: refused.reason });
                }
            }
            Output::Lost(lost) => {
                if lost.is_garbage() {
                    self.directory.shard(self.shard).links_damaged.fetch_add(1, Relaxed);
                }
                tracing::info!(node = %peer.node, shard = peer.shard, "peer is gone: {lost}");
                (entry.up, entry.owes_beat) = (false, false);
                self.directory.set_reachable(peer.node, false);
                entry.loaded.clear();
                if peer.shard == 0 {
                    self.incarnations.retain(|(known, _)| *known != peer.node);
                }
                events.push(LinkEvent::Down { link });
            }
        }
    }

    /// The requests in doubt after `link` went down, with the replicas that its peer took part in.
    pub(super) fn lost(&mut self, link: usize) -> (NodeId, Vec<(RequestHead, Option<Request>)>) {
        let entry = &mut self.entries[link];
        for replica in entry.pending.drain(..) {
            entry.noted[replica] = false;
        }
        (entry.peer.node, entry.outbox.lost())
    }

    /// The peer of `link` is silent: whoever waits for its answers waits no more.
    pub(super) fn give_up(&mut self, link: usize) -> Vec<(RequestHead, Option<Request>)> {
        self.entries[link].outbox.give_up()
    }

    /// The incarnation a node greeted with, while it is connected.
    pub(super) fn incarnation_of(&self, node: NodeId) -> Option<u64> {
        self.incarnations.iter().find(|(known, _)| *known == node).map(|(_, incarnation)| *incarnation)
    }

    /// The peer of `link`.
    pub(super) fn peer(&self, link: usize) -> PeerShard {
        self.entries[link].peer
    }

    /// Where the peer of `link` listens.
    pub(super) fn address(&self, link: usize) -> SocketAddr {
        self.entries[link].address
    }

    /// Whether `link` carries the messages of `group`.
    pub(super) fn carries(&self, link: usize, group: GroupId) -> bool {
        self.concerned(&self.entries[link], group)
    }
}
