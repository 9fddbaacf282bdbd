//! One replica, node 1, and peers that say whatever a test makes them say.

use std::time::Duration;

use raft::{Body, Config, EntryId, Index, Message, NodeId, Role, Settings, Term, TermRun, TermRuns, Time};

use crate::cluster::disk::{Disk, Entry};
use crate::cluster::node::{Envelope, Node};
use crate::cluster::{GROUP, START, settings, voters};

/// What the replica says to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub to: u16,
    pub term: u64,
    pub body: Body,
    pub entries: Vec<Entry>,
    pub configs: Vec<(Index, Config)>,
}

#[derive(Debug)]
pub struct Lone {
    pub node: Node,
    pub now: Time,
    /// How many voters there are, this one among them.
    pub voters: u16,
    /// Writes stay in flight.
    pub held: bool,
    /// Entries in one append at most.
    pub batch: u64,
}

/// `index@term`.
pub fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

/// Entries of these terms. Which leader wrote an entry, and where, tells what is in it.
pub fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(index, &term): (u64, &u64)| Entry { term: Term(term), value: term * 1000 + index };
    (first..).zip(terms).map(entry).collect()
}

/// A disk with a log of these terms. `vote` 0 is none.
pub fn disk(terms: &[u64], term: u64, vote: u16, commit: u64) -> Disk {
    let mut disk = Disk::default();
    disk.hard_state.term = Term(term);
    disk.hard_state.vote = (vote > 0).then_some(NodeId(vote));
    disk.hard_state.commit = Index(commit);
    disk.log.entries = entries(1, terms);
    disk
}

/// An append of entries of these terms after `prev`.
pub fn append(prev: EntryId, terms: &[u64], commit: u64) -> Body {
    let mut runs = TermRuns::new();
    for (index, &term) in (prev.index.0 + 1..).zip(terms) {
        if runs.last().is_none_or(|run| run.term != Term(term)) {
            runs.push(TermRun { first: Index(index), term: Term(term) });
        }
    }
    let count = terms.len() as u64;
    let entries_bytes = u32::try_from(64 * count).expect("few entries");
    Body::Append {
        prev,
        last: Index(prev.index.0 + count),
        runs,
        entries_bytes,
        commit: Index(commit),
        round: 0,
    }
}

/// Everything up to `matched` is durable.
pub fn ack(matched: u64) -> Body {
    Body::AppendAck { matched: Index(matched), round: 0, lease: false, stands: true }
}

/// Yes, of a follower that knows its log to be the leader's or does not.
pub fn beat_ack(proven: bool) -> Body {
    Body::BeatAck { round: 0, proven, lease: false }
}

impl Lone {
    /// One of so many voters, unless the disk knows of another configuration.
    pub fn start(voters_count: u16, mut disk: Disk, configure: impl FnOnce(&mut Settings)) -> Lone {
        let mut settings = settings(1, 7);
        configure(&mut settings);
        if disk.log.config == Config::default() {
            disk.log.config = Config::of_voters(&voters(voters_count));
        }
        let node = Node::start(settings, false, disk, START);
        Lone { node, now: START, voters: voters_count, held: false, batch: 100 }
    }

    /// One of three, with a log of these terms, in `term`. Nothing is known to be committed.
    pub fn with_log(terms: &[u64], term: u64) -> Lone {
        Lone::start(3, disk(terms, term, 0, 0), |_| ())
    }

    /// One of three in `role` in term 2. The log is one entry of term 1, and the leader's no-op after it.
    pub fn in_role(role: Role) -> Lone {
        let term = if matches!(role, Role::Candidate | Role::Leader) { 1 } else { 2 };
        let mut lone = Lone::with_log(&[1], term);
        match role {
            Role::Follower => {}
            Role::PreCandidate => drop(lone.campaign()),
            Role::Candidate => drop(lone.stand()),
            Role::Leader => drop(lone.elect()),
        }
        assert_eq!((lone.node.raft.role(), lone.term()), (role, 2));
        lone
    }

    pub fn term(&self) -> u64 {
        self.node.raft.term().0
    }

