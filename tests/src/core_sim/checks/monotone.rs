//! What only grows: terms over all restarts, what is committed and applied within a run, and the
//! committed configuration.

use std::collections::BTreeMap;

use raft::{Index, NodeId, Term};

use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::monotone";

/// A run of a node.
pub type Run = (NodeId, u32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    term: Term,
    committed: Index,
    applied: Index,
    compacted: Index,
}

/// What every run has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<NodeId, (u32, Mark)>);

impl Marks {
    fn of(&self, (node, boot): Run) -> Mark {
        let known = self.0.get(&node).filter(|(run, _)| *run == boot);
        known.map(|(_, mark)| *mark).unwrap_or_default()
    }

    /// What this run has committed so far.
    #[must_use]
    pub fn committed(&self, run: Run) -> Index {
        self.of(run).committed
    }

    /// The node is another one from now on.
    pub fn reborn(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// Judges the cursors after a step.
    pub fn check(&mut self, scene: &Scene) {
        let machine = scene.machine();
        let raft = &scene.life().node.raft;
        let before = self.of((machine.id, machine.boot));
        let mark = Mark {
            term: raft.term(),
            committed: raft.committed(),
            applied: raft.applied_index(),
            compacted: raft.compacted().index,
        };
        let grows = before.term <= mark.term
            && before.committed <= mark.committed
            && before.applied <= mark.applied
            && before.compacted <= mark.compacted;
        require!(grows, CHECK, "{}: {before:?} became {mark:?}", machine.id);
        let promised = machine.disk.hard_state.term;
        require!(promised <= mark.term, CHECK, "{} is in {:?}, {promised:?} on disk", machine.id, mark.term);
        self.0.insert(machine.id, (machine.boot, mark));
    }
}
