//! Who belongs to the group, and in which slot. Inside the core a member is its slot, a small
//! number, so that sets of members are bits and tallies are population counts.

use smallvec::SmallVec;

use crate::config::Config;
use crate::id::{Index, NodeId};
use crate::quorum::{self, Slots, Tally};

/// A configuration, made for counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// By slot, ascending.
    nodes: SmallVec<[NodeId; 8]>,
    /// Incoming and outgoing voters.
    halves: [Slots; 2],
    learners: Slots,
    learners_next: Slots,
}

impl Membership {
    /// The configuration must be one that may be in force, or empty: nobody belongs to the group yet.
    pub(crate) fn new(config: &Config) -> Membership {
        let nodes = SmallVec::from_vec(config.members());
        let slots = |list: &[NodeId]| {
            list.iter().fold(Slots::default(), |slots, node| {
                slots.with(nodes.binary_search(node).expect("a listed node is a member"))
            })
        };
        Membership {
            halves: [slots(&config.voters), slots(&config.outgoing)],
            learners: slots(&config.learners),
            learners_next: slots(&config.learners_next),
            nodes,
        }
    }

    pub(crate) fn config(&self) -> Config {
        let list = |slots: Slots| slots.iter().map(|slot| self.nodes[slot]).collect();
        Config {
            voters: list(self.halves[0]),
            outgoing: list(self.halves[1]),
            learners: list(self.learners),
            learners_next: list(self.learners_next),
        }
    }

    /// All members, by slot.
    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(crate) fn slot(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|&member| member == node)
    }

    pub(crate) fn is_joint(&self) -> bool {
        self.halves[1] != Slots::default()
    }

    /// The slots whose votes and acks count.
    pub(crate) fn voting(&self) -> Slots {
        Slots(self.halves[0].0 | self.halves[1].0)
    }

    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.slot(node).is_some_and(|slot| self.voting().has(slot))
    }

    /// Whether `node` votes in the half that is to stay.
    pub(crate) fn stays_voter(&self, node: NodeId) -> bool {
        self.slot(node).is_some_and(|slot| self.halves[0].has(slot))
    }

    /// Whether nobody but `node` votes.
    pub(crate) fn is_alone(&self, node: NodeId) -> bool {
        self.slot(node).is_some_and(|slot| self.voting() == Slots::default().with(slot))
    }

    /// See [`quorum::quorum_value`].
    pub(crate) fn quorum_value(&self, value: impl Fn(usize) -> u64) -> u64 {
        let learning = if mutant!(LearnersCount) { self.learners } else { Slots::default() };
        let [incoming, outgoing] = self.halves;
        quorum::quorum_value([Slots(incoming.0 | learning.0), outgoing], value)
    }

    /// See [`quorum::tally`]. Nobody wins an election without voters.
    pub(crate) fn tally(&self, granted: Slots, rejected: Slots) -> Tally {
        let outgoing = if mutant!(OutgoingIgnored) { Slots::default() } else { self.halves[1] };
        let halves = [self.halves[0], outgoing];
        if self.voting().count() == 0 { Tally::Lost } else { quorum::tally(halves, granted, rejected) }
    }
}

/// The configuration in force: the newest in the log, committed or not (thesis 4.1), and what it would fall back to.
///
/// Two are enough. The next configuration is appended only once the one before it is committed, so of those in a log
/// at most the newest can still be cut off it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configurations {
    pub(crate) membership: Membership,
    /// Where it stands in the log; 0, or the compacted index or less, if it came otherwise.
    pub(crate) index: Index,
    previous: Option<Box<(Index, Membership)>>,
}

impl Configurations {
    pub(crate) fn new(index: Index, membership: Membership) -> Configurations {
        Configurations { membership, index, previous: None }
    }

    /// The log has a new configuration at `index`, which is in force at once.
    pub(crate) fn push(&mut self, index: Index, membership: Membership) {
        debug_assert!(index > self.index);
        let before = core::mem::replace(&mut self.membership, membership);
        self.previous = Some(Box::new((self.index, before)));
        self.index = index;
    }

    /// The log lost its entries from `first` on. True: the configuration in force is another one now.
    pub(crate) fn truncate_from(&mut self, first: Index) -> bool {
        if self.index < first || first == Index::ZERO {
            return false;
        }
        let Some(previous) = self.previous.take() else { return false };
        (self.index, self.membership) = *previous;
        true
    }

    /// The log lost its entries from `first` on, also those that were committed. If nothing is known of the configuration before,
    /// the one in force stays so until the log has it again.
    pub(crate) fn lose_from(&mut self, first: Index) {
        self.truncate_from(first);
        if self.index >= first {
            self.index = first.previous();
        }
    }

    /// Everything up to `commit` stays. True: that the configuration in force stays is news.
    pub(crate) fn commit(&mut self, commit: Index) -> bool {
        self.index <= commit && self.previous.take().is_some()
    }

    /// The configuration that would be in force if the newest, uncommitted one were cut off the log.
    pub(crate) fn fallback(&self) -> Option<&Membership> {
        self.previous.as_ref().map(|previous| &previous.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: &[u16]) -> Membership {
        let voters: Vec<_> = voters.iter().map(|&node| NodeId(node)).collect();
        Membership::new(&Config::of_voters(&voters))
    }

    #[test]
    fn a_membership_is_its_configuration() {
        let list = |numbers: &[u16]| numbers.iter().map(|&number| NodeId(number)).collect();
        let config = Config {
            voters: list(&[2, 9]),
            outgoing: list(&[2, 3]),
            learners: list(&[4]),
            learners_next: list(&[3]),
        };
        let membership = Membership::new(&config);
        assert_eq!(membership.config(), config);
        assert!(membership.is_voter(NodeId(3)) && !membership.stays_voter(NodeId(3)));
        assert!(!membership.is_voter(NodeId(4)) && membership.is_joint());
        assert!(of(&[7]).is_alone(NodeId(7)) && !of(&[7, 8]).is_alone(NodeId(7)));
    }

    #[test]
    fn a_truncated_configuration_gives_way_to_the_one_before() {
        let mut stack = Configurations::new(Index(0), of(&[1, 2, 3]));
        stack.push(Index(5), of(&[1, 2, 3, 4]));
        assert!(!stack.truncate_from(Index(6)));
        assert!(stack.truncate_from(Index(4)));
        assert_eq!((stack.index, stack.membership.clone()), (Index(0), of(&[1, 2, 3])));
        stack.push(Index(5), of(&[1]));
        assert!(!stack.commit(Index(4)) && stack.fallback().is_some());
        assert!(stack.commit(Index(5)) && !stack.commit(Index(6)), "news once");
        assert!(stack.fallback().is_none());
        stack.lose_from(Index(3));
        assert_eq!((stack.index, stack.membership.clone()), (Index(2), of(&[1])), "nothing older is known");
        stack.push(Index(5), of(&[1]));
        stack.lose_from(Index(5));
        assert_eq!((stack.index, stack.membership.clone()), (Index(2), of(&[1])));
    }
}
