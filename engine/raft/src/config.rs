//! Who belongs to a group: the configuration, how it changes, and its bytes.
//!
//! Changes of voters go through joint consensus (thesis 4.3): while a configuration is joint, votes and commits need
//! a majority of both halves. Learners receive everything and decide nothing, so adding or dropping one needs no
//! joint step.

use core::fmt;

use crate::id::NodeId;
use crate::quorum::SLOTS_MAX;

/// Members of one configuration, learners and both halves of a joint one together, are at most this many:
/// sets of members are bits of a word.
pub const MEMBERS_MAX: usize = SLOTS_MAX;

/// The version of [`Config::encode`]'s bytes.
const VERSION: u8 = 1;

/// Who belongs to a group, and how. All lists are ascending and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Config {
    /// Who votes; in a joint configuration, the half that is to stay.
    pub voters: Vec<NodeId>,
    /// Who voted before. Not empty: the configuration is joint, and both halves decide.
    pub outgoing: Vec<NodeId>,
    /// Who receives everything and does not vote.
    pub learners: Vec<NodeId>,
    /// Voters of `outgoing` that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
}

/// One wish of a change of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Add this node as a voter, or promote it.
    Voter(NodeId),
    /// Add this node as a learner, or demote it.
    Learner(NodeId),
    /// Remove this node.
    Remove(NodeId),
}

/// Why a configuration cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to leave.
    #[error("the configuration is not joint")]
    NotJoint,
    /// A joint configuration must be left before the next change.
    #[error("the configuration is joint already")]
    AlreadyJoint,
    /// Nobody could ever decide anything again.
    #[error("no voter would be left")]
    NoVoters,
    /// More than [`MEMBERS_MAX`].
    #[error("more than {MEMBERS_MAX} members")]
    TooManyMembers,
    /// Node 0 does not exist.
    #[error("there is no node 0")]
    ZeroNode,
}

fn insert(list: &mut Vec<NodeId>, node: NodeId) {
    if let Err(at) = list.binary_search(&node) {
        list.insert(at, node);
    }
}

fn remove(list: &mut Vec<NodeId>, node: NodeId) {
    if let Ok(at) = list.binary_search(&node) {
        list.remove(at);
    }
}

