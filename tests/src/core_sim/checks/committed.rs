//! State Machine Safety (thesis Figure 3.2): what one replica has committed at an index, no replica
//! ever commits as another; and nothing is skipped.

use raft::Index;

use super::super::disk::{index_of, position_of};
use super::super::violation::require;
use super::{Ledger, Scene, durable_quorum};

const CHECK: &str = "checks::committed";

impl Ledger {
    /// Judges what a step has committed, and adds it to the history.
    pub(super) fn commit(&mut self, scene: &Scene) {
        let node = &scene.life().node;
        let key = (node.id, scene.machine().boot);
        let before = self.marks.committed(key);
        for index in before.0.max(node.log.compacted.index.0) + 1..=node.raft.committed().0 {
            let entry = node.log.get(Index(index)).expect("what is committed is in the log");
            match self.history.get(position_of(index - 1)) {
                Some(committed) => {
                    require!(
                        committed == entry,
                        CHECK,
                        "{}: entry {index} is committed as {committed:?} and as {entry:?}",
                        node.id
                    );
                }
                None => {
                    let next = index_of(self.history.len()) + 1;
                    require!(next == index, CHECK, "{} commits {index} before {next}", node.id);
                    durable_quorum::check(scene, Index(index), entry);
                    self.history.push(entry.clone());
                    self.committed_in.push(node.raft.term());
                }
            }
        }
    }
}
