//! Linearizable reads without the log (ReadIndex, thesis 6.4).
//!
//! A read may be served once the leader has proof that it still led after the read arrived. Proof
//! is a quorum of answers to a round opened later than the read; rounds are counted by the leader,
//! never taken from callers, so a late answer to an old round proves nothing about a new read.

use std::collections::VecDeque;

use crate::event::ReadId;
use crate::id::Index;

/// More unconfirmed rounds than this are not opened: later reads wait and share the next one.
const ROUNDS_MAX: usize = 16;

#[derive(Clone, Debug)]
struct Round {
    round: u64,
    last: ReadId,
    index: Index,
}

/// A leader's reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// The newest round opened.
    round: u64,
    /// The newest read that is in no round yet.
    parked: Option<ReadId>,
    /// Rounds that some read waits for.
    open: VecDeque<Round>,
    /// The newest confirmed read, until it is taken.
    confirmed: Option<(ReadId, Index)>,
}

impl Reads {
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn park(&mut self, id: ReadId) {
        self.parked = Some(id);
    }

    /// Whether reads wait for a round to be opened, and it may be.
    pub(crate) fn wants_round(&self) -> bool {
        self.parked.is_some() && self.open.len() < ROUNDS_MAX
    }

    /// Puts the parked reads into a new round. `index` is the commit index, which covers all that
    /// was committed before they arrived once the term's first entry is committed.
    pub(crate) fn open_round(&mut self, index: Index) {
        self.round += 1;
        if let Some(last) = self.parked.take() {
            self.open.push_back(Round { round: self.round, last, index });
        }
    }

    /// All reads there are may be served at `index`, without any round. `last` is the newest.
    pub(crate) fn confirm_all(&mut self, last: ReadId, index: Index) {
        self.parked = None;
        self.open.clear();
        self.confirmed = Some((last, index));
    }

    /// Whether some read waits for proof.
    pub(crate) fn are_waiting(&self) -> bool {
        self.parked.is_some() || !self.open.is_empty()
    }

    /// Whether no read waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.parked.is_none() && self.open.is_empty() && self.confirmed.is_none()
    }

    /// Gives back memory that a resting group does not need.
    pub(crate) fn shrink(&mut self) {
        self.open = VecDeque::new();
    }

    /// A new round without reads, so that beats are told apart.
    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// The newest round that a read waits for, 0 if none does.
    pub(crate) fn awaited(&self) -> u64 {
        self.open.back().map_or(0, |round| round.round)
    }

    /// A quorum has answered `round`.
    pub(crate) fn confirm(&mut self, round: u64) {
        while let Some(first) = self.open.front()
            && first.round <= round
        {
            self.confirmed = Some((first.last, first.index));
            self.open.pop_front();
        }
    }

    pub(crate) fn take_confirmed(&mut self) -> Option<(ReadId, Index)> {
        self.confirmed.take()
    }
}
