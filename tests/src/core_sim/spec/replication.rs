//! How logs become the same, and when an entry is committed (thesis 3.5, 3.6.2, 5.1).

use raft::{Body, NodeId, Role, Standing, Time};

use super::super::disk::{Entry, index_of, position_of};
use super::super::input::Envelope;
use super::super::violation::require;
use super::{Replica, Witness, is_quorum};

const CHECK: &str = "spec::replication";

impl Replica {
    pub(super) fn append_noop(&mut self) {
        self.log.push(Entry::command(self.term, 0));
        self.noop = self.last();
    }

    pub(super) fn propose(&mut self, values: &[u64]) {
        require!(self.role == Role::Leader, CHECK, "{} appends and does not lead", self.id);
        let term = self.term;
        self.log.extend(values.iter().map(|&value| Entry::command(term, value)));
    }

    /// Everything about entries, at the receiver. The terms are equal.
    pub(super) fn replicate(&mut self, now: Time, envelope: &Envelope, refused: bool) {
        let from = envelope.from.0;
        match &envelope.message.body {
            Body::Append { prev, commit, .. } => {
                self.leader_of_the_term(now, from);
                let here = |(entry, index): &(&Entry, u64)| self.term_at(*index) == Some(entry.term);
                let there = envelope.entries.iter().zip(prev.index.0 + 1..);
                let count = if refused { there.take_while(here).count() } else { envelope.entries.len() };
                self.append(prev.index.0, prev.term, &envelope.entries[..count], commit.0);
            }
            Body::Beat { round, .. } if self.slept_since(from, *round) => {}
            Body::Beat { commit, .. } => {
                self.leader_of_the_term(now, from);
                self.commit_accepted(commit.0);
            }
            Body::Quiesce { last, round } => {
                self.leader_of_the_term(now, from);
                self.commit_accepted(last.index.0);
                self.resting = Some(*round);
            }
            Body::Recover { .. } => self.forget_acks(now, from),
            Body::SnapshotOffer { id } => {
                self.leader_of_the_term(now, from);
                if id.index.0 <= self.commit {
                    self.accept(0);
                }
            }
            Body::AppendAck { matched, .. } => self.holds(now, from, matched.0),
            Body::SnapshotAck { id, installed: true } => self.holds(now, from, id.index.0),
            Body::SnapshotAck { .. }
            | Body::AppendReject { .. }
            | Body::AppendBusy { .. }
            | Body::BeatAck { .. } => self.holds(now, from, 0),
            _ => {}
        }
    }

    /// Appends `entries` after `prev` if that is in the log, replacing what differs, and only that.
    fn append(&mut self, prev: u64, prev_term: raft::Term, entries: &[Entry], commit: u64) {
        if self.term_at(prev) != Some(prev_term) {
            require!(prev > self.commit, CHECK, "{}: entry {prev} is committed as another", self.id);
            return;
        }
        for (entry, index) in entries.iter().zip(prev + 1..) {
            if self.term_at(index) != Some(entry.term) {
                require!(index > self.commit, CHECK, "{}: {index} is committed and replaced", self.id);
                self.log.truncate(position_of(index - 1));
                self.log.push(entry.clone());
            }
        }
        let last = prev + index_of(entries.len());
        self.accept(last);
        // Old news, all of it in the snapshot: what else it says may wait for the next message.
        if last >= self.compacted {
            self.commit_accepted(commit);
        }
    }

    /// The log is the leader's up to `index`, and up to the commit index, since leaders hold all that
    /// is committed.
    fn accept(&mut self, index: u64) {
        let before = if self.accepted.0 == self.term { self.accepted.1 } else { self.commit };
        self.accepted = (self.term, before.max(index));
    }

    pub(super) fn accepted(&self) -> Option<u64> {
        (self.accepted.0 == self.term).then_some(self.accepted.1)
    }

    fn commit_accepted(&mut self, commit: u64) {
        if let Some(accepted) = self.accepted() {
            self.commit = self.commit.max(commit.min(accepted));
        }
    }

    /// A leader hears that `from` holds its log up to `matched`.
    fn holds(&mut self, now: Time, from: NodeId, matched: u64) {
        if self.role == Role::Leader && self.config().contains(from) {
            self.member_heard.insert(from, now);
            let known = self.matched.entry(from).or_default();
            *known = matched.max(*known);
        }
    }

    /// Whether a beat was sent before the leader came to rest: it wakes nobody.
    fn slept_since(&self, from: NodeId, round: u64) -> bool {
        self.leader == Some(from) && self.resting.is_some_and(|rest| round <= rest)
    }

    /// A follower has lost what it acknowledged.
    fn forget_acks(&mut self, now: Time, from: NodeId) {
        if self.role == Role::Leader && self.config().contains(from) {
            self.member_heard.insert(from, now);
            self.matched.remove(&from);
        }
    }

    pub(super) fn matched(&self, node: NodeId) -> u64 {
        self.matched.get(&node).copied().unwrap_or_default()
    }

    pub(super) fn forget_strangers(&mut self) {
        let config = self.config();
        self.matched.retain(|node, _| config.contains(*node));
        self.member_heard.retain(|node, _| config.contains(*node));
    }

    /// An entry of this term is committed once a quorum holds it; those before it come along. This
    /// replica counts itself with what is durable here, as far as the core knows.
    pub(super) fn commit_by_quorum(&mut self, seen: &Witness) {
        let own = seen.raft.persisted_index().0;
        if self.role != Role::Leader || seen.raft.role() != Role::Leader {
            return;
        }
        let config = self.config();
        let held = |node: NodeId| if node == self.id { own } else { self.matched(node) };
        let committed = |index: &u64| {
            self.term_at(*index) == Some(self.term) && is_quorum(&config, |node| held(node) >= *index)
        };
        if let Some(newest) = (self.commit + 1..=self.last()).rev().find(committed) {
            self.commit = newest;
        }
    }

    /// A snapshot holds what is committed up to its last entry.
    pub(super) fn install(&mut self, seen: &Witness) {
        let Some(id) = seen.outcome.installed else { return };
        let index = id.index.0;
        require!(index > self.commit, CHECK, "{} installs what it has", self.id);
        let history = &seen.history[..position_of(index)];
        require!(
            history.last().is_some_and(|entry| entry.term == id.term),
            CHECK,
            "{} installs {id}, which is not committed",
            self.id
        );
        if id.term > self.term {
            self.become_follower(id.term);
        }
        if self.term_at(index) != Some(id.term) {
            self.log = history.to_vec();
            self.accepted.1 = self.accepted.1.min(index);
        }
        self.base = self.founded();
        self.commit = index;
        self.role = if self.role == Role::Leader { Role::Leader } else { Role::Follower };
        if self.leader.is_some() {
            self.accept(index);
        }
    }

    /// The disk may have lost what was acknowledged: no vote, no candidacy until that is made good.
    pub(super) fn recover(&mut self) {
        if matches!(self.standing, Standing::Normal | Standing::Joining) {
            self.become_follower(self.term);
            self.standing = Standing::Recovering;
        }
    }

    /// A recovering replica stands again when a leader has given it all that it may have lost: whether
    /// that is so is judged against what was on its disk, in `checks::recovery`.
    pub(super) fn stand_again(&mut self, seen: &Witness) {
        let behind = matches!(self.standing, Standing::Joining | Standing::Recovering);
        if behind && seen.raft.status().standing == Standing::Normal {
            self.standing = Standing::Normal;
        }
    }
}
