//! A replica gives one vote per term, over all restarts of its disk, and never comes back in an older term than it has
//! promised anything in (Raft, Figure 2: what must be durable before an answer). Goes by what left the shard in frames, so
//! a vote that nobody was told does not count. Says nothing of terms in questions, refusals and answers to beats, which
//! promise nothing that the durable votes of that term do not, and nothing of a node whose disk was replaced: that is another one.

use std::collections::BTreeMap;

use raft::{GroupId, NodeId, Term};
use ringraft::simulation::{Promise, Said};

use super::Look;
use crate::core_sim::violation::require;

/// A replica, by its disk.
type Replica = (GroupId, NodeId, u64);

/// Who voted for whom, and in which term each replica has promised to be.
#[derive(Default)]
pub struct Votes {
    given: BTreeMap<(Replica, Term), NodeId>,
    terms: BTreeMap<Replica, Term>,
}

impl Votes {
    /// A node on its disk of this life said something.
    pub fn said(&mut self, (node, life): (NodeId, u64), said: &Said) {
        let replica = (said.group, node, life);
        let candidate = match said.promise {
            Promise::Vote => said.to,
            Promise::OwnVote => node,
            Promise::Term => return self.promised(replica, said.term),
            Promise::Nothing => return,
        };
        self.promised(replica, said.term);
        let first = *self.given.entry((replica, said.term)).or_insert(candidate);
        require!(
            first == candidate,
            "one_vote",
            "group {}: {node} votes for {first} and {candidate} in term {}",
            said.group,
            said.term
        );
    }

    fn promised(&mut self, replica: Replica, term: Term) {
        let newest = self.terms.entry(replica).or_default();
        *newest = term.max(*newest);
    }

    /// The replica after a turn, perhaps its first after a restart.
    pub fn check(&self, look: &Look) {
        let promised = self.terms.get(&(look.group, look.node, look.life));
        require!(
            promised.is_none_or(|promised| look.term >= *promised),
            "one_vote",
            "group {}: {} is in term {} and has promised to be in {promised:?}",
            look.group,
            look.node,
            look.term
        );
    }
}
