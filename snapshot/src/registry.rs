//! Who uses which file, in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use raft::{EntryId, GroupId, Index, Term};

use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::name::{SnapshotName, Stage};

/// What a file is used for. A used file is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Being written from the state machine, or finished and not yet published.
    Building,
    /// Being read for a peer.
    Sending,
    /// Being written from a peer's chunks, or finished and not yet published.
    Receiving,
    /// Being loaded into the state machine.
    Installing,
    /// Answering reads.
    Serving,
    /// Being merged into a newer file by a save.
    Merging,
    /// One of several files of a snapshot that is being sent, which another one counts for.
    SendingBeside,
    /// Being read for a backup. Whoever holds it for that bounds how many are.
    BackingUp,
}

/// A use that was refused; try again when another has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// As many as the limits allow are under way.
    #[error("{running} snapshots are in use for {usage:?}, which is the limit")]
    Busy {
        /// For what.
        usage: Use,
        /// How many.
        running: usize,
    },
    /// There is no such complete file: it was superseded and deleted, or never made.
    #[error("there is no snapshot {0}")]
    Unknown(SnapshotName),
}

/// What the registry knows of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// The file.
    pub name: SnapshotName,
    /// How far it is.
    pub stage: Stage,
    /// Whether the group's newest durable record names it.
    pub live: bool,
    /// What it is used for; the same use appears as often as it is made.
    pub uses: Vec<Use>,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    live: bool,
    /// Its removal is under way: it can neither be used nor named again until that is over.
    leaving: bool,
    uses: BTreeMap<Use, usize>,
}

/// Shared by the store and its guards, all on one thread.
#[derive(Debug)]
pub(crate) struct Registry {
    files: BTreeMap<SnapshotName, Entry>,
    manifests: BTreeMap<GroupId, Manifest>,
    limits: Limits,
}

impl Registry {
    pub fn new(limits: Limits) -> Registry {
        Registry { files: BTreeMap::new(), manifests: BTreeMap::new(), limits }
    }

    /// Notes a file found at start.
    pub fn found(&mut self, name: SnapshotName, stage: Stage) {
        self.files.insert(name, Entry { stage, live: false, leaving: false, uses: BTreeMap::new() });
    }

    /// Names a new file, after all others of its group and entry.
    pub fn allocate(&mut self, group: GroupId, id: EntryId, usage: Use) -> Result<SnapshotName, Refused> {
        let stage = match usage {
            Use::Building => Stage::Building,
            Use::Receiving => Stage::Receiving,
            _ => unreachable!("only complete files are used so"),
        };
        self.admit(usage)?;
        let of_id = |build| SnapshotName { group, id, build };
        let newest = self.files.range(of_id(0)..=of_id(u32::MAX)).next_back();
        let named = self.manifests.get(&group).map(|manifest| &manifest.runs[..]).unwrap_or_default();
        let named = named.iter().map(|run| run.name).filter(|name| name.id == id).max();
        let taken = newest.map(|(name, _)| *name).max(named);
        let build = taken.map_or(0, |name| name.build.checked_add(1).expect("fewer than 2^32 builds"));
        let name = of_id(build);
        self.files
            .insert(name, Entry { stage, live: false, leaving: false, uses: BTreeMap::from([(usage, 1)]) });
        Ok(name)
    }

    /// Counts one more use of a complete file.
    pub fn hold(&mut self, name: SnapshotName, usage: Use) -> Result<(), Refused> {
        self.admit(usage)?;
        let usable = |entry: &&mut Entry| entry.stage == Stage::Complete && !entry.leaving;
        let entry = self.files.get_mut(&name).filter(usable);
        *entry.ok_or(Refused::Unknown(name))?.uses.entry(usage).or_default() += 1;
        Ok(())
    }

    fn admit(&self, usage: Use) -> Result<(), Refused> {
        let limit = match usage {
            Use::Building => self.limits.builds_max,
            Use::Sending => self.limits.sends_max,
            Use::Receiving => self.limits.receives_max,
            Use::Installing | Use::Serving | Use::Merging | Use::SendingBeside | Use::BackingUp => {
                return Ok(());
            }
        };
        let running = self.files.values().filter_map(|entry| entry.uses.get(&usage)).sum();
        if running < limit { Ok(()) } else { Err(Refused::Busy { usage, running }) }
    }

