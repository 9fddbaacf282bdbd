//! What survives a crash: a model of a shard's log for one group. Records arrive in batches, in
//! order; a crash loses the batches that were not finished.

use raft::{EntryId, HardState, Index, NodeId, Restored, Term, TermRun};

/// An entry: its term, and a number that stands for its command. 0 is a leader's no-op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: Term,
    pub value: u64,
}

/// A log from `compacted` on, in memory or on disk.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub compacted: EntryId,
    pub entries: Vec<Entry>,
}

impl Log {
    pub fn last(&self) -> Index {
        Index(self.compacted.index.0 + self.entries.len() as u64)
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.compacted.index.0 + 1).map(|at| usize::try_from(at).unwrap())
    }

    pub fn get(&self, index: Index) -> Option<Entry> {
        self.position(index).and_then(|at| self.entries.get(at)).copied()
    }

    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Entries from `first` on are replaced by `entries`.
    pub fn write(&mut self, first: Index, entries: &[Entry]) {
        assert!(first > self.compacted.index && first <= self.last().next(), "a hole before {first}");
        let at = self.position(first).expect("not compacted");
        self.entries.truncate(at);
        self.entries.extend_from_slice(entries);
    }

    pub fn compact(&mut self, id: EntryId) {
        assert_eq!(self.term_at(id.index), Some(id.term), "compacting to an entry that is not there");
        self.entries.drain(..usize::try_from(id.index.0 - self.compacted.index.0).unwrap());
        self.compacted = id;
    }

    pub fn install(&mut self, id: EntryId) {
        if self.term_at(id.index) == Some(id.term) {
            self.compact(id);
        } else {
            *self = Log { compacted: id, entries: Vec::new() };
        }
    }

    fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(TermRun { first: Index(self.compacted.index.0 + 1 + at as u64), term: entry.term });
            }
        }
        runs
    }
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub enum Record {
    Entries { first: Index, entries: Vec<Entry> },
    HardState(HardState),
    Snapshot(EntryId),
}

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: Log,
}

impl Disk {
    pub fn apply(&mut self, batch: &[Record]) {
        for record in batch {
            match record {
                Record::Entries { first, entries } => self.log.write(*first, entries),
                Record::HardState(hard_state) => {
                    assert!(hard_state.term >= self.hard_state.term, "the durable term fell");
                    self.hard_state = *hard_state;
                }
                Record::Snapshot(id) => self.log.install(*id),
            }
        }
    }

    pub fn restored(&self, voters: &[NodeId]) -> Restored {
        Restored {
            hard_state: self.hard_state,
            compacted: self.log.compacted,
            runs: self.log.runs(),
            last: self.log.last(),
            voters: voters.to_vec(),
            applied: self.log.compacted.index,
        }
    }
}