fn is_ascending(list: &[NodeId]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

impl Config {
    /// A final configuration without learners.
    #[must_use]
    pub fn of_voters(voters: &[NodeId]) -> Config {
        let mut config = Config::default();
        voters.iter().for_each(|&node| insert(&mut config.voters, node));
        config
    }

    /// Whether two majorities are needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// All members, ascending, each once.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = self.voters.clone();
        self.outgoing.iter().chain(&self.learners).for_each(|&node| insert(&mut members, node));
        members
    }

    /// Whether `node` is a member of any kind.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.is_learner(node)
    }

    /// Whether `node`'s vote counts in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok() || self.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` is a learner and nothing more.
    #[must_use]
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.learners.binary_search(&node).is_ok()
    }

    /// The configuration after `changes`, taken in order, later wishes for a node replacing earlier ones: joint if
    /// the voters change, final at once otherwise.
    ///
    /// # Errors
    /// [`ConfigError`], but never `NotJoint`.
    pub fn change(&self, changes: &[Change]) -> Result<Config, ConfigError> {
        if self.is_joint() {
            return Err(ConfigError::AlreadyJoint);
        }
        let mut next = self.clone();
        for &change in changes {
            let (Change::Voter(node) | Change::Learner(node) | Change::Remove(node)) = change;
            if node == NodeId(0) {
                return Err(ConfigError::ZeroNode);
            }
            remove(&mut next.voters, node);
            remove(&mut next.learners, node);
            match change {
                Change::Voter(_) => insert(&mut next.voters, node),
                Change::Learner(_) => insert(&mut next.learners, node),
                Change::Remove(_) => {}
            }
        }
        if next.voters != self.voters {
            next.outgoing.clone_from(&self.voters);
            let outgoing = &next.outgoing;
            let demoted = |node: &NodeId| outgoing.binary_search(node).is_ok();
            (next.learners_next, next.learners) = next.learners.iter().partition(|node| demoted(node));
        }
        next.check()?;
        Ok(next)
    }

    /// The configuration that follows this joint one.
    ///
    /// # Errors
    /// [`ConfigError::NotJoint`].
    pub fn leave(&self) -> Result<Config, ConfigError> {
        if !self.is_joint() {
            return Err(ConfigError::NotJoint);
        }
        let mut next =
            Config { voters: self.voters.clone(), learners: self.learners.clone(), ..Config::default() };
        self.learners_next.iter().for_each(|&node| insert(&mut next.learners, node));
        Ok(next)
    }

    /// What every configuration in force must be.
    ///
    /// # Errors
    /// [`ConfigError::NoVoters`], `TooManyMembers` or `ZeroNode`.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.voters.is_empty() {
            return Err(ConfigError::NoVoters);
        }
        let members = self.members();
        if members.len() > MEMBERS_MAX {
            return Err(ConfigError::TooManyMembers);
        }
        if members[0] == NodeId(0) { Err(ConfigError::ZeroNode) } else { Ok(()) }
    }

    /// Whether the lists are ascending, and nobody is two things that exclude each other.
    pub(crate) fn is_sound(&self) -> bool {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        let outgoing_only = |node: &NodeId| {
            self.outgoing.binary_search(node).is_ok() && self.voters.binary_search(node).is_err()
        };
        lists.iter().all(|list| is_ascending(list))
            && self.learners.iter().all(|&node| !self.is_voter(node))
            && self.learners_next.iter().all(outgoing_only)
    }

    /// The bytes of a [`crate::EntryKind::Membership`] entry's command, and of a configuration wherever else it is
    /// kept: a version (1 byte), the lengths of the four lists (1 byte each), zeros (3 bytes), then the node ids (2
    /// bytes each, little-endian) of voters, outgoing, learners and learners_next.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        let mut bytes = vec![VERSION];
        bytes.extend(lists.map(|list| u8::try_from(list.len()).expect("at most MEMBERS_MAX members")));
        bytes.extend([0; 3]);
        lists.iter().for_each(|list| list.iter().for_each(|node| bytes.extend(node.0.to_le_bytes())));
        bytes
    }

    /// Reads what [`Config::encode`] wrote. `None`: no configuration, or not of this version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Config> {
        let (header, rest) = bytes.split_first_chunk::<8>()?;
        let (version, lengths) = (header[0], &header[1..5]);
        if version != VERSION || header[5..] != [0; 3] {
            return None;
        }
        let total: usize = lengths.iter().map(|&length| usize::from(length)).sum();
        if rest.len() != total * 2 {
            return None;
        }
        let mut ids = rest.as_chunks::<2>().0.iter().map(|&bytes| NodeId(u16::from_le_bytes(bytes)));
        let mut list = |at: usize| ids.by_ref().take(usize::from(lengths[at])).collect::<Vec<_>>();
        let config = Config { voters: list(0), outgoing: list(1), learners: list(2), learners_next: list(3) };
        (config.is_sound() && config.check().is_ok()).then_some(config)
    }
}