    fn release(&mut self, name: SnapshotName, usage: Use) {
        let may_be_gone =
            runtime::mutant!("snapshot.used_files_removed") || runtime::mutant!("backup.held_files_removed");
        if may_be_gone && !self.files.contains_key(&name) {
            return;
        }
        let uses = &mut self.files.get_mut(&name).expect("a used file is not forgotten").uses;
        let count = uses.get_mut(&usage).expect("counted when the guard was made");
        *count -= 1;
        if *count == 0 {
            uses.remove(&usage);
        }
    }

    pub fn completed(&mut self, name: SnapshotName) {
        self.files.get_mut(&name).expect("its slot is a use").stage = Stage::Complete;
    }

    /// Makes the runs of `manifest` the live ones of its group. Runs that are not here (missing after a crash
    /// that damaged the directory) are returned.
    pub fn publish(&mut self, manifest: &Manifest) -> Vec<SnapshotName> {
        self.retire(manifest.group);
        let mut missing = Vec::new();
        for run in &manifest.runs {
            match self.files.get_mut(&run.name) {
                Some(entry) if entry.stage == Stage::Complete && !entry.leaving => entry.live = true,
                _ => missing.push(run.name),
            }
        }
        self.manifests.insert(manifest.group, manifest.clone());
        missing
    }

    /// Makes no file of the group live.
    pub fn retire(&mut self, group: GroupId) {
        self.manifests.remove(&group);
        let name = |term, index, build| SnapshotName { group, id: EntryId { term, index }, build };
        let all = name(Term(0), Index(0), 0)..=name(Term(u64::MAX), Index(u64::MAX), u32::MAX);
        for (_, entry) in self.files.range_mut(all) {
            entry.live = false;
        }
    }

    pub fn manifest(&self, group: GroupId) -> Option<&Manifest> {
        self.manifests.get(&group)
    }

    /// One file that is neither live nor used, for removal; nobody can begin to use it now.
    pub fn take_garbage(&mut self) -> Option<(SnapshotName, Stage)> {
        let is_sent = |usage: &Use| matches!(usage, Use::Sending | Use::SendingBeside);
        let sent = |usage: &Use| is_sent(usage) && runtime::mutant!("snapshot.used_files_removed");
        let backed_up =
            |usage: &Use| *usage == Use::BackingUp && runtime::mutant!("backup.held_files_removed");
        let unused = |entry: &Entry| entry.uses.keys().all(|usage| sent(usage) || backed_up(usage));
        let unwanted = |entry: &Entry| !entry.live && !entry.leaving && unused(entry);
        let (name, entry) = self.files.iter_mut().find(|(_, entry)| unwanted(entry))?;
        entry.leaving = true;
        Some((*name, entry.stage))
    }

    /// How the removal of what `take_garbage` returned ended.
    pub fn removed(&mut self, name: SnapshotName, gone: bool) {
        if gone {
            self.files.remove(&name);
        } else {
            self.files.get_mut(&name).expect("kept while it leaves").leaving = false;
        }
    }

    pub fn status(&self) -> Vec<FileStatus> {
        let status = |(name, entry): (&SnapshotName, &Entry)| FileStatus {
            name: *name,
            stage: entry.stage,
            live: entry.live,
            uses: entry.uses.iter().flat_map(|(usage, count)| std::iter::repeat_n(*usage, *count)).collect(),
        };
        self.files.iter().map(status).collect()
    }
}

/// One use of a file: while it lives, the file does.
pub struct Guard {
    registry: Rc<RefCell<Registry>>,
    name: SnapshotName,
    usage: Use,
}

impl Guard {
    /// Wraps a use that was counted in the registry.
    pub(crate) fn of_counted(registry: Rc<RefCell<Registry>>, name: SnapshotName, usage: Use) -> Guard {
        Guard { registry, name, usage }
    }

    /// The file.
    pub fn name(&self) -> SnapshotName {
        self.name
    }

    /// What it is used for.
    pub fn usage(&self) -> Use {
        self.usage
    }

    pub(crate) fn completed(&self) {
        self.registry.borrow_mut().completed(self.name);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.registry.borrow_mut().release(self.name, self.usage);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({}, {:?})", self.name, self.usage)
    }
}
