//! Raft as a teacher would write it down: one replica with its whole log in a list, sets of votes, no
//! batches, no windows, no snapshots of its own, no run-length terms. It follows the real core step
//! by step: every input that the core gets, it gets; then both must say the same.
//!
//! What Raft leaves open is not computed but looked up in the core, and judged: *whether* a timer
//! fires, *which* message is sent when, how much of the log the core already dares to call durable.
//! So the specification is a relation, and each output of the core must be one that it allows:
//!
//! - [`elections`]: terms, votes, PreVote, hand-over (thesis 3.4, 3.6, 9.6, 3.10).
//! - [`replication`]: appends, conflicts, commit, snapshots (3.5, 5).
//! - [`membership`]: joint configurations, effective when appended (4.3).
//! - [`outputs`]: what may be sent, given all that.
//! - [`agreement`]: the comparison after each step.

pub mod agreement;
pub mod elections;
pub mod membership;
pub mod outputs;
pub mod replication;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use raft::{Config, NodeId, Raft, Role, Settings, Standing, Term, Time};

use super::disk::{Disk, Entry, Log, Roster, index_of, position_of};
use super::input::{Input, Outcome};

/// What a disk holds after one write: everything there is, naively.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Written {
    term: Term,
    vote: Option<NodeId>,
    standing: Standing,
    log: Vec<Entry>,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) id: NodeId,
    settings: Rc<Settings>,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    /// Entry 1 is at position 0; nothing is ever forgotten.
    pub(crate) log: Vec<Entry>,
    /// Who belongs to the group before any entry says so.
    base: Rc<Roster>,
    /// The same for the group: what a snapshot from before the first change says.
    founding: Rc<Roster>,
    pub(crate) commit: u64,
    pub(crate) standing: Standing,
    /// The log up to here is that of the leader of this term.
    accepted: (Term, u64),
    /// When the leader was heard, and when this run of the replica began.
    heard: Time,
    started: Time,
    /// Whether it was in any term before this run.
    remembers_a_term: bool,
    /// At rest, since the round the leader named.
    resting: Option<u64>,
    /// The shard of the leader is gone: no reason to wait for it.
    lost: bool,
    /// On the disk, and on the way to it, oldest first.
    disk: Written,
    writes: VecDeque<(Time, Written)>,
    /// When a leader's beat first saw that a write is on its way, after the last one arrived.
    waiting_since: Option<Time>,
    /// In an election: who said yes, and who said no. The first word of each stands.
    grants: BTreeSet<NodeId>,
    refusals: BTreeSet<NodeId>,
    by_transfer: bool,
    /// Pre-votes that were granted and may be answered so: to whom, for which term.
    promised: BTreeSet<(NodeId, Term)>,
    /// A leader's knowledge: the first entry of its term, and what each member holds.
    noop: u64,
    /// Up to here the core knows the snapshot only.
    compacted: u64,
    matched: BTreeMap<NodeId, u64>,
    /// When each member was heard in this term, and how often the leader's timer fired.
    member_heard: BTreeMap<NodeId, Time>,
    /// Since when it leads without rest, since when the silence of members counts, and since when that of
    /// new ones does.
    led_since: Time,
    settled: Option<Time>,
    beat_due: Time,
    quiet_until: Time,
}

/// What the specification may look at to learn of the core's choices.
pub struct Witness<'a> {
    /// The core after the input.
    pub raft: &'a Raft,
    /// The node's log in memory, as the core made the shard write it.
    pub memory: &'a Log,
    /// What the caller was told.
    pub outcome: &'a Outcome,
    /// All that was ever committed, from entry 1: what snapshots hold.
    pub history: &'a [Entry],
}

