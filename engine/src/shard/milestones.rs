//! The life of a snapshot, as this shard has a part in it.

use raft::EntryId;
use runtime::Disk;

use super::Shard;
use crate::snapshot_life::Milestone;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Counts a milestone of a snapshot of `replica` at `id`, and leaves a line about it.
    pub(super) fn reached(&self, milestone: Milestone, replica: usize, id: EntryId) {
        self.count(milestone);
        let (step, group) = (milestone.number(), self.replicas[replica].group);
        tracing::debug!(target: "ringraft::snapshots", step, %group, %id, "{}", milestone.name());
    }

    /// These groups are to be saved: up to here, as it stands now.
    pub(super) fn note_due(&self, replicas: impl IntoIterator<Item = usize>) {
        for replica in replicas {
            let raft = &self.replicas[replica].raft;
            let applied = raft.applied_index();
            let term = raft.term_at(applied).unwrap_or_default();
            self.reached(Milestone::Due, replica, EntryId::new(term, applied));
        }
    }

    /// So many old files are gone.
    pub(super) fn take_collected(&self, files: usize) {
        if files > 0 {
            let milestone = Milestone::Collected;
            self.count(milestone);
            let step = milestone.number();
            tracing::debug!(target: "ringraft::snapshots", step, files, "{}", milestone.name());
        }
    }

    fn count(&self, milestone: Milestone) {
        self.directory.shard(self.shard).snapshots.count(milestone);
    }
}