    pub fn role(&self) -> Role {
        self.node.raft.role()
    }

    pub fn committed(&self) -> u64 {
        self.node.raft.committed().0
    }

    /// The terms of what is in the log.
    pub fn terms(&self) -> Vec<u64> {
        self.node.log.entries.iter().map(|entry| entry.term.0).collect()
    }

    /// The end of a turn, and what is said in it.
    pub fn turn(&mut self) -> Vec<Said> {
        self.node.settle(self.now);
        self.node.submit();
        while !self.held && self.node.in_flight() > 0 {
            self.node.persist(self.now);
            self.node.submit();
        }
        let mut out = Vec::new();
        for to in (1..=9).map(NodeId) {
            self.node.send(self.now, to, self.batch, &mut out);
        }
        let said = |envelope: Envelope| Said {
            to: envelope.to.0,
            term: envelope.message.term.0,
            body: envelope.message.body,
            entries: envelope.entries,
            configs: envelope.configs,
        };
        out.into_iter().map(said).collect()
    }

    /// A peer says something; for an append, the entries are those of [`append`].
    pub fn hear(&mut self, from: u16, term: u64, body: Body) -> Vec<Said> {
        let entries = match &body {
            Body::Append { prev, last, runs, .. } => {
                let term_at =
                    |index| runs.iter().rev().find(|run| run.first.0 <= index).map(|run| run.term.0);
                let terms: Vec<u64> = (prev.index.0 + 1..=last.0).filter_map(term_at).collect();
                entries(prev.index.0 + 1, &terms)
            }
            _ => Vec::new(),
        };
        self.hear_said(from, &Said { to: 1, term, body, entries, configs: Vec::new() })
    }

    /// A peer says what another replica said.
    pub fn hear_said(&mut self, from: u16, said: &Said) -> Vec<Said> {
        let Said { term, body, entries, configs, .. } = said.clone();
        let message = Message { group: GROUP, term: Term(term), body };
        let envelope = Envelope { from: NodeId(from), to: NodeId(1), message, entries, configs };
        self.node.step(self.now, envelope);
        self.turn()
    }

    /// The snapshot that was offered has arrived; the configuration in it is the one in force here.
    pub fn install(&mut self) -> bool {
        let config = self.node.raft.config();
        self.node.install(self.now, &config)
    }

    /// Time passes.
    pub fn wait(&mut self, millis: u64) -> Vec<Said> {
        let end = self.now + Duration::from_millis(millis);
        let mut said = Vec::new();
        while self.node.raft.deadline() <= end {
            self.now = self.node.raft.deadline().max(self.now);
            self.node.raft.tick(self.now);
            said.extend(self.turn());
        }
        self.now = end;
        said
    }

    /// Campaigns: asks who would vote for it.
    pub fn campaign(&mut self) -> Vec<Said> {
        self.node.raft.campaign(self.now);
        self.turn()
    }

    /// Campaigns, and everybody would vote for it.
    pub fn stand(&mut self) -> Vec<Said> {
        let mut said = self.campaign();
        for peer in 2..=self.voters {
            if self.role() == Role::PreCandidate {
                said = self.hear(peer, self.term() + 1, Body::PreVoteReply { granted: true });
            }
        }
        said
    }

    /// Is elected by everybody.
    pub fn elect(&mut self) -> Vec<Said> {
        let mut said = self.stand();
        for peer in 2..=self.voters {
            if self.role() == Role::Candidate {
                said = self.hear(peer, self.term(), Body::VoteReply { granted: true });
            }
        }
        assert!(self.node.raft.is_leader());
        said
    }

    /// A follower has everything up to `matched`.
    pub fn ack(&mut self, from: u16, matched: u64) -> Vec<Said> {
        let term = self.term();
        self.hear(from, term, ack(matched))
    }

    /// What the leader says of a follower.
    pub fn follower(&self, node: u16) -> raft::FollowerStatus {
        let status = self.node.raft.status();
        *status.followers.iter().find(|follower| follower.node == NodeId(node)).expect("a follower")
    }
}
