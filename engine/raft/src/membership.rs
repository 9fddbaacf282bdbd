//! Who belongs to the group, and in which slot. Inside the core a member is its slot, a small
//! number, so that sets of members are bits and tallies are population counts.

use smallvec::SmallVec;

use crate::id::NodeId;
use crate::quorum::{self, SLOTS_MAX, Slots, Tally};

/// The configuration in force. Joint configurations come with membership changes; the arithmetic
/// already knows of two halves, the second of which is empty until then.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    nodes: SmallVec<[NodeId; 7]>,
    halves: [Slots; 2],
}

impl Membership {
    /// `None` if the voters are more than there are slots, or not distinct.
    pub(crate) fn of_voters(voters: &[NodeId]) -> Option<Membership> {
        let distinct = voters.iter().enumerate().all(|(at, node)| !voters[..at].contains(node));
        (distinct && voters.len() <= SLOTS_MAX).then(|| Membership {
            nodes: SmallVec::from_slice(voters),
            halves: [Slots::first(voters.len()), Slots::default()],
        })
    }

    /// All members, by slot.
    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(crate) fn slot(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|&member| member == node)
    }

    /// The slots whose votes and acks count.
    pub(crate) fn voting(&self) -> Slots {
        Slots(self.halves[0].0 | self.halves[1].0)
    }

    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.slot(node).is_some_and(|slot| self.voting().has(slot))
    }

    /// See [`quorum::quorum_value`].
    pub(crate) fn quorum_value(&self, value: impl Fn(usize) -> u64) -> u64 {
        quorum::quorum_value(self.halves, value)
    }

    /// See [`quorum::tally`]. Nobody wins an election without voters.
    pub(crate) fn tally(&self, granted: Slots, rejected: Slots) -> Tally {
        if self.voting().count() == 0 { Tally::Lost } else { quorum::tally(self.halves, granted, rejected) }
    }
}
