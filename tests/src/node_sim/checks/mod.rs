//! What must never be, looked for after every turn of every shard: one file for each promise, named after it.
//!
//! Their input is a [`Look`] at a replica that had something to do, with the entries that are new in its log, and what was
//! known of it before ([`Known`]). What needs other eyes stands elsewhere: `witnessed` compares what is applied and
//! saved, `calm` sees to liveness, `crate::workload` judges the clients' histories.

mod bounds;
mod committed;
mod cursors;
mod damage;
mod durable_quorum;
mod election_safety;
mod files_in_use;
mod leader_append_only;
mod leader_completeness;
mod log_matching;
mod one_vote;
mod restarts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use raft::{Config, EntryId, GroupId, Index, NodeId, Role, Standing, Term};
use ringraft::simulation::{EntryLook, Said};

pub use bounds::{BoundsLook, check_queues, check_rest};
pub use damage::check_losses;
pub use files_in_use::Files;

/// A replica after a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whose.
    pub node: NodeId,
    /// Which disk of the node: another one after it was replaced.
    pub life: u64,
    /// Which start of the node.
    pub start: u64,
    /// The group.
    pub group: GroupId,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The last entry.
    pub last: EntryId,
    /// Everything up to here is durable, it says.
    pub persisted: Index,
    /// Everything up to here is committed, it says.
    pub committed: Index,
    /// Everything up to here is applied.
    pub applied: Index,
    /// Everything up to here is in its snapshot only.
    pub compacted: EntryId,
    /// Whether it takes part.
    pub standing: Standing,
    /// Its disk was damaged, and it says that it recovers: it may have forgotten what it acknowledged.
    pub may_forget: bool,
    /// The configuration in force.
    pub config: Config,
    /// The index of its entry.
    pub config_index: Index,
}

/// What is known of a replica from earlier looks.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last look; none in this life so far.
    look: Option<Look>,
    /// The terms of its entries, as of the last look, from the first that it ever showed: the entry at index `base + 1 + n` has
    /// term `terms[n]`. What lies before has been compacted away.
    base: u64,
    terms: Vec<Term>,
    /// The newest entry that it ever said to be durable, by term and index.
    promised: (Term, Index),
    /// Entries that rot took, as `base` and `terms` had them: what was committed with their help stays so.
    lost: Vec<(u64, Vec<Term>)>,
}

impl Known {
    /// The term of the entry at `index`, if it is known to be there.
    fn term_at(&self, index: Index) -> Option<Term> {
        let place = index.0.checked_sub(self.base + 1)?;
        self.terms.get(usize::try_from(place).ok()?).copied()
    }

    /// Whether the entry is in its log, or was before it went into a snapshot.
    fn holds(&self, id: EntryId) -> bool {
        let compacted = self.look.as_ref().map_or(Index(0), |look| look.compacted.index);
        id.index <= compacted || self.term_at(id.index) == Some(id.term)
    }

    /// Whether it ever held the entry durably.
    fn held(&self, id: EntryId) -> bool {
        let lost = |(base, terms): &(u64, Vec<Term>)| {
            let place = id.index.0.checked_sub(base + 1).and_then(|place| usize::try_from(place).ok());
            place.and_then(|place| terms.get(place)) == Some(&id.term)
        };
        let is_durable = self.look.as_ref().is_some_and(|look| look.persisted >= id.index);
        is_durable && self.holds(id) || self.lost.iter().any(lost)
    }

    /// Rot was found since the last look, and entries are gone.
    fn forgets(&self, look: &Look) -> bool {
        let before = self.look.as_ref().filter(|_| look.may_forget);
        before.is_some_and(|before| look.last < before.last || look.committed < before.committed)
    }

