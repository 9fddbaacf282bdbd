//! One replica: a Raft core, the state machine it feeds, and those who wait for either.

use std::collections::VecDeque;
use std::rc::Rc;

use raft::{
    Check, Config, EntryId, EntryKind, EntrySpec, GroupId, Index, Message, NodeId, ProposeError, Raft, Time,
    Write,
};
use raftlog::{BatchSeq, Cached, Log};
use runtime::{Buffer, Disk};

use super::accepted::write_accepted;
use super::answers::Answers;
use super::left_reads::LeftReads;
use super::machine::Machine;
use super::reads::ReadQueue;
use super::request::{Encode, Kind, Outcome, RequestHead};
use super::routing::Route;
use super::waiters::{Waiter, Waiters};
use crate::state_machine::{Applied, StateMachine};

/// What one replica applies in one turn at most: about a millisecond of small commands, so that other
/// groups, sockets and the log get their turn.
const APPLY_BYTES_PER_TURN_MAX: usize = 1 << 20;

/// Entries that go into the log as one piece take at most so much, or are a single one: far less than a segment, and so
/// much that making the place costs nothing beside filling it.
const RECORD_BYTES_MAX: usize = 256 << 10;

/// What one call asks the entry cache for.
const APPLY_SLICE_BYTES: usize = 256 << 10;

/// One group's member on this shard.
pub(crate) struct Replica<S> {
    pub(crate) group: GroupId,
    pub(crate) incarnation: u32,
    pub(crate) raft: Raft,
    pub(crate) machine: Machine<S>,
    /// The configuration in force at the newest applied entry: what a save of the machine belongs to.
    pub(crate) config: Rc<Config>,
    /// When its followers are told of again; zero while it does not lead.
    pub(crate) tell_followers_at: Time,
    /// Which disk each follower was when this leader got to know it (see [`super::membership`]).
    pub(crate) disks: Vec<(NodeId, u64)>,
    pub(crate) route: Route,
    /// Those who proposed.
    pub(super) waiters: Waiters,
    pub(super) reads: ReadQueue,
    /// Reads from when it led, in front of writes that wait.
    pub(super) left: LeftReads,
    /// What was handed to the log and is not yet durable.
    writes: VecDeque<(BatchSeq, Write)>,
    /// True while it stands in the shard's list of replicas with something to do.
    pub(crate) dirty: bool,
    /// True while it stands in the shard's list of replicas where somebody waits.
    pub(crate) watched: bool,
    /// The next entries to apply are being read from disk.
    pub(crate) loading: bool,
    /// Entries that were, and that are applied next.
    pub(super) loaded: VecDeque<Buffer>,
    /// Nothing is applied or read until what the machine looked for in its files is brought.
    pub(super) is_cold: bool,
    /// How often that was so for the entry or read that is next.
    pub(super) cold_rounds: u32,
    /// Damaged entries on this disk that are applied are not beyond this one: a snapshot takes their place.
    pub(crate) damaged_to: Index,
}

/// Where applying stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applying {
    /// Everything committed and visible is applied.
    Done,
    /// The turn's share is used up; more is ready.
    More,
    /// The next entries are not in memory: read from this index on.
    NotCached(Index),
    /// What the next entry or a read looks at in the snapshot's files is not in memory.
    Cold,
}

impl<S: StateMachine> Replica<S> {
    /// A replica whose machine is at the raft's applied entry, where `config` is in force.
    pub(crate) fn new(group: GroupId, raft: Raft, machine: Machine<S>, config: Rc<Config>) -> Replica<S> {
        Replica {
            group,
            incarnation: 0,
            raft,
            machine,
            config,
            tell_followers_at: Time(0),
            disks: Vec::new(),
            route: Route::default(),
            waiters: Waiters::default(),
            reads: ReadQueue::default(),
            left: LeftReads::default(),
            writes: VecDeque::new(),
            dirty: false,
            watched: false,
            loading: false,
            loaded: VecDeque::new(),
            is_cold: false,
            cold_rounds: 0,
            damaged_to: Index::ZERO,
        }
    }

