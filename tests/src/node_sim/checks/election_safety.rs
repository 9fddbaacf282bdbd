//! At most one leader per group and term (Raft, Figure 3). Says nothing of leaders that never had a turn.

use std::collections::BTreeMap;

use raft::{GroupId, NodeId, Term};

use super::Look;
use crate::core_sim::violation::require;

/// Who led each term.
#[derive(Default)]
pub struct Leaders(BTreeMap<(GroupId, Term), NodeId>);

impl Leaders {
    /// The replica leads.
    pub fn check(&mut self, look: &Look) {
        let first = *self.0.entry((look.group, look.term)).or_insert(look.node);
        require!(
            first == look.node,
            "election_safety",
            "group {}: {first} and {} both lead term {}",
            look.group,
            look.node,
            look.term
        );
    }
}
