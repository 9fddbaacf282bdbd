//! Saving states and compacting the log behind them, in the order of durable steps (design 7): an image frozen at an
//! entry that is applied and durable; its file synced, renamed, the directory synced; the log's record that names it;
//! only when that is durable, the publication, the shorter log, and the end of older files.

mod freezing;
mod merge_plan;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use raft::{EntryId, Index, Time};
use raftlog::{BatchSeq, Log};
use runtime::Disk;
use snapshot::{Guard, Manifest, Store};

use super::Shard;
use super::background::Finished;
use super::loader::Loader;
use super::save_plan::{LogFacts, SAVES_RUNNING_MAX, SavePlan};
use super::save_rate::SaveRate;
use super::save_task::{SLICE_BYTES, SaveError, Saved};
use super::settings::ShardSettings;
use crate::snapshot_life::Milestone;
use crate::state_machine::{self, Progress, StateMachine};

/// Slices of thawing in one turn: well under a millisecond together.
const THAW_SLICES_PER_TURN_MAX: usize = 4;

/// Groups that a crowded log names at a time.
const PINNING_MAX: usize = 16;

/// A log that grows fast is looked at so often between two rounds.
const LOOKS_PER_ROUND: u64 = 8;

/// A save that has ended.
pub(super) struct SaveEnd {
    replica: usize,
    result: Result<Saved, SaveError>,
}

/// A file that is whole, and not yet in the log.
struct Built {
    replica: usize,
    manifest: Manifest,
    /// Of what is new in it.
    guards: Vec<Guard>,
    /// For a machine that answers from its files.
    served: Option<state_machine::Saved>,
}

/// A file whose record is in a batch on its way to the disk.
struct Recorded {
    batch: BatchSeq,
    built: Built,
    /// It came from a peer: the core knows of it already, and the peer waits to hear that it is safe.
    installed: bool,
    /// The machine that was saved is not there any more: a peer's newer snapshot took its place.
    is_replaced: bool,
}

/// The saves of one shard.
pub(super) struct Saves<D: Disk> {
    pub(super) store: Store<D>,
    pub(super) loader: Loader<D>,
    plan: SavePlan,
    pub(super) rate: SaveRate,
    /// The log is looked at once it has grown to this, even if the next look is not due.
    look_at_bytes: u64,
    /// The replica whose files could not be merged last, and that has not saved since.
    asked_for_whole: Option<usize>,
    /// Replicas that were to be saved while a save of theirs was under way: it may lack what came since.
    again: BTreeSet<usize>,
    /// Replicas whose image is being written.
    running: Vec<usize>,
    /// The replica that applies no further until what it applied is on its own disk, where a save may freeze it.
    holding: Option<usize>,
    built: Vec<Built>,
    recorded: VecDeque<Recorded>,
    /// Replicas with damaged entries in their log, for which a snapshot stands in.
    pub(super) healing: Vec<usize>,
    /// Replicas whose machines have work left from an image that is gone.
    thawing: VecDeque<usize>,
}

impl<D: Disk> Saves<D> {
    pub(super) fn new(now: Time, settings: &ShardSettings, loader: Loader<D>, log: &Log<D>) -> Saves<D> {
        let rate = SaveRate::new(now, settings.save_bytes_per_second, Rc::clone(&loader.hurries));
        let plan = SavePlan::new(settings.snapshot_after_bytes, settings.log_bytes_max, log_facts(log));
        Saves {
            store: loader.store.clone(),
            loader,
            plan,
            rate,
            look_at_bytes: 0,
            asked_for_whole: None,
            again: BTreeSet::new(),
            running: Vec::new(),
            holding: None,
            built: Vec::new(),
            recorded: VecDeque::new(),
            healing: Vec::new(),
            thawing: VecDeque::new(),
        }
    }

    /// The snapshots whose records are on their way to the disk.
    #[cfg(feature = "simulation")]
    pub(super) fn pending(&self) -> impl Iterator<Item = &Manifest> {
        self.recorded.iter().map(|recorded| &recorded.built.manifest)
    }

