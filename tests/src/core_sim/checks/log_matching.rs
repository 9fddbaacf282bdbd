//! Log Matching (thesis Figure 3.2): an id names one entry, after one predecessor, in every log. By
//! induction over what is written, logs that share an id share everything before it.

use std::collections::HashMap;

use raft::{EntryId, Index, Term};

use super::super::disk::Entry;
use super::super::violation::require;
use super::Scene;

/// All entries that were ever in any log: by id, the term before it, and the content.
#[derive(Clone, Debug, Default)]
pub struct Entries(HashMap<EntryId, (Term, Entry)>);

impl Entries {
    /// Judges what a step has written.
    pub fn check(&mut self, scene: &Scene) {
        let node = &scene.life().node;
        let Some(from) = node.changed_from else { return };
        for index in from.0.max(node.log.compacted.index.0 + 1)..=node.log.last().0 {
            let index = Index(index);
            let (Some(before), Some(entry)) = (node.log.term_at(index.previous()), node.log.get(index))
            else {
                continue;
            };
            let own = (before, entry.clone());
            let known = self.0.entry(EntryId::new(entry.term, index)).or_insert_with(|| own.clone());
            require!(
                *known == own,
                "checks::log_matching",
                "{}: entry {index} is {own:?}, elsewhere {known:?}",
                node.id
            );
        }
    }
}
