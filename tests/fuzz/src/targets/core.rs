//! The Raft core, sent anything by anybody.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use raft::{
    Body, Change, Config, EntryId, Event, GroupId, HardState, Index, Message, NodeId, Raft, Restored,
    Settings, Standing, Term, TermRun, Time, Write,
};

use crate::feed::Feed;

/// The group of all replicas here.
pub const GROUP: GroupId = GroupId(1);
/// Steps of one input.
const STEPS_MAX: usize = 256;
/// Proposals of one input are few, but each takes as many entries as it says.
const PROPOSED_MAX: u64 = 8;

/// How a replica behaves here.
#[must_use]
pub fn settings(rests: bool, leases: bool) -> Rc<Settings> {
    Rc::new(Settings {
        node: NodeId(1),
        election_timeout_min: Duration::from_millis(1000),
        election_timeout_max: Duration::from_millis(1500),
        beat_interval: Duration::from_millis(100),
        inflight_appends_max: 4,
        inflight_bytes_max: 1 << 20,
        uncommitted_bytes_max: 1 << 20,
        seed: 5,
        quiesce_after: rests.then_some(Duration::from_secs(2)),
        lease: leases.then_some(Duration::from_millis(800)),
    })
}

/// A replica, and a shard that does to it what it may.
pub struct Stage {
    /// The replica.
    pub raft: Raft,
    /// The time.
    pub now: Time,
    writes: VecDeque<Write>,
    commit: Index,
    offered: Option<EntryId>,
}

impl Stage {
    /// A replica of three voters that starts as the first byte says.
    #[must_use]
    pub fn new(feed: &mut Feed<'_>) -> Stage {
        let kind = feed.byte();
        let (rests, leases) = (kind & 1 == 1, kind & 2 == 2);
        let standing = [Standing::Normal, Standing::Normal, Standing::Joining, Standing::Recovering];
        let mut restored = Restored {
            config: Config::of_voters(&[NodeId(1), NodeId(2), NodeId(3)]),
            hard_state: HardState { standing: standing[usize::from(kind >> 2 & 3)], ..HardState::default() },
            ..Restored::default()
        };
        match kind >> 4 & 3 {
            0 => {}
            1 => restored.config = Config::default(),
            2 => restored.config = Config::of_voters(&[NodeId(1)]),
            _ => {
                restored.hard_state.term = Term(3);
                restored.runs = vec![
                    TermRun { first: Index(5), term: Term(1) },
                    TermRun { first: Index(8), term: Term(3) },
                ];
                restored.compacted = EntryId::new(Term(1), Index(4));
                restored.applied = Index(4);
                restored.last = Index(9);
            }
        }
        let now = Time(5_000_000);
        let raft = Raft::new(&settings(rests, leases), GROUP, kind >> 6 & 1 == 1, restored, now);
        let commit = raft.committed();
        Stage { raft, now, writes: VecDeque::new(), commit, offered: None }
    }

    /// Makes it lead its group.
    pub fn lead(&mut self) {
        self.now = self.now + Duration::from_secs(9);
        self.raft.campaign(self.now);
        for _ in 0..2 {
            for from in [NodeId(2), NodeId(3)] {
                self.pull();
                self.persist(true);
                let term = self.raft.term();
                let pre =
                    Message { group: GROUP, term: term.next(), body: Body::PreVoteReply { granted: true } };
                let vote = Message { group: GROUP, term, body: Body::VoteReply { granted: true } };
                if self.raft.role() == raft::Role::PreCandidate {
                    self.step(from, pre, &[]);
                } else {
                    self.step(from, vote, &[]);
                }
            }
        }
    }

    /// A message comes.
    pub fn step(&mut self, from: NodeId, message: Message, configs: &[(Index, Config)]) {
        let accepted = self.raft.step(self.now, from, message, configs);
        if let Some(accepted) = accepted {
            assert!(accepted.first <= accepted.last && accepted.last == self.raft.last(), "{accepted:?}");
        }
        self.check();
    }

    /// What holds whatever comes.
    pub fn check(&mut self) {
        let raft = &self.raft;
        assert!(raft.committed() >= self.commit, "commits are never taken back");
        assert!(raft.committed() <= raft.last() && raft.persisted_index() <= raft.last());
        assert!(raft.applied_index() <= raft.committed());
        self.commit = raft.committed();
    }

    fn persist(&mut self, all: bool) {
        while let Some(write) = self.writes.pop_front() {
            self.raft.persisted(write);
            if !all {
                return;
            }
        }
    }

    /// Pulls everything that a shard pulls at the end of a turn.
    pub fn pull(&mut self) {
        while let Some(event) = self.raft.take_event() {
            match event {
                Event::SnapshotOffered { id, .. } => self.offered = Some(id),
                Event::NeedsSnapshot { to } => {
                    self.raft.offer_snapshot(self.now, to, self.raft.compacted());
                }
                _ => {}
            }
        }
        self.writes.extend(self.raft.take_write());
        for to in (1..=4).map(NodeId) {
            while let Some(plan) = self.raft.next_append(to) {
                self.raft.append(self.now, to, plan.last, 100);
            }
            while self.raft.has_messages(to) && self.raft.take_message(self.now, to).is_some() {}
        }
        while self.raft.take_reads().is_some() {}
        self.check();
    }