    /// Proposes commands and registers reads, in the order given, as the leader. Returns how many were
    /// taken; the rest met a bound and must be kept by the caller.
    pub(crate) fn lead<'a, D: Disk>(
        &mut self,
        now: Time,
        log: &mut Log<D>,
        requests: impl Iterator<Item = (RequestHead, &'a dyn Encode)> + Clone,
    ) -> Led {
        let commands = requests.clone().filter(|(head, _)| head.kind == Kind::Write);
        let (mut count, mut bytes) = (0_u64, 0_usize);
        for (_, body) in commands {
            count += 1;
            bytes += raft::entry_bytes(body.encoded_bytes());
        }
        let leased = self.raft.lease_holds(now);
        let mut next = Index(self.raft.last().0 + 1);
        let mut space: &mut [u8] = &mut [];
        let term = self.raft.term();
        if count > 0 {
            let first = match self.raft.propose(count, bytes as u64) {
                Ok(first) => first,
                Err(ProposeError::NotLeader { .. }) => return Led::NotLeader,
                Err(ProposeError::Full | ProposeError::Transferring) => return Led::Full,
            };
            next = first.index;
        }
        let mut rest = requests.clone();
        for (head, body) in requests {
            let following = rest.clone();
            rest.next();
            match head.kind {
                Kind::Write => {
                    let id = EntryId { term, index: next };
                    let command_bytes = body.encoded_bytes();
                    if space.is_empty() {
                        let (count, bytes) = one_record(following);
                        space = log.entries_space(self.group, self.incarnation, id, count, bytes);
                    }
                    let (place, rest) =
                        std::mem::take(&mut space).split_at_mut(raft::entry_bytes(command_bytes));
                    space = rest;
                    let spec = EntrySpec {
                        group: self.group,
                        incarnation: self.incarnation,
                        id,
                        kind: EntryKind::Command,
                    };
                    raft::encode_entry(place, spec, command_bytes, |out| body.encode(out));
                    self.waiters.add(Waiter { id, to: head.reply_to, deadline: head.deadline });
                    next = Index(next.0 + 1);
                }
                Kind::Control => {}
                Kind::Read => {
                    let Ok(id) = self.raft.read(now) else { return Led::NotLeader };
                    self.reads.push(head, (id, leased), EntryId::new(term, next.previous()), |out| {
                        let start = out.len();
                        out.resize(start + body.encoded_bytes(), 0);
                        body.encode(&mut out[start..]);
                    });
                }
            }
        }
        Led::All
    }

    /// Appends the no-op of a new leader's term, which the core has already counted.
    pub(crate) fn append_noop<D: Disk>(&mut self, log: &mut Log<D>, id: EntryId) {
        let space = log.entries_space(self.group, self.incarnation, id, 1, raft::entry_bytes(0));
        let spec = EntrySpec { group: self.group, incarnation: self.incarnation, id, kind: EntryKind::Noop };
        raft::encode_entry(space, spec, 0, |_| {});
    }

    /// Appends a configuration that the core has already counted and lives by.
    pub(crate) fn append_config<D: Disk>(&mut self, log: &mut Log<D>, id: EntryId, config: &Config) {
        let command = config.encode();
        let bytes = raft::entry_bytes(command.len());
        let space = log.entries_space(self.group, self.incarnation, id, 1, bytes);
        let (group, incarnation, kind) = (self.group, self.incarnation, EntryKind::Membership);
        let spec = EntrySpec { group, incarnation, id, kind };
        raft::encode_entry(space, spec, command.len(), |out| out.copy_from_slice(&command));
    }

    /// A message from a peer; `entries` are the bytes of its append, shape already checked, `configs` the
    /// configurations among them. What must be written goes into the log's batch: the one copy a follower makes.
    pub(crate) fn step<D: Disk>(
        &mut self,
        now: Time,
        log: &mut Log<D>,
        from: NodeId,
        message: Message,
        entries: &[u8],
        configs: &[(Index, Config)],
    ) {
        if let Some(accepted) = self.raft.step(now, from, message, configs) {
            write_accepted(log, self.group, self.incarnation, accepted, entries);
        }
    }

    /// Moves what the core wants durable into the log's batch. False: there was nothing.
    pub(crate) fn collect_write<D: Disk>(&mut self, log: &mut Log<D>) -> bool {
        let Some(write) = self.raft.take_write() else { return false };
        if let Some(hard_state) = write.hard_state()
            && !runtime::mutant!("write.hard_state_forgotten")
        {
            let vote = hard_state.vote.filter(|_| !runtime::mutant!("write.vote_forgotten"));
            log.hard_state(self.group, raft::HardState { vote, ..hard_state });
        }
        self.writes.push_back((log.building(), write));
        true
    }

    /// Everything up to and with `durable` is on disk: the promises that waited for it may leave.
    pub(crate) fn persisted(&mut self, durable: BatchSeq) -> bool {
        let mut any = false;
        while self.writes.front().is_some_and(|(seq, _)| *seq <= durable) {
            let (_, write) = self.writes.pop_front().expect("just seen");
            self.raft.persisted(write);
            any = true;
        }
        any
    }

