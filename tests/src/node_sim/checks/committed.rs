//! What is committed once is committed for ever, and everybody who commits an index commits the same entry there.

use std::collections::BTreeMap;

use raft::{EntryId, GroupId, Index, Term};

use super::Look;
use crate::core_sim::violation::require;

/// Every entry that was committed.
#[derive(Default)]
pub struct Committed(BTreeMap<(GroupId, Index), Term>);

impl Committed {
    /// The replica says that the entry is committed. Whether nobody has said so before.
    pub fn check(&mut self, look: &Look, id: EntryId) -> bool {
        let is_new = !self.0.contains_key(&(look.group, id.index));
        let first = *self.0.entry((look.group, id.index)).or_insert(id.term);
        require!(
            first == id.term,
            "committed",
            "group {}: {} commits {id}, where term {first} was committed",
            look.group,
            look.node
        );
        is_new
    }

    /// The newest of a group.
    pub fn newest(&self, group: GroupId) -> Option<EntryId> {
        let mut of_group = self.0.range((group, Index(0))..=(group, Index(u64::MAX)));
        of_group.next_back().map(|((_, index), term)| EntryId::new(*term, *index))
    }
}