    fn act(&mut self, act: u8, feed: &mut Feed<'_>) {
        let peer = NodeId(u16::from(feed.below(5)));
        match act {
            0 => {
                self.now = self.now + Duration::from_millis(u64::from(feed.u16()));
                self.raft.tick(self.now);
            }
            1 => drop(self.raft.propose(1 + feed.number() % PROPOSED_MAX, 100)),
            2 => drop(self.raft.read(self.now)),
            3 => self.persist(feed.flag()),
            4 => self.pull(),
            5 => self.raft.applied(self.raft.committed()),
            6 => self.raft.compact(self.raft.applied_index().min(self.raft.persisted_index())),
            7 => self.raft.peer_lost(self.now, peer),
            8 => self.raft.unreachable(peer),
            9 => drop(self.raft.transfer(self.now, peer)),
            10 => {
                let changes = [Change::Voter(peer), Change::Learner(NodeId(4)), Change::Remove(peer)];
                let _refused = self.raft.change(self.now, &changes[usize::from(feed.below(3))..]);
            }
            11 => self.raft.campaign(self.now),
            12 => self.raft.refuse(self.now, peer, message(feed)),
            13 => self.install(feed),
            14 => self.raft.snapshot_sent(self.now, peer, self.raft.compacted(), feed.flag()),
            _ => drop(self.raft.lease_holds(self.now)),
        }
        self.check();
    }

    fn install(&mut self, feed: &mut Feed<'_>) {
        let Some(id) = self.offered.take() else { return };
        let config = config(feed);
        if config.check().is_err() {
            self.raft.decline_snapshot(id);
        } else {
            self.raft.snapshot_installed(self.now, id, &config);
        }
    }
}

/// A configuration that is one, of any of five nodes.
fn config(feed: &mut Feed<'_>) -> Config {
    let bytes = [feed.byte(), feed.byte()];
    let nodes = |bits: u8| (1..=4).filter(move |node| bits >> node & 1 == 1).map(NodeId);
    let mut config = Config { voters: nodes(bytes[0]).collect(), ..Config::default() };
    if bytes[0] & 1 == 1 {
        config.outgoing = nodes(bytes[0] >> 4).collect();
    }
    config.learners = nodes(bytes[1]).filter(|&node| !config.is_voter(node)).collect();
    config
}

fn id(feed: &mut Feed<'_>) -> EntryId {
    EntryId::new(Term(feed.number()), Index(feed.number()))
}

fn append(feed: &mut Feed<'_>) -> Body {
    let prev = id(feed);
    let last = Index(prev.index.0.saturating_add(feed.number()));
    let mut runs = raft::TermRuns::new();
    for place in 0..feed.below(4) {
        let first = if place == 0 { prev.index.next() } else { Index(feed.number()) };
        runs.push(TermRun { first, term: Term(feed.number()) });
    }
    let entries_bytes = feed.u16().into();
    Body::Append { prev, last, runs, entries_bytes, commit: Index(feed.number()), round: feed.number() }
}

/// Any message.
pub fn message(feed: &mut Feed<'_>) -> Message {
    let kind = feed.below(18);
    let group = if feed.below(32) == 31 { GroupId(2) } else { GROUP };
    let term = Term(feed.number());
    let body = match kind {
        0 => Body::PreVote { last: id(feed) },
        1 => Body::PreVoteReply { granted: feed.flag() },
        2 => Body::Vote { last: id(feed), transfer: feed.flag() },
        3 => Body::VoteReply { granted: feed.flag() },
        4 | 5 => append(feed),
        6 => Body::AppendAck {
            matched: Index(feed.number()),
            round: feed.number(),
            lease: feed.flag(),
            stands: feed.flag(),
        },
        7 => Body::AppendReject { probe: Index(feed.number()), hint: id(feed), round: feed.number() },
        8 => Body::AppendBusy { round: feed.number() },
        9 => Body::Beat { commit: Index(feed.number()), round: feed.number() },
        10 => Body::BeatAck { round: feed.number(), proven: feed.flag(), lease: feed.flag() },
        11 => Body::Quiesce { last: id(feed), round: feed.number() },
        12 => Body::Recover { nonce: feed.number() },
        13 => Body::RecoverFloor { nonce: feed.number(), last: Index(feed.number()) },
        14 | 15 => Body::SnapshotOffer { id: id(feed) },
        16 => Body::SnapshotAck { id: id(feed), installed: feed.flag() },
        _ => Body::TimeoutNow { last: id(feed) },
    };
    Message { group, term, body }
}

/// A replica's life: messages of anybody, and what its shard may do in between.
pub fn core(data: &[u8]) {
    let mut feed = Feed(data);
    let mut stage = Stage::new(&mut feed);
    if feed.flag() {
        stage.lead();
    }
    for _ in 0..STEPS_MAX {
        if feed.is_empty() {
            return;
        }
        let what = feed.byte();
        if what < 96 {
            stage.act(what % 16, &mut feed);
            continue;
        }
        let from = NodeId(u16::from(what % 5));
        let message = message(&mut feed);
        let configs = match (&message.body, what % 4) {
            (Body::Append { prev, .. }, 0) => vec![(prev.index.next(), config(&mut feed))],
            _ => Vec::new(),
        };
        // Most messages of the fuzzer would be of old terms.
        let term = if what >= 160 { stage.raft.term().max(message.term) } else { message.term };
        stage.step(from, Message { term, ..message }, &configs);
    }
}

/// Seeds of [`core`].
#[must_use]
pub fn core_seeds() -> Vec<Vec<u8>> {
    // For each kind of start and role a message of each kind, then a turn, a long time, and a turn.
    let turn = [4, 0, 3, 0, 1, 4, 0, 5, 0];
    let later = [0, 0, 255, 255];
    let mut seeds = Vec::new();
    for kind in [0, 3, 16, 32, 48, 51, 56] {
        for leads in [0, 1] {
            let mut seed = vec![kind, leads];
            for message in 0..18 {
                seed.extend([162, message, 0, 4, 1, 3, 1, 3, 2, 1, 1, 1]);
                seed.extend(turn);
            }
            seed.extend(later);
            seed.extend(turn);
            seeds.push(seed);
        }
    }
    seeds
}