impl fmt::Display for Config {
    /// `1 2 3`, `1 2 3 | 4` with learners, `(1 2 4)(1 2 3)` while joint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |nodes: &[NodeId]| nodes.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(" ");
        if self.is_joint() {
            write!(f, "({})({})", list(&self.voters), list(&self.outgoing))?;
        } else {
            f.write_str(&list(&self.voters))?;
        }
        if !self.learners.is_empty() {
            write!(f, " | {}", list(&self.learners))?;
        }
        if !self.learners_next.is_empty() {
            write!(f, " | next {}", list(&self.learners_next))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(numbers: &[u16]) -> Vec<NodeId> {
        numbers.iter().map(|&number| NodeId(number)).collect()
    }

    #[test]
    fn a_change_of_voters_is_joint_and_one_of_learners_is_not() {
        let three = Config::of_voters(&ids(&[3, 1, 2]));
        let with_learner = three.change(&[Change::Learner(NodeId(4))]).unwrap();
        assert_eq!(with_learner.to_string(), "1 2 3 | 4");
        let joint = with_learner.change(&[Change::Voter(NodeId(4)), Change::Remove(NodeId(1))]).unwrap();
        assert_eq!(joint.to_string(), "(2 3 4)(1 2 3)");
        assert_eq!(joint.members(), ids(&[1, 2, 3, 4]));
        assert_eq!(joint.change(&[Change::Voter(NodeId(5))]), Err(ConfigError::AlreadyJoint));
        assert_eq!(joint.leave().unwrap().to_string(), "2 3 4");
    }

    #[test]
    fn a_demoted_voter_votes_until_the_joint_configuration_is_left() {
        let joint = Config::of_voters(&ids(&[1, 2, 3])).change(&[Change::Learner(NodeId(3))]).unwrap();
        assert_eq!(joint.to_string(), "(1 2)(1 2 3) | next 3");
        assert!(joint.is_voter(NodeId(3)) && !joint.is_learner(NodeId(3)));
        assert_eq!(joint.leave().unwrap().to_string(), "1 2 | 3");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let one = Config::of_voters(&ids(&[1]));
        assert_eq!(one.change(&[Change::Remove(NodeId(1))]), Err(ConfigError::NoVoters));
        assert_eq!(one.change(&[Change::Voter(NodeId(0))]), Err(ConfigError::ZeroNode));
        assert_eq!(one.leave(), Err(ConfigError::NotJoint));
        let many: Vec<_> = (2..40).map(|node| Change::Learner(NodeId(node))).collect();
        assert_eq!(one.change(&many), Err(ConfigError::TooManyMembers));
        assert_eq!(one.change(&[Change::Remove(NodeId(9))]).as_ref(), Ok(&one), "nothing to do");
    }

    fn change() -> impl Strategy<Value = Change> {
        (0..3, 1_u16..8).prop_map(|(kind, node)| match kind {
            0 => Change::Voter(NodeId(node)),
            1 => Change::Learner(NodeId(node)),
            _ => Change::Remove(NodeId(node)),
        })
    }

    proptest! {
        #[test]
        fn joint_and_leave_is_what_the_wishes_say(
            wishes in proptest::collection::vec(proptest::collection::vec(change(), 1..5), 1..6),
        ) {
            let mut config = Config::of_voters(&ids(&[1, 2, 3]));
            for changes in wishes {
                let Ok(next) = config.change(&changes) else { continue };
                prop_assert!(next.is_sound());
                prop_assert_eq!(Config::decode(&next.encode()), Some(next.clone()));
                let last = if next.is_joint() { next.leave().unwrap() } else { next };
                prop_assert!(last.is_sound() && !last.is_joint());
                for node in (1..8).map(NodeId) {
                    let wish = changes.iter().rev().find(|change| {
                        let (Change::Voter(of) | Change::Learner(of) | Change::Remove(of)) = **change;
                        of == node
                    });
                    let expected = match wish {
                        Some(Change::Voter(_)) => (true, false),
                        Some(Change::Learner(_)) => (false, true),
                        Some(Change::Remove(_)) => (false, false),
                        None => (config.is_voter(node), config.is_learner(node)),
                    };
                    prop_assert_eq!((last.is_voter(node), last.is_learner(node)), expected);
                }
                config = last;
            }
        }

        #[test]
        fn any_bytes_decode_to_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(config) = Config::decode(&bytes) {
                prop_assert_eq!(config.encode(), bytes);
            }
        }
    }
}
