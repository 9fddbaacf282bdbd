//! The log below raft-rs, as cheap as it can be: it keeps no entry, since all are alike, and makes those that
//! are asked for.

use std::cell::Cell;

use raft_rs::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft_rs::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::COMMAND_BYTES;

static COMMAND: [u8; COMMAND_BYTES] = [b'x'; COMMAND_BYTES];

/// An entry's command, by reference.
#[must_use]
pub fn command() -> &'static [u8] {
    &COMMAND
}

/// A log of entries of one term.
#[derive(Default)]
pub struct Log {
    last: Cell<u64>,
    term: Cell<u64>,
}

impl Log {
    /// Holds everything up to `last`.
    pub fn append(&self, last: u64, term: u64) {
        self.last.set(last);
        self.term.set(term);
    }
}

impl Storage for Log {
    fn initial_state(&self) -> Result<RaftState> {
        let voters = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        Ok(RaftState::new(HardState::default(), voters))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        _max_bytes: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let term = self.term.get();
        Ok((low..high)
            .map(|index| Entry { index, term, data: command().into(), ..Entry::default() })
            .collect())
    }

    fn term(&self, index: u64) -> Result<u64> {
        match index {
            0 => Ok(0),
            index if index <= self.last.get() => Ok(self.term.get()),
            _ => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last.get())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
