//! What survives a crash: a model of a shard's log for one group. Records arrive in batches, in
//! order; a crash loses the batches that were not finished.

use std::collections::BTreeMap;

use raft::{Config, EntryId, HardState, Index, Restored, Term, TermRun};

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
    /// The configuration in force at `compacted`.
    pub config: Config,
    /// The configurations among the entries.
    pub configs: BTreeMap<Index, Config>,
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
    pub fn write(&mut self, first: Index, entries: &[Entry], configs: &[(Index, Config)]) {
        assert!(first > self.compacted.index && first <= self.last().next(), "a hole before {first}");
        let at = self.position(first).expect("not compacted");
        self.entries.truncate(at);
        self.entries.extend_from_slice(entries);
        self.configs.split_off(&first);
        self.configs.extend(configs.iter().cloned());
    }

    pub fn compact(&mut self, id: EntryId) {
        assert_eq!(self.term_at(id.index), Some(id.term), "compacting to an entry that is not there");
        self.entries.drain(..usize::try_from(id.index.0 - self.compacted.index.0).unwrap());
        self.config = self.config_at(id.index);
        self.configs = self.configs.split_off(&id.index.next());
        self.compacted = id;
    }

    /// The configuration in force at `index`.
    pub fn config_at(&self, index: Index) -> Config {
        self.configs.range(..=index).next_back().map_or(&self.config, |(_, config)| config).clone()
    }

    pub fn install(&mut self, id: EntryId, config: &Config) {
        if self.term_at(id.index) == Some(id.term) {
            self.compact(id);
        } else {
            *self = Log { compacted: id, config: config.clone(), ..Log::default() };
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
    Entries { first: Index, entries: Vec<Entry>, configs: Vec<(Index, Config)> },
    HardState(HardState),
    Snapshot(EntryId, Config),
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
                Record::Entries { first, entries, configs } => self.log.write(*first, entries, configs),
                Record::HardState(hard_state) => {
                    assert!(hard_state.term >= self.hard_state.term, "the durable term fell");
                    self.hard_state = *hard_state;
                }
                Record::Snapshot(id, config) => self.log.install(*id, config),
            }
        }
    }

    pub fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            compacted: self.log.compacted,
            runs: self.log.runs(),
            last: self.log.last(),
            config: self.log.config.clone(),
            configs: self.log.configs.clone().into_iter().collect(),
            applied: self.log.compacted.index,
        }
    }
}
