//! From snapshot files back to state machines, at a start for all groups.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use raft::GroupId;
use raftlog::RecoveredGroup;
use runtime::Disk;
use snapshot::{Limits, Manifest, SnapshotError, Store};

use super::loader::{Loader, Opener, ServingLimits};
use super::residence::Residence;
use super::save_task::Pause;
use crate::state_machine::{Lookups, RestoreError, StateMachine};

/// Why a state could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{}: {source}", path.display())]
    Entry { path: PathBuf, source: RestoreError },
    #[error("{}: {found} of {expected} items came back", path.display())]
    Items { path: PathBuf, found: u64, expected: u64 },
    #[error("{}: the log names this file, and it is missing", path.display())]
    Missing { path: PathBuf },
    #[error("group {group}: the log's snapshot record cannot be used: {problem}")]
    Record { group: GroupId, problem: String },
}

impl LoadError {
    /// Whether acknowledged data is damaged, in contrast to a disk that does not answer.
    pub(crate) fn is_corrupt(&self) -> bool {
        match self {
            LoadError::Snapshot(error) => error.is_corrupt(),
            _ => true,
        }
    }

    /// Whether what the file held is gone, be it that the disk has other bytes or that it cannot read them.
    fn is_loss(&self) -> bool {
        self.is_corrupt() || matches!(self, LoadError::Snapshot(error) if error.is_unreadable())
    }
}

/// What is wrong with a manifest's runs: the newest stands where the snapshot does, the others lie behind, and all are of its
/// group.
pub(super) fn check_runs(manifest: &Manifest) -> Result<(), &'static str> {
    let names = manifest.runs.iter().map(|run| run.name);
    if names.clone().next().is_none_or(|newest| newest.id != manifest.id) {
        return Err("its newest file stands at another entry");
    }
    if names.clone().any(|name| name.group != manifest.group) {
        return Err("it has a file of another group");
    }
    if !names.is_sorted_by(|newer, older| newer.id.index > older.id.index) {
        return Err("its files are not in order");
    }
    Ok(())
}

/// Opens a shard's snapshots and loads the state of every group the log has one for; the others start empty. What
/// the log does not name is deleted. A state that cannot be loaded is left to the group's leader, if `heals`.
pub(crate) async fn open_snapshots<S: StateMachine, D: Disk>(
    disk: &D,
    dir: &Path,
    groups: Vec<RecoveredGroup>,
    factory: &dyn Fn(GroupId) -> S,
    (access, serving): (Opener, ServingLimits),
    heals: bool,
) -> Result<(Loader<D>, Vec<(RecoveredGroup, S)>), LoadError> {
    let mut manifests = Vec::new();
    for known in &groups {
        manifests.extend(manifest_of(known)?);
        known.memberships.iter().try_for_each(|(_, config)| check_config(known.group, config))?;
    }
    // Builds are bounded by the plan of saves; files that wait to be published count as building too.
    let limits = Limits { builds_max: usize::MAX, ..Limits::default() };
    let (store, report) = Store::open(disk.clone(), dir, &manifests, limits).await?;
    // Nothing is served yet that would have to wait.
    let pause: Pause = Rc::new(|_rest| Box::pin(std::future::ready(())));
    let loader = Loader {
        disk: disk.clone(),
        store,
        pause,
        access,
        residence: Rc::new(Residence::new(serving.mapped_bytes_max, Lookups::default())),
        hurries: Rc::new(Cell::new(true)),
        whole_bytes: Rc::new(Cell::new(serving.checked_at_start_bytes)),
        heals,
    };
    let store = &loader.store;
    let mut loaded = Vec::with_capacity(groups.len());
    for mut known in groups {
        let mut machine = factory(known.group);
        let missing = report.missing.iter().find(|name| name.group == known.group);
        let result = match (missing, store.manifest(known.group)) {
            (Some(name), _) => Err(LoadError::Missing { path: store.path(*name) }),
            (None, Some(manifest)) => load(&loader, &manifest, &mut machine).await,
            (None, None) => Ok(()),
        };
        match result {
            Ok(()) => {}
            Err(error) if error.is_loss() && heals => {
                runtime::mark!("start.snapshot_lost");
                if !error.is_corrupt() {
                    runtime::mark!("start.snapshot_unreadable");
                }
                tracing::error!(group = %known.group, %error, "what it held must come from the group's leader again");
                machine = factory(known.group);
                store.forget(known.group);
                if error.is_corrupt() || !runtime::mutant!("start.unreadable_is_empty") {
                    known.lose_all();
                }
            }
            Err(error) => return Err(error),
        }
        loaded.push((known, machine));
    }
    // What is opened from now on is new here.
    loader.whole_bytes.set(u64::MAX);
    Ok((loader, loaded))
}

async fn load<S: StateMachine, D: Disk>(
    loader: &Loader<D>,
    manifest: &Manifest,
    machine: &mut S,
) -> Result<(), LoadError> {
    runtime::mark!("start.from_snapshot");
    check_runs(manifest).map_err(|problem| record_error(manifest.group, problem))?;
    loader.load(manifest, machine).await?;
    let bytes: u64 = manifest.runs.iter().map(|run| run.bytes).sum();
    let files = manifest.runs.len();
    tracing::info!(group = %manifest.group, id = %manifest.id, bytes, files, "loaded a snapshot");
    Ok(())
}

/// The manifest in the log's newest snapshot record of a group.
fn manifest_of(known: &RecoveredGroup) -> Result<Option<Manifest>, LoadError> {
    if known.snapshot_id.index < known.compacted.index {
        let problem = format!("it is at {}, the log begins after {}", known.snapshot_id, known.compacted);
        return Err(record_error(known.group, problem));
    }
    let Some(body) = &known.snapshot else { return Ok(None) };
    let manifest = Manifest::decode(body).map_err(|error| record_error(known.group, error.to_string()))?;
    check_config(known.group, &manifest.membership)?;
    if (manifest.group, manifest.id) != (known.group, known.snapshot_id) {
        return Err(record_error(known.group, "its manifest is about another group or entry"));
    }
    Ok(Some(manifest))
}

/// A configuration that this version cannot read must not be taken for none.
fn check_config(group: GroupId, bytes: &[u8]) -> Result<(), LoadError> {
    let readable = raft::Config::decode(bytes).map(|_| ());
    readable.ok_or_else(|| record_error(group, "its configuration is of a newer version"))
}

fn record_error(group: GroupId, problem: impl Into<String>) -> LoadError {
    LoadError::Record { group, problem: problem.into() }
}