impl Replica {
    /// A replica that has read `disk`.
    #[must_use]
    pub fn start(
        settings: &Rc<Settings>,
        disk: &Disk,
        (founding, history): (&Rc<Roster>, &[Entry]),
        now: Time,
    ) -> Replica {
        let compacted = disk.log.compacted.index.0;
        let mut log = history[..position_of(compacted)].to_vec();
        log.extend_from_slice(&disk.log.entries);
        let hard_state = disk.hard_state;
        let (term, vote, standing) = (hard_state.term, hard_state.vote, hard_state.standing);
        Replica {
            id: settings.node,
            settings: Rc::clone(settings),
            term,
            vote,
            role: Role::Follower,
            leader: None,
            base: Rc::clone(&disk.log.base),
            founding: Rc::clone(founding),
            commit: hard_state.commit.0.max(compacted),
            standing,
            accepted: (Term(0), 0),
            heard: Time(0),
            started: now,
            remembers_a_term: term > Term(0),
            resting: None,
            lost: false,
            disk: Written { term, vote, standing, log: log.clone() },
            log,
            writes: VecDeque::new(),
            waiting_since: None,
            grants: BTreeSet::new(),
            refusals: BTreeSet::new(),
            by_transfer: false,
            promised: BTreeSet::new(),
            noop: 0,
            compacted,
            matched: BTreeMap::new(),
            member_heard: BTreeMap::new(),
            led_since: Time(0),
            settled: None,
            beat_due: Time(0),
            quiet_until: Time(0),
        }
    }

    pub(crate) fn last(&self) -> u64 {
        index_of(self.log.len())
    }

    /// The term of entry `index`; 0 before the log, `None` beyond its end.
    pub(crate) fn term_at(&self, index: u64) -> Option<Term> {
        if index == 0 { Some(Term(0)) } else { self.log.get(position_of(index - 1)).map(|entry| entry.term) }
    }

    /// (term, index) of the newest entry: what "up to date" compares (3.6.1).
    fn newest(&self) -> (Term, u64) {
        (self.log.last().map_or(Term(0), |entry| entry.term), self.last())
    }

    /// Follows one input of the core.
    pub fn follow(&mut self, now: Time, input: &Input, seen: &Witness) {
        match input {
            Input::Tick => self.tick(now, seen),
            Input::Deliver(envelope) => self.receive(now, envelope, false),
            Input::Refuse(envelope) => self.receive(now, envelope, true),
            Input::Propose(values) if seen.outcome.appended.is_some() => self.propose(values),
            Input::Campaign => self.campaign_if_told(now, seen),
            Input::PeerLost(peer) => self.lost |= self.resting.is_some() && self.leader == Some(*peer),
            Input::Recover => self.recover(),
            Input::Submit if seen.outcome.done => self.submit(now),
            Input::Persist if seen.outcome.done => self.persisted(now),
            Input::Install => self.install(seen),
            Input::Send { .. } => seen.outcome.sent.iter().for_each(|envelope| self.may_send(envelope)),
            _ => {}
        }
        self.follow_choices(now, seen);
        self.compacted = seen.raft.compacted().index.0;
        self.resting = self.resting.or(Some(0)).filter(|_| seen.raft.is_quiesced());
    }

    /// What the core may do of its own accord after any input.
    fn follow_choices(&mut self, now: Time, seen: &Witness) {
        self.end_pre_vote(seen);
        self.commit_by_quorum(seen);
        self.append_configs(now, seen);
        self.commit_by_quorum(seen);
        self.stand_again(seen);
        self.step_down_if_core_did(now, seen);
    }

    fn submit(&mut self, now: Time) {
        let Replica { term, vote, standing, .. } = *self;
        self.writes.push_back((now, Written { term, vote, standing, log: self.log.clone() }));
    }

    fn persisted(&mut self, now: Time) {
        if let Some((_, written)) = self.writes.pop_front() {
            self.disk = written;
        }
        self.waiting_since = None;
        self.count_own_vote(now);
    }

    /// How much of the log as it now is survives a crash at any moment from now on.
    #[must_use]
    pub fn durable(&self) -> u64 {
        let same = |written: &Written| {
            let pairs = written.log.iter().zip(&self.log);
            index_of(pairs.take_while(|(old, new)| old.term == new.term).count())
        };
        self.writes.iter().map(|(_, written)| same(written)).fold(same(&self.disk), u64::min)
    }

    /// Whether the present term is on the disk.
    fn term_is_durable(&self) -> bool {
        self.disk.term == self.term
    }

    /// Whether the present term and vote are on the disk.
    fn vote_is_durable(&self) -> bool {
        self.term_is_durable() && self.disk.vote == self.vote
    }
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("timeouts are short")
}

/// Whether those for whom `yes` holds are a majority of each half.
pub(crate) fn is_quorum(config: &Config, yes: impl Fn(NodeId) -> bool) -> bool {
    let majority = |half: &[NodeId]| half.iter().filter(|node| yes(**node)).count() * 2 > half.len();
    majority(&config.voters) && (config.outgoing.is_empty() || majority(&config.outgoing))
}
