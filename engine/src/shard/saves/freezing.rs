//! The beginning of a save: which group, at which entry, and onto which files.

use raft::EntryId;
use runtime::Disk;
use snapshot::{BuildSpec, RunReference, Use};

use super::merge_plan::merged_files;
use super::{Finished, SAVES_RUNNING_MAX, SaveEnd, Shard};
use crate::shard::save_task::{Below, Merged, Save, save};
use crate::snapshot_life::Milestone;
use crate::state_machine::{Frozen, StateMachine};

impl<S: StateMachine, D: Disk> Shard<S, D> {
    pub(super) fn freeze_next(&mut self) {
        while self.saves.running.len() < SAVES_RUNNING_MAX
            && let Some(number) = self.saves.plan.next(self.now)
        {
            let applied = self.replicas[number].raft.applied_index();
            let term = self.replicas[number].raft.term_at(applied);
            let Some(term) = term.filter(|_| self.unsaved(number) > 0) else {
                self.let_go(number);
                self.saves.plan.take_next();
                continue;
            };
            if self.saves.thawing.contains(&number) {
                return;
            }
            let is_durable = self.replicas[number].raft.persisted_index() >= applied;
            // Frozen early and published as ever it would do no harm: its record stands behind those entries in the log.
            if !is_durable && !runtime::mutant!("save.ahead_of_log") {
                // A replica slower than the quorum has always applied more than it has synced: it waits for its
                // disk, which takes as long as the batches in flight.
                self.saves.holding = Some(number);
                return;
            }
            self.let_go(number);
            if !self.freeze(number, EntryId::new(term, applied)) {
                return;
            }
            self.saves.plan.take_next();
        }
    }

    /// The replica may apply again.
    fn let_go(&mut self, number: usize) {
        if self.saves.holding.take_if(|held| *held == number).is_some() {
            self.mark_dirty(number);
        }
    }

    /// Freezes a replica at `id`, its newest applied and durable entry, and has the image written.
    fn freeze(&mut self, number: usize, id: EntryId) -> bool {
        let replica = &mut self.replicas[number];
        let Ok(slot) = self.saves.store.begin_build(replica.group, id) else { return false };
        let spec = BuildSpec {
            store: self.settings.store,
            shard: u32::from(self.shard),
            membership: replica.config.encode(),
        };
        let image = replica.machine.freeze();
        let below = self.below(number, &*image);
        let serves = self.replicas[number].machine.serves();
        let (loader, rest) = (self.saves.loader.clone(), self.save_rest());
        self.saves.running.push(number);
        self.reached(Milestone::Frozen, number, id);
        self.background.spawn(async move {
            let result = save(Save { loader, rest, slot, spec, image, below, serves }).await;
            Finished::Saved(SaveEnd { replica: number, result })
        });
        true
    }

    /// What the group's snapshot has under an image, and what of that goes into one file with it.
    fn below(&self, number: usize, image: &dyn Frozen) -> Below {
        let Some(is_deleted) = image.changes() else { return Below::default() };
        let manifest = self.saves.store.manifest(self.replicas[number].group);
        let mut runs = manifest.map(|manifest| manifest.runs).unwrap_or_default();
        let sizes: Vec<u64> = runs.iter().map(|run| run.bytes).collect();
        let kept = runs.split_off(merged_files(image.bytes(), &sizes));
        let hold = |reference: RunReference| {
            let guard = self.saves.store.hold(reference.name, Use::Merging);
            let guard = guard.expect("a published file is there");
            Merged { reference, path: self.saves.store.path(reference.name), guard }
        };
        Below { merged: runs.into_iter().map(hold).collect(), kept, is_deleted: Some(is_deleted) }
    }
}