    /// True while something handed to the log is not durable.
    pub(crate) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Applies what is committed and visible, answering writers and the reads between.
    pub(crate) fn apply<D: Disk>(
        &mut self,
        log: &Log<D>,
        answers: &mut Answers,
        slices: &mut Vec<Buffer>,
    ) -> Applying {
        if let Some((id, _)) = self.raft.take_reads() {
            self.reads.confirm(id);
        }
        let mut applied_bytes = 0;
        let stop = loop {
            if applied_bytes >= APPLY_BYTES_PER_TURN_MAX {
                break Applying::More;
            }
            if let Some(slice) = self.loaded.pop_front() {
                applied_bytes += slice.len();
                if self.apply_entries(&slice, answers) {
                    continue;
                }
                self.loaded.push_front(slice);
                break Applying::More;
            }
            let applied = self.raft.applied_index();
            let to = self.raft.committed().min(log.visible(self.group));
            if applied >= to {
                break Applying::Done;
            }
            let next = Index(applied.0 + 1);
            match log.cached(self.group, next, to, APPLY_SLICE_BYTES, slices) {
                Cached::Hit { bytes, .. } => {
                    applied_bytes += bytes;
                    if !slices.drain(..).all(|slice| self.apply_entries(&slice, answers)) {
                        break Applying::More;
                    }
                }
                Cached::NotCached | Cached::Compacted => break Applying::NotCached(next),
            }
        };
        let all = self.is_cold || self.serve_reads(false, answers);
        match stop {
            _ if self.is_cold => Applying::Cold,
            stop if all => stop,
            _ => Applying::More,
        }
    }

    /// Applies whole entries that follow what is applied; also those that were read from disk. False if it stopped before
    /// an entry because the reads in front of it fill the turn, or because something is not in memory.
    fn apply_entries(&mut self, bytes: &[u8], answers: &mut Answers) -> bool {
        let committed = self.raft.committed();
        let mut applied = self.raft.applied_index();
        for entry in raft::entries(bytes, Check::Shape) {
            let entry = entry.expect("entries were checked when they came in and when they were read");
            if entry.id.index <= applied {
                continue;
            }
            if entry.id.index > committed {
                break;
            }
            assert_eq!(entry.id.index.0, applied.0 + 1, "{}: entries apply in order", self.group);
            let is_ours = entry.id.term == self.raft.term();
            if !self.serve_left(entry.id, answers) || is_ours && !self.serve_reads(true, answers) {
                return false;
            }
            if entry.kind == EntryKind::Command && !self.is_ready(&entry, bytes, answers.lookups()) {
                return false;
            }
            let to = self.waiters.take(entry.id, |lost| answers.fail(lost, Outcome::Refused));
            match entry.kind {
                EntryKind::Command => {
                    let mut known = Applied::Done;
                    answers.push(to, Outcome::Done, |out| {
                        known = self.machine.apply(entry.id, entry.command, out);
                    });
                    assert_eq!(
                        known,
                        Applied::Done,
                        "{}: entry {} is of a newer version",
                        self.group,
                        entry.id
                    );
                }
                EntryKind::Membership => {
                    let config = Config::decode(entry.command);
                    self.config = Rc::new(config.expect("the core took it, so it could be read"));
                }
                EntryKind::Noop => {}
            }
            applied = entry.id.index;
            self.raft.applied(applied);
        }
        true
    }

    /// The state jumped to `to` by a snapshot: who waited for an entry below can no longer be told its fate.
    pub(crate) fn restored(&mut self, to: Index, machine: Machine<S>, config: Config, answers: &mut Answers) {
        if !runtime::mutant!("install.keeps_old_state") {
            self.machine = machine;
        }
        self.config = Rc::new(config);
        self.loaded.clear();
        self.waiters.drop_to(to, |waiter| answers.fail(waiter, Outcome::Unknown));
        self.left.drop_before(to, |to| answers.fail(to, Outcome::Refused));
    }

    /// Answers what waited past its deadline: writers with "unknown", the rest with "not applied". `is_full`: the log has
    /// no room for entries, which is why writes wait here, if this replica leads.
    pub(crate) fn expire(&mut self, now: Time, is_full: bool, answers: &mut Answers) {
        let leads = self.raft.is_leader();
        self.waiters.expire(now, |to| answers.fail(to, Outcome::Unknown));
        self.left.expire(now, |to| answers.fail(to, Outcome::Refused));
        self.reads.expire(now, |to| answers.fail(to, Outcome::Refused));
        self.route.expire(now, |head| answers.fail(head.reply_to, head.refusal(leads && is_full)));
    }

    /// Some entries of the log are damaged, and no snapshot holds them yet.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.damaged_to > self.raft.compacted().index
    }

    /// True when somebody waits here, so that deadlines must be looked at.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiters.is_empty() || !self.reads.is_empty() || !self.left.is_empty() || self.route.has_held()
    }
}

/// How many of the commands at the front of `requests` go into one record of the log, and their bytes: what a turn brings
/// may be more than fits a segment.
fn one_record<'a>(requests: impl Iterator<Item = (RequestHead, &'a dyn Encode)>) -> (u32, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (_, body) in requests.filter(|(head, _)| head.kind == Kind::Write) {
        let entry_bytes = raft::entry_bytes(body.encoded_bytes());
        if count > 0 && bytes + entry_bytes > RECORD_BYTES_MAX {
            break;
        }
        (count, bytes) = (count + 1, bytes + entry_bytes);
    }
    (count, bytes)
}

/// What became of requests offered to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Led {
    /// All are in the log's batch or wait as reads.
    All,
    /// This replica does not lead; none was taken.
    NotLeader,
    /// A bound was reached; none was taken.
    Full,
}
