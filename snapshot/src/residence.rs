//! Which blocks of a file are in memory, as far as its reader knows: brought there and found sound. The system may take pages
//! back all the same when it runs short; as those that are read often are the last it takes, a reader that keeps its count
//! below what the system can spare does not meet that.

use std::cell::Cell;
use std::ops::{Deref, Range};
use std::path::Path;

use crate::block::{Block, Item, Trust};
use crate::error::SnapshotError;
use crate::format::IndexEntry;
use crate::run::{Run, block_range};

/// What is known of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It may be on disk only, and may have rotted there.
    Away,
    /// It is sound, and was not used since the hand came by.
    AtHand,
    /// It is sound and was used.
    Used,
}

/// The blocks of one file.
#[derive(Debug)]
pub(crate) struct BlockStates {
    states: Box<[Cell<State>]>,
    away: Cell<usize>,
    bytes: Cell<u64>,
}

impl BlockStates {
    pub fn new(blocks: usize) -> BlockStates {
        let states = vec![Cell::new(State::Away); blocks].into();
        BlockStates { states, away: Cell::new(blocks), bytes: Cell::new(0) }
    }

    /// Whether a block is at hand, which is about to be read.
    pub fn use_block(&self, number: usize) -> bool {
        let state = &self.states[number];
        let is_at_hand = state.get() != State::Away;
        if is_at_hand {
            state.set(State::Used);
        }
        is_at_hand
    }

    /// Whether a block is at hand.
    pub fn has(&self, number: usize) -> bool {
        self.states[number].get() != State::Away
    }

    /// A block of so many bytes is at hand now.
    pub fn set(&self, number: usize, block_bytes: usize) {
        let state = &self.states[number];
        if state.replace(State::Used) == State::Away {
            self.away.set(self.away.get() - 1);
            self.bytes.set(self.bytes.get() + block_bytes as u64);
        }
    }

    /// The hand comes by a block: one that was not used since is forgotten (true), others have their mark taken off.
    pub fn pass(&self, number: usize, block_bytes: usize) -> bool {
        let state = &self.states[number];
        match state.get() {
            State::Away => false,
            State::Used => {
                state.set(State::AtHand);
                false
            }
            State::AtHand => {
                state.set(State::Away);
                self.away.set(self.away.get() + 1);
                self.bytes.set(self.bytes.get() - block_bytes as u64);
                true
            }
        }
    }

    /// The first block from `number` on that is not at hand.
    pub fn next_away(&self, number: usize) -> Option<usize> {
        let rest = self.states.get(number..)?;
        rest.iter().position(|state| state.get() == State::Away).map(|at| number + at)
    }

    /// How many blocks are not at hand.
    pub fn away(&self) -> usize {
        self.away.get()
    }

    /// How many bytes are.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl<B: Deref<Target = [u8]>> Run<B> {
    /// Forgets that blocks are at hand, going round from block `hand` on, until `bytes` of them are forgotten or each was looked at
    /// twice: first those that were not used since it came by. Adds the ranges that whole pages of are no longer needed, and answers
    /// how many bytes were forgotten, and where to go on; `None` at the end of the file.
    pub fn forget_blocks(
        &self,
        hand: usize,
        bytes: u64,
        given_back: &mut Vec<Range<usize>>,
    ) -> (u64, Option<usize>) {
        let Ok(index) = self.index() else { return (0, None) };
        let (mut forgotten, mut range) = (0, 0..0);
        for number in hand..index.len() {
            if forgotten >= bytes {
                given_back.push(range);
                return (forgotten, Some(number));
            }
            let block = block_range(&index.entry(number));
            if self.residence.pass(number, block.len()) {
                forgotten += block.len() as u64;
                if range.end != block.start {
                    given_back.push(std::mem::replace(&mut range, block.start..block.start));
                }
                range.end = block.end;
            }
        }
        given_back.push(range);
        (forgotten, None)
    }
}

/// Where a block is and what it must be, for any thread.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace {
    pub(crate) entry: IndexEntry,
}

impl BlockPlace {
    /// Where it is in the file.
    pub fn range(&self) -> Range<usize> {
        block_range(&self.entry)
    }

    /// Checks the block, whose bytes these are: its checksum, its directory, and each item's shape and what `check` says of it.
    ///
    /// # Errors
    ///
    /// `Corrupt`; `Item`, with what `check` said.
    pub fn check(
        &self,
        bytes: &[u8],
        path: &Path,
        mut check: impl FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<(), SnapshotError> {
        let block = Block::decode(bytes, &self.entry, Trust::Check).map_err(|damage| damage.of(path))?;
        block.check_directory().map_err(|damage| damage.of(path))?;
        for item in block.items() {
            let item = item.map_err(|damage| damage.of(path))?;
            check(item).map_err(|reason| SnapshotError::Item { path: path.to_path_buf(), reason })?;
        }
        Ok(())
    }
}