    /// What it says to be durable now. While a snapshot that was just installed is not durable itself, it says nothing.
    fn note_promise(&mut self, look: &Look) {
        let term = match look.persisted.cmp(&look.compacted.index) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(look.compacted.term),
            std::cmp::Ordering::Greater => self.term_at(look.persisted),
        };
        // What a later leader replaced is no promise any more, also if what it sent so far ends in an older term.
        if !self.holds(EntryId::new(self.promised.0, self.promised.1)) {
            self.promised = (Term(0), Index(0));
        }
        self.promised = self.promised.max(term.map_or((Term(0), Index(0)), |term| (term, look.persisted)));
    }

    /// Its log is now what `term_at` says up to `last`. How many of the entries known before are not in it any more, and the
    /// first that is new.
    fn follow(
        &mut self,
        compacted: Index,
        last: Index,
        term_at: impl Fn(Index) -> Option<Term>,
    ) -> (usize, Index) {
        let mut cut = 0;
        if self.look.as_ref().is_some_and(|before| before.committed < compacted) {
            // A snapshot was installed: what it had before may have been replaced by it.
            (self.base, self.terms) = (compacted.0, Vec::new());
        }
        while let Some(newest) = self.terms.last() {
            let index = Index(self.base + self.terms.len() as u64);
            if index <= compacted || index <= last && term_at(index) == Some(*newest) {
                break;
            }
            self.terms.pop();
            cut += 1;
        }
        if self.base + (self.terms.len() as u64) < compacted.0 {
            (self.base, self.terms) = (compacted.0, Vec::new());
        }
        let first = Index(self.base + self.terms.len() as u64 + 1);
        for index in first.0..=last.0 {
            let Some(term) = term_at(Index(index)) else { break };
            self.terms.push(term);
        }
        (cut, first)
    }
}

/// All checks, with what they remember.
#[derive(Default)]
pub struct Checks {
    replicas: BTreeMap<(GroupId, NodeId, u64), Known>,
    leaders: election_safety::Leaders,
    votes: one_vote::Votes,
    entries: log_matching::Entries,
    committed: committed::Committed,
    /// Snapshot files that are named.
    pub files: Files,
}

impl Checks {
    /// A replica was touched by a turn. `term_at` is its log, `entries` gives those from an index on, as far as they are in
    /// memory.
    pub fn touched(
        &mut self,
        look: Look,
        term_at: impl Fn(Index) -> Option<Term>,
        entries: impl Fn(Index) -> Vec<EntryLook>,
    ) {
        let key = (look.group, look.node, look.life);
        let mut known = self.replicas.remove(&key).unwrap_or_default();
        let restarted = known.look.as_ref().is_some_and(|before| before.start != look.start);
        let led = known.look.as_ref().is_some_and(|before| {
            before.role == Role::Leader
                && look.role == Role::Leader
                && (before.term, before.start) == (look.term, look.start)
        });
        self.votes.check(&look);
        damage::check(&look);
        let forgets = known.forgets(&look);
        if forgets {
            known.lost.push((known.base, known.terms.clone()));
            (known.promised, known.look) = ((Term(0), Index(0)), None);
        }
        if restarted {
            restarts::check(&known, &look);
        }
        let (cut, first) = known.follow(look.compacted.index, look.last.index, &term_at);
        leader_append_only::check(led, cut, &look);
        if let Some(before) = known.look.as_ref().filter(|_| !restarted) {
            cursors::check(before, &look);
        }
        let is_new_leader = look.role == Role::Leader && !led;
        let newly_committed =
            known.look.as_ref().filter(|_| !restarted).map_or(look.compacted.index, |look| look.committed);
        if first <= look.last.index {
            self.entries.check(&look, &entries(first), |index| known.term_at(index));
        }
        known.note_promise(&look);
        known.look = Some(look.clone());
        self.replicas.insert(key, known);
        if look.role == Role::Leader {
            self.leaders.check(&look);
        }
        if is_new_leader {
            leader_completeness::check(&look, &self.committed, &self.replicas[&key]);
        }
        if look.committed > newly_committed {
            self.commit(&look, newly_committed);
        }
    }

    /// Replicas of a node, on its disk of this life, said this.
    pub fn said(&mut self, node: (NodeId, u64), said: &[Said]) {
        said.iter().for_each(|said| self.votes.said(node, said));
    }

    fn commit(&mut self, look: &Look, from: Index) {
        let known = &self.replicas[&(look.group, look.node, look.life)];
        for index in from.0 + 1..=look.committed.0 {
            let Some(term) = known.term_at(Index(index)) else { continue };
            let is_new = self.committed.check(look, EntryId::new(term, Index(index)));
            if is_new && Index(index) == look.committed {
                durable_quorum::check(look, EntryId::new(term, Index(index)), &self.replicas);
            }
        }
    }

    /// A shard had a turn.
    pub fn bounds(&self, look: &BoundsLook) {
        bounds::check(look);
    }
}
