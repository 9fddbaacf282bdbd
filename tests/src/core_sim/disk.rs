//! Logs, in memory and on disk, and what survives a crash: a model of a shard's log for one group.
//! Records arrive in batches, in order; a crash loses the batches that were not finished.

use std::rc::Rc;

use raft::{Config, EntryId, HardState, Index, NodeId, Restored, Standing, Term, TermRun};

/// A configuration as it stands in a log: who belongs to the group, and as which incarnation. The
/// core knows nodes only; the transport compares incarnations, so that a node that was wiped and
/// added again is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roster {
    /// As the core sees it.
    pub config: Config,
    /// Ascending by node.
    pub incarnations: Vec<(NodeId, u32)>,
}

impl Roster {
    /// The incarnation that `node` has in this configuration.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<u32> {
        self.incarnations.iter().find(|(member, _)| *member == node).map(|(_, incarnation)| *incarnation)
    }
}

/// An entry: its term, and a number that stands for its command. 0 is a leader's no-op or a
/// configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Of the leader that appended it.
    pub term: Term,
    /// The command.
    pub value: u64,
    /// The configuration, if the entry is one.
    pub roster: Option<Rc<Roster>>,
}

impl Entry {
    /// A command, or the no-op with value 0.
    #[must_use]
    pub fn command(term: Term, value: u64) -> Entry {
        Entry { term, value, roster: None }
    }
}

/// A log from `compacted` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// The last entry that is in the snapshot only.
    pub compacted: EntryId,
    /// The configuration in force at `compacted`.
    pub base: Rc<Roster>,
    /// The entries after it.
    pub entries: Vec<Entry>,
}

/// A count or position as an index of the log.
#[must_use]
pub fn index_of(count: usize) -> u64 {
    u64::try_from(count).expect("logs are short")
}

/// An index or count as a position in memory.
#[must_use]
pub fn position_of(index: u64) -> usize {
    usize::try_from(index).expect("logs are short")
}

impl Log {
    /// The newest entry's index.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.compacted.index.0 + index_of(self.entries.len()))
    }

    /// The newest entry's id.
    #[must_use]
    pub fn last_id(&self) -> EntryId {
        let term = self.entries.last().map_or(self.compacted.term, |entry| entry.term);
        EntryId::new(term, self.last())
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.compacted.index.0 + 1).map(position_of)
    }

    /// The entry at `index`, if it is neither compacted nor beyond the end.
    #[must_use]
    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.position(index).and_then(|at| self.entries.get(at))
    }

    /// The term at `index`, also of the compacted entry itself.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The configurations after `compacted`, ascending.
    pub fn rosters(&self) -> impl DoubleEndedIterator<Item = (Index, &Rc<Roster>)> {
        let first = self.compacted.index.0 + 1;
        self.entries.iter().enumerate().filter_map(move |(at, entry)| {
            entry.roster.as_ref().map(|roster| (Index(first + index_of(at)), roster))
        })
    }

    /// The newest configuration at or before `until`, and its index if it is not compacted.
    #[must_use]
    pub fn roster_at(&self, until: Index) -> (Option<Index>, &Rc<Roster>) {
        let found = self.rosters().rev().find(|(index, _)| *index <= until);
        found.map_or((None, &self.base), |(index, roster)| (Some(index), roster))
    }

    /// Entries from `first` on are replaced by `entries`.
    pub fn write(&mut self, first: Index, entries: &[Entry]) {
        assert!(first > self.compacted.index && first <= self.last().next(), "a hole before {first}");
        let at = self.position(first).expect("not compacted");
        self.entries.truncate(at);
        self.entries.extend_from_slice(entries);
    }

    /// Forgets the entries up to `id`.
    pub fn compact(&mut self, id: EntryId) {
        assert_eq!(self.term_at(id.index), Some(id.term), "compacting to an entry that is not there");
        self.base = Rc::clone(self.roster_at(id.index).1);
        self.entries.drain(..position_of(id.index.0 - self.compacted.index.0));
        self.compacted = id;
    }

    /// Starts after the snapshot at `id`, made under `base`.
    pub fn install(&mut self, id: EntryId, base: &Rc<Roster>) {
        if self.term_at(id.index) == Some(id.term) {
            self.compact(id);
        } else {
            *self = Log { compacted: id, base: Rc::clone(base), entries: Vec::new() };
        }
        self.base = Rc::clone(base);
    }

    fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                let first = Index(self.compacted.index.0 + 1 + index_of(at));
                runs.push(TermRun { first, term: entry.term });
            }
        }
        runs
    }
}

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Entries that replace whatever is there from `first` on.
    Entries {
        /// The first one's index.
        first: Index,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The newest hard state.
    HardState(HardState),
    /// A snapshot was installed.
    Snapshot {
        /// Its last entry.
        id: EntryId,
        /// The configuration in it.
        base: Rc<Roster>,
    },
}

/// What is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The newest hard state.
    pub hard_state: HardState,
    /// The log.
    pub log: Log,
}

impl Disk {
    /// That of a node that comes later than its group: it has to catch up before it campaigns, as the
    /// configurations from before its time may name another incarnation of it, perhaps as the only voter.
    #[must_use]
    pub fn newcomer() -> Disk {
        let hard_state = HardState { standing: Standing::Joining, ..HardState::default() };
        Disk { hard_state, log: Log::default() }
    }

    /// A batch is written, whole.
    pub fn apply(&mut self, batch: &[Record]) {
        for record in batch {
            match record {
                Record::Entries { first, entries } => self.log.write(*first, entries),
                Record::HardState(hard_state) => self.hard_state = *hard_state,
                // The log may have been cut at a newer snapshot since the record was made.
                Record::Snapshot { id, .. } if *id <= self.log.compacted => {}
                Record::Snapshot { id, base } => self.log.install(*id, base),
            }
        }
    }

    /// What a replica starts with after this disk was read.
    #[must_use]
    pub fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            compacted: self.log.compacted,
            config: self.log.base.config.clone(),
            runs: self.log.runs(),
            last: self.log.last(),
            configs: self.log.rosters().map(|(index, roster)| (index, roster.config.clone())).collect(),
            applied: self.log.compacted.index,
        }
    }
}
