//! Looking at a replica without changing it.

use crate::config::Config;
use crate::event::{FollowerStatus, Role, Status};
use crate::id::{EntryId, GroupId, Index, NodeId, Term};
use crate::replica::{Raft, State};
use crate::settings::Standing;

impl Raft {
    /// The newest committed index: the shard applies everything up to it.
    #[inline]
    #[must_use]
    pub fn committed(&self) -> Index {
        self.commit
    }

    /// What this replica is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Whether this replica leads its term, as far as it knows.
    #[inline]
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.state, State::Leader(_))
    }

    /// The group.
    #[inline]
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The newest term heard of.
    #[inline]
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom it voted for in its term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The leader of the term, if known.
    #[inline]
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The newest entry's index.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Index {
        self.log.last().index
    }

    /// The newest entry's term.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.log.last().term
    }

    /// Everything up to here is durable.
    #[inline]
    #[must_use]
    pub fn persisted_index(&self) -> Index {
        self.durability.persisted()
    }

    /// Everything up to here is applied.
    #[inline]
    #[must_use]
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// Nobody has to be sent entries up to here, as far as is known: of a leader, what every follower has acknowledged;
    /// [`Index`]`(u64::MAX)` of anyone else.
    #[must_use]
    pub fn held_everywhere(&self) -> Index {
        let State::Leader(leading) = &self.state else { return Index(u64::MAX) };
        leading.peers.iter().map(|(_, peer)| peer.matched).min().unwrap_or(Index(u64::MAX))
    }

    /// The last entry that is in the snapshot only.
    #[must_use]
    pub fn compacted(&self) -> EntryId {
        self.log.compacted()
    }

    /// The configuration in force: the newest in the log, committed or not.
    #[must_use]
    pub fn config(&self) -> Config {
        self.configs.membership.config()
    }

    /// The index of its entry; 0 for that of a new group.
    #[must_use]
    pub fn config_index(&self) -> Index {
        self.configs.index
    }

    /// Whether it is known to be committed.
    #[must_use]
    pub fn is_config_committed(&self) -> bool {
        self.configs.index <= self.commit
    }

    /// Whether `node` belongs to the group in any way.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.configs.membership.slot(node).is_some()
    }

    /// Whether the replica rests: it keeps no timer and owes nobody anything.
    #[must_use]
    pub fn is_quiesced(&self) -> bool {
        self.quiesced
    }

    /// Whether it may take part.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The term of the entry at `index`; `None` before `compacted` and after `last`.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Everything at a glance. Allocates: for people and tests.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut followers = Vec::new();
        let mut transfer = None;
        if let State::Leader(leading) = &self.state {
            transfer = leading.transferring_to();
            followers.extend(leading.peers.iter().map(|(slot, peer)| {
                let node = self.configs.membership.nodes()[slot];
                FollowerStatus {
                    node,
                    state: peer.state(),
                    matched: peer.matched,
                    next: peer.next,
                    inflight_bytes: peer.inflight_bytes(),
                    stands: peer.stands,
                    learner: !self.configs.membership.is_voter(node),
                    heard: peer.heard,
                }
            }));
        }
        Status {
            role: self.role(),
            term: self.term,
            leader: self.leader,
            last: self.log.last(),
            persisted: self.durability.persisted(),
            committed: self.commit,
            applied: self.applied,
            compacted: self.log.compacted(),
            config: self.config(),
            config_index: self.configs.index,
            config_committed: self.is_config_committed(),
            quiesced: self.quiesced,
            standing: self.standing,
            transfer,
            followers,
        }
    }
}