    /// Whether a save is somewhere between its freeze and its publication.
    #[cfg(feature = "simulation")]
    pub(super) fn is_saving(&self) -> bool {
        !self.running.is_empty() || !self.built.is_empty() || !self.recorded.is_empty()
    }

    /// Whether `replica` must not apply now: see `holding`.
    pub(super) fn holds(&self, replica: usize) -> bool {
        self.holding == Some(replica)
    }

    /// Whether a save of the replica is somewhere between its freeze and its publication.
    fn is_under_way(&self, replica: usize) -> bool {
        self.running.contains(&replica)
            || self.built.iter().any(|built| built.replica == replica)
            || self.recorded.iter().any(|recorded| recorded.built.replica == replica)
    }

    /// The machine has work left. While its image is read there is nothing it can do; the end of the save asks again.
    pub(super) fn thaw_later(&mut self, replica: usize) {
        if !self.running.contains(&replica) && !self.thawing.contains(&replica) {
            self.thawing.push_back(replica);
        }
    }
}

/// What the segments that hold something take, and what was written.
fn log_facts<D: Disk>(log: &Log<D>) -> LogFacts {
    let stats = log.stats();
    let segments = (stats.segments_live + stats.segments_ready).max(1) as u64;
    let live_bytes = stats.file_bytes / segments * stats.segments_live as u64;
    LogFacts { written_bytes: stats.bytes, live_bytes }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Looks at what the log holds and what is to be saved: a few times a second, and when it has grown much since.
    pub(super) fn save_if_due(&mut self) {
        let facts = log_facts(&self.log);
        self.saves.look_at_bytes = facts.written_bytes + self.settings.snapshot_after_bytes / LOOKS_PER_ROUND;
        if self.stopping.is_some() {
            return;
        }
        self.save_damaged();
        if self.saves.plan.is_crowded(facts) {
            let pinning = self.log.pinning(PINNING_MAX);
            let pinning = pinning.into_iter().filter_map(|group| self.local(group));
            let first: Vec<usize> = pinning.filter(|number| self.unsaved(*number) > 0).collect();
            self.note_due(first.iter().copied().filter(|number| !self.saves.plan.has(*number)));
            self.saves.plan.put_first(&first);
        }
        if self.saves.plan.wants_round(facts) {
            let unsaved = self.all_unsaved();
            self.note_due(unsaved.iter().map(|(replica, _)| *replica));
            self.saves.plan.begin_round(facts, unsaved.into_iter());
        }
        self.record_built();
    }

    /// Saves every group that has something unsaved.
    pub(super) fn save_all(&mut self) {
        let unsaved = self.all_unsaved();
        self.note_due(unsaved.iter().map(|(replica, _)| *replica));
        self.saves.plan.add(unsaved.into_iter());
        let under_way = (0..self.replicas.len()).filter(|number| self.saves.is_under_way(*number));
        let under_way: Vec<usize> = under_way.collect();
        self.saves.again.extend(under_way);
    }

    /// A save of the replica has ended; another was asked for meanwhile?
    fn save_again(&mut self, replica: usize) {
        let unsaved = self.unsaved(replica);
        if self.saves.again.remove(&replica) && unsaved > 0 {
            self.note_due([replica]);
            self.saves.plan.add([(replica, unsaved)].into_iter());
        }
    }

    /// The same on every shard of this node.
    pub(super) fn save_all_of_node(&mut self) {
        self.save_all();
        for shard in self.mesh.others(self.shard) {
            self.mesh.ask_for_snapshots(shard);
        }
    }

    /// Saves one group as soon as can be.
    pub(super) fn save_soon(&mut self, replica: usize) {
        if self.saves.is_under_way(replica) {
            self.saves.again.insert(replica);
        } else if self.unsaved(replica) > 0 {
            self.note_due([replica]);
            self.saves.plan.put_first(&[replica]);
        }
    }

    /// How much of a hurry saves are in: see [`SavePlan::slices_per_turn`].
    pub(super) fn save_slices_per_turn(&self) -> Option<u32> {
        self.saves.plan.slices_per_turn(log_facts(&self.log))
    }

    fn all_unsaved(&self) -> Vec<(usize, u64)> {
        let unsaved = (0..self.replicas.len()).map(|number| (number, self.unsaved(number)));
        unsaved.filter(|(_, entries)| *entries > 0).collect()
    }

    /// Applied entries that no snapshot holds, 0 while a save is under way.
    fn unsaved(&self, replica: usize) -> u64 {
        let raft = &self.replicas[replica].raft;
        let entries = raft.applied_index().0.saturating_sub(raft.compacted().index.0);
        if self.saves.is_under_way(replica) { 0 } else { entries }
    }

    /// What saves do in a turn: thaw a little, freeze the next. Costs three comparisons when there is nothing to do.
    pub(super) fn advance_saves(&mut self) {
        if self.log.written_bytes() >= self.saves.look_at_bytes {
            self.save_if_due();
        }
        if !self.saves.thawing.is_empty() {
            self.thaw_some();
        }
        if !self.saves.plan.is_empty() && self.stopping.is_none() {
            self.freeze_next();
        }
    }

    fn thaw_some(&mut self) {
        for _ in 0..THAW_SLICES_PER_TURN_MAX {
            let Some(number) = self.saves.thawing.pop_front() else { return };
            let machine = &mut self.replicas[number].machine;
            // While an image exists there is nothing to merge; its end asks again.
            if self.saves.running.contains(&number) {
                continue;
            }
            let lookups = self.saves.loader.residence.lookups();
            let (progress, has_missed) = lookups.noting(|| machine.thaw(SLICE_BYTES));
            if has_missed {
                self.blocks.wait(number);
            } else if progress == Progress::More {
                self.saves.thawing.push_back(number);
            }
        }
        self.more |= !self.saves.thawing.is_empty();
    }

    /// An image is written, or could not be.
    pub(super) fn take_saved(&mut self, end: SaveEnd) {
        let SaveEnd { replica, result } = end;
        self.saves.running.retain(|running| *running != replica);
        match result {
            Ok(Saved { manifest, guard, served }) => {
                self.reached(Milestone::Written, replica, manifest.id);
                self.saves.asked_for_whole.take_if(|asked| *asked == replica);
                self.saves.built.push(Built { replica, manifest, guards: vec![guard], served });
                self.record_built();
            }
            Err(error) => {
                let group = self.replicas[replica].group;
                tracing::warn!(%group, %error, "a save failed; the log is kept, and the save tried again");
                self.replicas[replica].machine.saved(false);
                let is_below = matches!(error, SaveError::Below(_));
                if is_below {
                    runtime::mark!("save.below_lost");
                    // All that the files hold is in the machine.
                    self.replicas[replica].machine.forget_saved();
                }
                // At once, for the log only grows; not again and again, should the machine not do as it is told.
                if is_below && self.saves.asked_for_whole.replace(replica) != Some(replica) {
                    self.saves.plan.put_first(&[replica]);
                } else {
                    self.saves.plan.failed(self.now, replica);
                }
                self.collect();
            }
        }
        self.thaw_if_wanted(replica);
    }

    fn thaw_if_wanted(&mut self, replica: usize) {
        if self.replicas[replica].machine.wants_thaw() {
            self.saves.thaw_later(replica);
        }
    }

    /// Puts the records of whole files into the log's batch. As the log lets go of what a record covers, that waits
    /// for followers that are connected and need those entries, while there is room.
    fn record_built(&mut self) {
        if self.saves.built.is_empty() {
            return;
        }
        let crowded = self.saves.plan.is_crowded(log_facts(&self.log));
        for built in std::mem::take(&mut self.saves.built) {
            let id = built.manifest.id;
            if id.index <= self.replicas[built.replica].raft.compacted().index {
                runtime::mark!("save.overtaken");
                drop(built); // a peer's newer snapshot was installed meanwhile
                self.collect();
            } else if !crowded && self.is_needed(built.replica, id.index) {
                runtime::mark!("save.waits_for_followers");
                self.saves.built.push(built);
            } else {
                self.log.snapshot(built.manifest.group, id, &built.manifest.encode(), false);
                let is_ahead = self.replicas[built.replica].raft.persisted_index() < id.index;
                if runtime::mutant!("save.published_before_record")
                    || is_ahead && runtime::mutant!("save.ahead_of_log")
                {
                    self.saves.store.publish(&built.manifest);
                    self.collect();
                }
                if runtime::mutant!("save.compacts_beyond_snapshot") {
                    let raft = &self.replicas[built.replica].raft;
                    let applied = raft.applied_index().min(raft.persisted_index());
                    let to = raft.term_at(applied).map(|term| EntryId::new(term, applied));
                    to.into_iter().for_each(|to| self.log.compact(built.manifest.group, to));
                }
                self.recorded(built, false);
            }
        }
    }

    /// Whether a connected follower lacks entries up to `index`.
    fn is_needed(&self, replica: usize, index: Index) -> bool {
        let raft = &self.replicas[replica].raft;
        raft.is_leader()
            && !self.replicas[replica].needs_snapshot()
            && raft
                .status()
                .followers
                .iter()
                .any(|follower| follower.matched < index && self.directory.is_reachable(follower.node))
    }

    fn recorded(&mut self, built: Built, installed: bool) {
        for older in self.saves.recorded.iter_mut().filter(|older| older.built.replica == built.replica) {
            older.is_replaced |= installed;
        }
        let batch = self.log.building();
        self.saves.recorded.push_back(Recorded { batch, built, installed, is_replaced: false });
    }

    /// A peer's snapshot is in the machine and its record in the log's batch.
    pub(super) fn record_installed(&mut self, replica: usize, manifest: Manifest, guards: Vec<Guard>) {
        self.recorded(Built { replica, manifest, guards, served: None }, true);
    }

    /// The log is durable up to `durable`: what its records name is the state now, and the log before it history.
    pub(super) fn publish_recorded(&mut self, durable: BatchSeq) {
        while self.saves.recorded.front().is_some_and(|recorded| recorded.batch <= durable) {
            let recorded = self.saves.recorded.pop_front().expect("just seen");
            let Recorded { built, installed, is_replaced, .. } = recorded;
            let Built { replica, manifest, guards, served } = built;
            self.saves.store.publish(&manifest);
            drop(guards);
            let bytes: u64 = manifest.runs.iter().map(|run| run.bytes).sum();
            let files = manifest.runs.len();
            tracing::info!(group = %manifest.group, id = %manifest.id, bytes, files, installed, "has a new snapshot");
            if installed {
                self.reached(Milestone::Installed, replica, manifest.id);
                self.receive_is_safe(replica, manifest.id);
            } else {
                self.reached(Milestone::Published, replica, manifest.id);
                self.replicas[replica].raft.compact(manifest.id.index);
                self.reached(Milestone::Shortened, replica, manifest.id);
                if !is_replaced || runtime::mutant!("save.replaced_machine_serves") {
                    self.replicas[replica].machine.saved(true);
                    let _taken = served.map(|saved| self.replicas[replica].machine.serve(saved));
                    self.thaw_if_wanted(replica);
                }
            }
            self.save_again(replica);
            self.mark_dirty(replica);
            self.collect();
        }
    }

    /// Has the files deleted that nobody needs any more.
    pub(super) fn collect(&mut self) {
        let store = self.saves.store.clone();
        self.background.spawn(async move {
            let collected = store.collect().await;
            let collected = collected.inspect_err(|error| {
                tracing::warn!(%error, "old snapshot files stay for now");
            });
            Finished::Collected(collected.unwrap_or(0))
        });
    }
}
