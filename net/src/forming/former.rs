//! The forming protocol as a state machine.
//!
//! Why at most one cluster forms, though nodes crash, answers are late, and a founder may come back with an
//! empty disk and a new incarnation: a founder needs an "unformed" from every listed node within one round of
//! questions. A node that gave it remembers to which incarnation of the founder, under a number (the promise)
//! that no later start of the node repeats, and takes a record from the founder only under the newest one; so
//! a record from before the founder lost its disk comes too late. Records of others are taken only as answers
//! to questions asked after the promise. So no record reaches a node's disk whose founder some listed node
//! has forgotten, unless its owner holds it durably and says so, and then no new founder gets its answers.
//!
//! A node that joins later changes nothing about that: it takes a record over only in that last way, from a member
//! that holds it durably, and only once that member's roster lists it; the roster is what group 0 has committed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft::{NodeId, Time};

use super::{Birth, Cluster, Forming, Member, Notice, Output, Record, Roster, State};
use crate::handshake::ClusterId;

/// Every connected peer is asked this often.
pub const ROUND: Duration = Duration::from_millis(500);

enum Stage {
    Unformed,
    /// The cluster's file is on its way to the disk; nothing is said about it before it is there.
    Syncing(Cluster),
    Formed(Cluster),
}

#[derive(Default)]
struct Peer {
    incarnation: u64,
    /// The current question is open.
    asked: bool,
    heard: Option<Heard>,
    /// It said that it is unformed, and with what it was born; kept while it is connected and says nothing else.
    waits: Option<Birth>,
    noticed: Option<Notice>,
}

/// The answer to the current question.
enum Heard {
    Unformed { birth: Birth, promise: u64 },
    Formed,
}

/// The protocol of one node, before its cluster has formed and after. Inputs are what happened; outputs are
/// pulled with [`Former::take_output`].
pub struct Former {
    birth: Birth,
    /// The name of the cluster if this node founds it.
    candidate: ClusterId,
    stage: Stage,
    peers: BTreeMap<NodeId, Peer>,
    /// Counts questions and promises: the boot number above, a count below.
    count: u64,
    question: u64,
    /// The newest promise, and the founder's incarnation it was given to.
    promise: u64,
    promised_to: u64,
    round_at: Time,
    outputs: VecDeque<Output>,
}

impl Former {
    /// The protocol after a start. `cluster` is what the cluster's file holds, if there is one; `boot` the
    /// durable number of this start; `candidate` a fresh random name, used if this node is the founder.
    ///
    /// # Panics
    /// If `birth` is not possible or `candidate` is no name: both are checked where they come from.
    pub fn new(now: Time, birth: Birth, boot: u64, cluster: Option<Cluster>, candidate: ClusterId) -> Former {
        assert!(birth.is_possible(), "a birth is checked before it is written");
        assert!(candidate.is_formed(), "a cluster's name is not zero");
        let mut former = Former {
            birth,
            candidate,
            stage: cluster.map_or(Stage::Unformed, Stage::Formed),
            peers: BTreeMap::new(),
            count: boot << 32,
            question: 0,
            promise: 0,
            promised_to: 0,
            round_at: now,
            outputs: VecDeque::new(),
        };
        former.try_to_found();
        former
    }

    /// A connection for forming is established; the peer's incarnation is from its greeting.
    pub fn connected(&mut self, now: Time, node: NodeId, incarnation: u64) {
        self.peers.insert(node, Peer { incarnation, ..Peer::default() });
        if self.question == 0 {
            self.ask_all(now);
        } else {
            self.ask(node);
        }
    }

    /// The connection to that node is gone.
    pub fn disconnected(&mut self, node: NodeId) {
        self.peers.remove(&node);
    }

    /// A message came on the connection to that node; `incarnation` is from the connection's greeting.
    pub fn heard(&mut self, now: Time, from: NodeId, incarnation: u64, message: Forming) {
        match message {
            Forming::StateQuery { question } => self.answer(now, from, incarnation, question),
            Forming::State { question, state } => {
                if question == self.question {
                    self.answered(from, incarnation, state);
                }
            }
            Forming::Form { promise, record } => self.form(from, incarnation, promise, record),
            Forming::FormAck { cluster_id } => {
                if self.record().is_some_and(|record| record.cluster_id == cluster_id) {
                    self.peer_is_formed(from);
                }
            }
        }
    }

