//! If two logs hold an entry with the same index and term, it is the same entry, and so are all before it (Raft, Figure 3).
//! Compares the bytes' checksums as entries come in, by way of the entry before each. Entries that are never in memory
//! while a shard is looked at (read back at a start) are compared by their terms only.

use std::collections::BTreeMap;

use raft::{EntryId, GroupId, Index, Term};
use ringraft::simulation::EntryLook;

use super::Look;
use crate::core_sim::violation::require;

/// Of each entry: the term of the one before it, and its checksum.
#[derive(Default)]
pub struct Entries(BTreeMap<(GroupId, EntryId), (Option<Term>, u32)>);

impl Entries {
    /// These entries are new in the replica's log.
    pub fn check(&mut self, look: &Look, entries: &[EntryLook], term_at: impl Fn(Index) -> Option<Term>) {
        for entry in entries {
            let now = (term_at(entry.id.index.previous()), entry.checksum);
            let first = self.0.entry((look.group, entry.id)).or_insert(now);
            // What is before the log's begin is not known.
            let before_differs = first.0.zip(now.0).is_some_and(|(first, now)| first != now);
            require!(
                first.1 == now.1 && !before_differs,
                "log_matching",
                "group {}: {} has another entry {} than others have: {now:?} instead of {first:?}",
                look.group,
                look.node,
                entry.id
            );
            first.0 = first.0.or(now.0);
        }
    }
}
