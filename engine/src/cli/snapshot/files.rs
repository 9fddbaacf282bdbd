//! The snapshot files of one shard, beside what its log says of them.

use std::path::PathBuf;

use raft::GroupId;
use runtime::{Disk, ReadDisk, ReadFile};
use serde::Serialize;
use snapshot::{FileRun, Manifest, RunReference, SnapshotError, SnapshotName, Stage};

use crate::cli::stopped::Stopped;
use crate::cli::{Exit, Failure};
use crate::node::snapshots_dir;

/// What a start makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// The log names it: it is, or is a part of, its group's state.
    Live,
    /// The log names it, and it is not there.
    Missing,
    /// It is whole, and the log names another one: a start deletes it.
    Unnamed,
    /// It was being built: a start deletes it.
    Building,
    /// It was being received: a start deletes it.
    Receiving,
}

/// One file.
pub(super) struct Found {
    pub(super) name: SnapshotName,
    pub(super) path: PathBuf,
    pub(super) state: State,
    pub(super) file_bytes: u64,
    /// How the log names it, if it does.
    pub(super) reference: Option<RunReference>,
}

impl Found {
    /// Opens a live file, and checks that it is the one that the log names.
    pub(super) fn open(&self) -> Result<FileRun<ReadFile>, SnapshotError> {
        let run = ReadDisk::answer(FileRun::open(&ReadDisk, &self.path))?;
        match &self.reference {
            Some(reference) => run.expect(reference).map(|()| run),
            None => Ok(run),
        }
    }
}

/// The files of a shard.
pub(super) struct Files {
    /// By group, the newest state first.
    pub(super) files: Vec<Found>,
    /// Records of the log that do not say which files are a group's state.
    pub(super) problems: Vec<String>,
}

impl Files {
    /// # Errors
    /// [`Exit::Corruption`]: the log cannot be read as a start would read it. [`Exit::Failed`]: the disk does not answer.
    pub(super) fn of(stopped: &Stopped<'_>, shard: u32) -> Result<Files, Failure> {
        let log = stopped.inspect(shard)?;
        let (mut live, mut problems) = (Vec::new(), Vec::new());
        for group in &log.recovered().groups {
            let Some(record) = &group.snapshot else { continue };
            match Manifest::decode(record) {
                Ok(manifest) => live.extend(manifest.runs),
                Err(error) => problems.push(format!("group {}: {error}", group.group)),
            }
        }
        let dir = snapshots_dir(stopped.dir, shard);
        let failed = |error: std::io::Error, what: &std::path::Path| {
            Failure::new(Exit::Failed, anyhow::Error::new(error).context(what.display().to_string()))
        };
        let mut files = Vec::new();
        for file_name in ReadDisk::answer(ReadDisk.list(&dir)).map_err(|error| failed(error, &dir))? {
            let Some((name, stage)) = Stage::parse(&file_name) else { continue };
            let path = dir.join(&file_name);
            let data = std::fs::metadata(&path).map_err(|error| failed(error, &path))?;
            let reference = live.iter().find(|run| run.name == name).filter(|_| stage == Stage::Complete);
            let state = match (stage, reference) {
                (Stage::Building, _) => State::Building,
                (Stage::Receiving, _) => State::Receiving,
                (Stage::Complete, Some(_)) => State::Live,
                (Stage::Complete, None) => State::Unnamed,
            };
            files.push(Found { name, path, state, file_bytes: data.len(), reference: reference.copied() });
        }
        for run in live {
            if !files.iter().any(|file| file.name == run.name && file.state == State::Live) {
                let path = dir.join(run.name.file_name());
                let (name, reference) = (run.name, Some(run));
                files.push(Found { name, path, state: State::Missing, file_bytes: 0, reference });
            }
        }
        files.sort_unstable_by_key(|file| (file.name.group, std::cmp::Reverse(file.name), file.path.clone()));
        Ok(Files { files, problems })
    }

    /// The files that are the state of groups: of `group`, or of all.
    pub(super) fn live(&self, group: Option<u32>) -> impl Iterator<Item = &Found> {
        let wanted = move |name: &SnapshotName| group.is_none_or(|group| name.group == GroupId(group));
        self.files.iter().filter(move |file| file.reference.is_some() && wanted(&file.name))
    }
}

/// What a tool ends with when a file cannot be read to its end.
pub(super) fn failure(error: SnapshotError) -> Failure {
    let exit = if error.is_corrupt() { Exit::Corruption } else { Exit::Failed };
    Failure::new(exit, error)
}

/// The same for a file that is not there.
pub(super) fn missing(file: &Found) -> Failure {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let place = format!("{}: the log names it", file.path.display());
    Failure::new(Exit::Corruption, anyhow::Error::new(missing).context(place))
}