    /// The record of the last [`Output::Sync`] is on disk.
    ///
    /// # Panics
    /// If nothing was to be synced.
    pub fn synced(&mut self, now: Time) {
        let Stage::Syncing(cluster) = std::mem::replace(&mut self.stage, Stage::Unformed) else {
            panic!("a sync finished that was not asked for");
        };
        let record = &cluster.record;
        for (&node, peer) in &self.peers {
            let message = match &peer.heard {
                Some(Heard::Unformed { promise, .. }) if *promise != 0 => {
                    Forming::Form { promise: *promise, record: record.clone() }
                }
                _ => Forming::FormAck { cluster_id: record.cluster_id },
            };
            self.outputs.push_back(Output::Send { to: node, message });
        }
        let formed = |peer: &Peer| matches!(peer.heard, Some(Heard::Formed));
        let known: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| formed(peer)).map(|(node, _)| *node).collect();
        self.stage = Stage::Formed(cluster.clone());
        self.outputs.push_back(Output::Formed(cluster));
        self.outputs.extend(known.into_iter().map(Output::Reconnect));
        self.round_at = now + ROUND;
    }

    /// The members changed since this node came in: what unformed nodes are told from now on. An older roster than
    /// the one it has changes nothing.
    ///
    /// # Panics
    /// If this node is not formed, or the roster is not possible.
    pub fn update(&mut self, roster: Roster) {
        assert!(roster.is_possible(), "the directory's rules keep it so");
        let Stage::Formed(cluster) = &mut self.stage else { panic!("only members learn of members") };
        if roster.version >= cluster.roster.version {
            cluster.roster = roster;
        }
    }

    /// Who is connected, unformed, and no member: what each was born with, by ascending id. Bounded by the
    /// connections for forming that there are.
    pub fn joiners(&self) -> impl Iterator<Item = &Birth> {
        let roster = match &self.stage {
            Stage::Formed(cluster) => Some(&cluster.roster),
            Stage::Unformed | Stage::Syncing(_) => None,
        };
        let births = self.peers.values().filter_map(|peer| peer.waits.as_ref());
        births.filter(move |birth| roster.is_some_and(|roster| !roster.lists(birth)))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if now >= self.deadline() {
            self.ask_all(now);
        }
    }

    /// [`Former::tick`] does nothing before.
    pub fn deadline(&self) -> Time {
        if self.peers.is_empty() { Time::NEVER } else { self.round_at }
    }

    /// What to do next; `None`: nothing.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The record on this node's disk.
    pub fn record(&self) -> Option<&Record> {
        self.cluster().map(|cluster| &cluster.record)
    }

    /// The record on this node's disk, with the newest roster it has.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.stage {
            Stage::Formed(cluster) => Some(cluster),
            Stage::Unformed | Stage::Syncing(_) => None,
        }
    }

    /// A number that no question and no promise of this node had before: not in this start, as it counts; not
    /// in an earlier one, as the boot number is in it; not on another disk of this node, whose boots start at
    /// one again, as the incarnation is in it, and that is random. Never zero.
    fn number(&mut self) -> u64 {
        self.count += 1;
        match self.count ^ self.birth.incarnation {
            0 => self.number(),
            number => number,
        }
    }

    /// Starts a round: what was heard in the last one no longer counts.
    fn ask_all(&mut self, now: Time) {
        self.question = self.number();
        self.round_at = now + ROUND;
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.ask(node));
    }

    fn ask(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.asked, peer.heard) = (true, None);
            let message = Forming::StateQuery { question: self.question };
            self.outputs.push_back(Output::Send { to: node, message });
        }
    }

    fn answer(&mut self, now: Time, from: NodeId, incarnation: u64, question: u64) {
        let state = match &self.stage {
            // It is asked again soon, and knows by then.
            Stage::Syncing(_) => return,
            Stage::Formed(cluster) => State::Formed { cluster: cluster.clone() },
            Stage::Unformed => {
                let to_founder = from == self.birth.founder();
                if to_founder && self.promised_to != incarnation {
                    self.promise = self.number();
                    self.promised_to = incarnation;
                    // Answers to older questions may be from before the founder lost its disk.
                    self.ask_all(now);
                }
                let promise = if to_founder { self.promise } else { 0 };
                State::Unformed { birth: self.birth.clone(), promise }
            }
        };
        let message = Forming::State { question, state };
        self.outputs.push_back(Output::Send { to: from, message });
    }

    /// The current question was answered.
    fn answered(&mut self, from: NodeId, incarnation: u64, state: State) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.asked || peer.incarnation != incarnation {
            return;
        }
        peer.asked = false;
        match state {
            State::Unformed { birth, promise } => {
                if birth.node != from || birth.incarnation != incarnation {
                    return;
                }
                peer.waits = Some(birth.clone());
                if let Stage::Formed(Cluster { record, .. }) = &self.stage {
                    if promise != 0 && founds(record, &birth) {
                        let message = Forming::Form { promise, record: record.clone() };
                        self.outputs.push_back(Output::Send { to: from, message });
                    }
                } else if birth.agrees_with(&self.birth) {
                    peer.heard = Some(Heard::Unformed { birth, promise });
                    self.try_to_found();
                } else {
                    self.notice(from, Notice::Disagreement(from));
                }
            }
            State::Formed { cluster } => {
                peer.waits = None;
                self.met_formed(from, cluster);
            }
        }
    }

    fn met_formed(&mut self, from: NodeId, theirs: Cluster) {
        let (node, cluster_id) = (self.birth.node, theirs.record.cluster_id);
        match &self.stage {
            Stage::Formed(ours) if ours.record.cluster_id == cluster_id => self.peer_is_formed(from),
            Stage::Formed(ours) => {
                let ours = ours.record.cluster_id;
                self.notice(from, Notice::OtherCluster { node: from, ours, theirs: cluster_id });
            }
            Stage::Syncing(ours) => {
                if ours.record.cluster_id == cluster_id {
                    self.peer_is_formed(from);
                }
            }
            Stage::Unformed if theirs.record.group_count != self.birth.group_count => {
                let (ours, theirs) = (self.birth.group_count, theirs.record.group_count);
                self.notice(from, Notice::GroupCount { cluster_id, ours, theirs });
            }
            Stage::Unformed if theirs.roster.lists(&self.birth) => {
                self.peer_is_formed(from);
                self.sync(theirs);
            }
            Stage::Unformed if theirs.roster.member(node).is_some() => {
                self.notice(from, Notice::LostDisk { cluster_id, node });
            }
            Stage::Unformed => self.notice(from, Notice::NotMember { cluster_id, node }),
        }
    }

    /// The founder sent the record.
    fn form(&mut self, from: NodeId, incarnation: u64, promise: u64, record: Record) {
        match &self.stage {
            Stage::Formed(ours) if ours.record.cluster_id == record.cluster_id => {
                let message = Forming::FormAck { cluster_id: record.cluster_id };
                self.outputs.push_back(Output::Send { to: from, message });
                self.peer_is_formed(from);
            }
            Stage::Formed(_) | Stage::Syncing(_) => {}
            Stage::Unformed => {
                let founded_by = record.member(from).map(|founder| founder.incarnation);
                let promised = from == self.birth.founder()
                    && promise == self.promise
                    && incarnation == self.promised_to
                    && founded_by == Some(incarnation);
                if promised && promise != 0 && founds(&record, &self.birth) {
                    self.peer_is_formed(from);
                    self.sync(Cluster::as_formed(record));
                }
            }
        }
    }

    /// The founder's step: everybody listed is unformed, agrees, and said so in this round.
    fn try_to_found(&mut self) {
        if !matches!(self.stage, Stage::Unformed) || self.birth.founder() != self.birth.node {
            return;
        }
        let mut members = Vec::with_capacity(self.birth.list.len());
        for (node, peer_address) in &self.birth.list {
            let birth = if *node == self.birth.node {
                &self.birth
            } else {
                match self.peers.get(node).and_then(|peer| peer.heard.as_ref()) {
                    Some(Heard::Unformed { birth, .. }) => birth,
                    Some(Heard::Formed) | None => return,
                }
            };
            members.push(Member {
                node: *node,
                incarnation: birth.incarnation,
                shard_count: birth.shard_count,
                peer: peer_address.clone(),
                client: birth.client.clone(),
            });
        }
        let record = Record { cluster_id: self.candidate, group_count: self.birth.group_count, members };
        self.sync(Cluster::as_formed(record));
    }

    fn sync(&mut self, cluster: Cluster) {
        self.stage = Stage::Syncing(cluster.clone());
        self.outputs.push_back(Output::Sync(cluster));
    }

    /// That node has this node's record on its disk. When this one has it too, they greet again as members.
    fn peer_is_formed(&mut self, node: NodeId) {
        let formed = matches!(self.stage, Stage::Formed(_));
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = Some(Heard::Formed);
            peer.waits = None;
            if formed {
                self.outputs.push_back(Output::Reconnect(node));
            }
        }
    }

    fn notice(&mut self, about: NodeId, notice: Notice) {
        if let Some(peer) = self.peers.get_mut(&about)
            && peer.noticed.as_ref() != Some(&notice)
        {
            peer.noticed = Some(notice.clone());
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}

/// Whether the node born so is one of those the cluster formed with: the same id, disk and shards.
fn founds(record: &Record, birth: &Birth) -> bool {
    record.member(birth.node).is_some_and(|member| {
        member.incarnation == birth.incarnation && member.shard_count == birth.shard_count
    })
}
