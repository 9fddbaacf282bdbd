//! What the simulator sees of a shard beside its groups, for its checks.

use raft::{Body, GroupId, Message, NodeId, Term};
use runtime::Disk;
use snapshot::{Limits, Manifest, Use};

use super::Shard;
use super::replica::Replica;
use crate::state_machine::StateMachine;

/// A message of a replica, and what it binds it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The group.
    pub group: GroupId,
    /// To whom.
    pub to: NodeId,
    /// The term that the message names.
    pub term: Term,
    /// What must not be forgotten in a crash.
    pub promise: Promise,
}

/// The snapshot files that a group's records in the log name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotLook {
    /// The group.
    pub group: GroupId,
    /// Files of the newest published one.
    pub published: Vec<String>,
    /// Files of those whose records are on their way to the disk.
    pub pending: Vec<String>,
}

/// A queue and its named limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What is counted.
    pub what: &'static str,
    /// How much there is, in the largest queue of its kind.
    pub is: u64,
    /// How much there may be.
    pub max: u64,
}

impl Bound {
    pub(super) fn new(what: &'static str, is: usize, max: usize) -> Bound {
        Bound { what, is: is as u64, max: max as u64 }
    }
}

/// What a message promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The vote of the term for the receiver.
    Vote,
    /// The vote of the term for oneself.
    OwnVote,
    /// To be in the term, as its leader or behind it.
    Term,
    /// Nothing: a question, a refusal, a hint, an answer to a beat (the voters of the term remember it).
    Nothing,
}

impl Said {
    pub(super) fn new(to: NodeId, message: &Message) -> Said {
        let promise = match message.body {
            Body::Vote { .. } => Promise::OwnVote,
            Body::VoteReply { granted: true } => Promise::Vote,
            Body::Append { .. } | Body::AppendAck { .. } | Body::Beat { .. } => Promise::Term,
            _ => Promise::Nothing,
        };
        Said { group: message.group, to, term: message.term, promise }
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// What its replicas said since this was last asked, in order; appends are not among it.
    pub(crate) fn take_said(&mut self) -> Vec<Said> {
        self.links.take_said()
    }

    /// Whether a snapshot's record is on its way to the disk.
    pub(crate) fn has_pending_records(&self) -> bool {
        self.saves.pending().next().is_some()
    }

    /// Which files the records of each group name.
    pub(crate) fn snapshots(&self) -> Vec<SnapshotLook> {
        let files =
            |manifest: &Manifest| manifest.runs.iter().map(|run| run.name.file_name()).collect::<Vec<_>>();
        let look = |group: GroupId| SnapshotLook {
            group,
            published: self.saves.store.manifest(group).map_or_else(Vec::new, |manifest| files(&manifest)),
            pending: self
                .saves
                .pending()
                .filter(|manifest| manifest.group == group)
                .flat_map(files)
                .collect(),
        };
        self.replicas.iter().map(|replica| look(replica.group)).collect()
    }

    /// The queues that have limits, and how full they are.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![
            Bound::new("snapshots received", self.transfers.receives.len(), Limits::default().receives_max),
            Bound::new("snapshots sent", self.transfers.outgoing.len(), Limits::default().sends_max),
            Bound::new("callers with snapshots", self.transfers.callers.len(), super::transfers::CALLERS_MAX),
        ];
        let (held, reads) = self.transfers.backups.len();
        bounds.push(Bound::new("groups held for backups", held, super::transfers::GROUPS_HELD_MAX));
        bounds.push(Bound::new("reads for backups", reads, super::transfers::READS_WAITING_MAX));
        self.clients.bounds(&mut bounds);
        self.links.bounds(&mut bounds);
        let held = |replica: &Replica<S>| replica.route.held();
        let (requests, bytes) = self
            .replicas
            .iter()
            .map(held)
            .fold((0, 0), |most, held| (most.0.max(held.0), most.1.max(held.1)));
        bounds.push(Bound::new(
            "requests that wait for a leader",
            requests,
            super::routing::HELD_REQUESTS_MAX,
        ));
        bounds.push(Bound::new("bytes that wait for a leader", bytes, super::routing::HELD_BYTES_MAX));
        bounds
    }

    /// What is somewhere in this shard although nobody waits for anything: all of it must be zero then.
    pub(crate) fn leftovers(&self) -> Vec<(&'static str, usize)> {
        let sum = |count: fn(&Replica<S>) -> usize| self.replicas.iter().map(count).sum();
        let files = self.saves.store.status();
        // States may be saved at any time, and what is live may be served.
        let saving = self.saves.is_saving();
        let leaves = |usage: &Use, live: bool| match usage {
            Use::Building | Use::Merging => false,
            Use::Serving => !live && !saving,
            _ => true,
        };
        let in_use =
            || files.iter().flat_map(|file| file.uses.iter().filter(|usage| leaves(usage, file.live)));
        let mut left = vec![
            ("writes that wait to be applied", sum(|replica| replica.waiters.len())),
            ("reads", sum(|replica| usize::from(!replica.reads.is_empty()))),
            ("reads in front of writes", sum(|replica| usize::from(!replica.left.is_empty()))),
            ("requests that wait for a leader", sum(|replica| replica.route.held().0)),
            ("requests that wait for the cluster to form", self.unstarted.held().0),
            ("requests passed on", sum(|replica| replica.route.outstanding())),
            ("snapshots received", self.transfers.receives.len()),
            ("snapshots sent", self.transfers.outgoing.len()),
            ("snapshot files in use", in_use().count()),
        ];
        self.clients.leftovers(&mut left);
        self.links.leftovers(&mut left);
        left
    }
}
