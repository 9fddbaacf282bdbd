//! Opening a data directory: all checks first, then the lock, then the first byte.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use raft::NodeId;
use runtime::{DirLock, LockError};

use super::address::NODES_MAX;
use super::durable::{self, ASIDE_SUFFIX};
use super::error::DataDirError;
use super::identity::{self, ClusterId, Identity, Incarnation};
use super::lease::LEASE_FILE_NAME;
use super::record;

/// The most shards a node can have.
pub const SHARDS_MAX: u32 = 256;
/// The most groups a cluster can have: one per hash slot.
pub const GROUPS_MAX: u32 = 16_384;
/// The fewest groups a cluster is given unless told otherwise.
pub const GROUPS_MIN: u32 = 16;

const LOCK_FILE_NAME: &str = "LOCK";
/// What a file system may put into a directory by itself.
const TOLERATED: &str = "lost+found";
const SHARD_PREFIX: &str = "shard-";
const SHARD_FOLDERS: [&str; 2] = ["log", "snapshots"];

/// What the operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The node.
    pub node: NodeId,
    /// How many shards; None: what the directory has, for a new one the number of allowed cores.
    pub shards: Option<u32>,
    /// How many groups; None: what the directory has, for a new one at least 16 and nodes times shards.
    pub groups: Option<u32>,
    /// The nodes to form a cluster with, this one among them; may be empty for a directory that exists.
    pub cluster: Vec<(NodeId, SocketAddr)>,
}

/// The operating system's random numbers.
pub(crate) fn system_random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

/// Fills bytes with random numbers.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// A data directory that this process owns. All methods block on the disk: not for shard threads.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    identity: Identity,
    record: Option<Vec<u8>>,
    boot: u64,
    _lock: DirLock,
}

impl DataDir {
    /// Opens the node's directory, or gives birth to it: a random incarnation and everything asked for are durable
    /// before this returns. Each successful call is one start: it raises the boot number, durably.
    ///
    /// # Errors
    ///
    /// [`DataDirError`]; show it and end. Nothing was changed, unless it is `Io`.
    pub fn open(dir: &Path, wanted: Wanted) -> Result<DataDir, DataDirError> {
        DataDir::open_with(dir, wanted, &mut system_random)
    }

    /// [`DataDir::open`] with another source of the random numbers that a birth needs: for a simulator.
    ///
    /// # Errors
    ///
    /// As [`DataDir::open`].
    pub fn open_with(dir: &Path, wanted: Wanted, random: Random<'_>) -> Result<DataDir, DataDirError> {
        check_wanted(&wanted)?;
        survey(dir)?.check(dir, &wanted)?;
        durable::create_dirs(dir)?;
        let lock = lock(dir)?;
        // Another process may have worked here until the lock was ours.
        let found = survey(dir)?;
        found.check(dir, &wanted)?;
        write_pid(dir)?;
        let (identity, record, boot) = match found {
            Found::Unborn => (bear(dir, &wanted, random)?, None, 0),
            Found::Node { identity, record, boot } => (identity, record, boot),
        };
        let mut opened = DataDir { dir: dir.to_path_buf(), identity, record: None, boot, _lock: lock };
        opened.finish_forming(record)?;
        opened.adopt_corrections(&wanted)?;
        if opened.identity.cluster.is_none() {
            create_shards(dir, opened.identity.shards)?;
        }
        opened.boot += 1;
        record::write_boot(dir, opened.boot)?;
        Ok(opened)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The number of this start: 1 for the first, and one more each time.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The forming record, once there is one.
    pub fn record(&self) -> Option<&[u8]> {
        self.record.as_deref()
    }

    /// Where shard `shard` keeps its `log` and its `snapshots`; both exist.
    ///
    /// # Panics
    ///
    /// When there is no such shard.
    pub fn shard_dir(&self, shard: u32) -> PathBuf {
        assert!(shard < self.identity.shards, "shard {shard} of {}", self.identity.shards);
        self.dir.join(shard_name(shard))
    }

    /// Makes the node a member of `cluster`, durably: to be done before its first vote. Storing the same record
    /// again changes nothing.
    ///
    /// # Errors
    /// `FormedAlready` when another record is stored; `Io` when it is unknown whether the record is durable: store
    /// it again if the error [is passing](DataDirError::is_passing), else end the process.
    ///
    /// # Panics
    /// When the record is longer than [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX).
    pub fn store_record(&mut self, cluster: ClusterId, record: &[u8]) -> Result<(), DataDirError> {
        assert!(record.len() <= record::RECORD_BYTES_MAX, "a forming record is small");
        let same = self.record.as_deref().is_none_or(|stored| stored == record);
        if !same || self.identity.cluster.is_some_and(|known| known != cluster) {
            return Err(DataDirError::FormedAlready { path: self.dir.join(record::RECORD_FILE_NAME) });
        }
        if self.record.is_none() {
            record::write_record(&self.dir, cluster, record)?;
        }
        self.finish_forming(Some((cluster, record.to_vec())))
    }

    /// Writes down that the cluster has removed this node, in the cluster's words: the directory is refused from now on.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn mark_removed(&mut self, reason: &str) -> Result<(), DataDirError> {
        durable::replace(&self.dir, record::REMOVED_FILE_NAME, format!("{reason}\n").as_bytes())
    }

    /// The record is durable; `node.toml` follows, now or at the start after a crash in between.
    fn finish_forming(&mut self, record: Option<(ClusterId, Vec<u8>)>) -> Result<(), DataDirError> {
        let Some((cluster, record)) = record else { return Ok(()) };
        self.record = Some(record);
        if self.identity.cluster.is_none() {
            let identity = Identity { cluster: Some(cluster), ..self.identity.clone() };
            identity.write(&self.dir)?;
            self.identity = identity;
        }
        Ok(())
    }

    /// Until a cluster has formed, its list and its number of groups can be corrected.
    fn adopt_corrections(&mut self, wanted: &Wanted) -> Result<(), DataDirError> {
        if self.identity.cluster.is_some() {
            return Ok(());
        }
        let mut corrected = self.identity.clone();
        if !wanted.cluster.is_empty() {
            corrected.members.clone_from(&wanted.cluster);
        }
        corrected.groups = wanted.groups.unwrap_or(corrected.groups);
        if corrected != self.identity {
            corrected.write(&self.dir)?;
            self.identity = corrected;
        }
        Ok(())
    }
}

/// What is in a directory, found out without touching it.
enum Found {
    /// Nothing, or a birth that did not get to its end.
    Unborn,
    /// A node.
    Node { identity: Identity, record: Option<(ClusterId, Vec<u8>)>, boot: u64 },
}

impl Found {
    /// Whether it is what the operator asks for.
    fn check(&self, dir: &Path, wanted: &Wanted) -> Result<(), DataDirError> {
        let Found::Node { identity, record, .. } = self else {
            return match wanted.cluster.is_empty() {
                false => Ok(()),
                true => Err(invalid("--cluster", "is needed to start a new node".to_string())),
            };
        };
        let contradiction = |field, stored: String, wanted: String, meaning| DataDirError::Contradiction {
            path: dir.join(identity::FILE_NAME),
            field,
            stored,
            wanted,
            meaning,
        };
        if identity.node != wanted.node {
            let (stored, wanted) = (identity.node.to_string(), wanted.node.to_string());
            return Err(contradiction("node", stored, wanted, "this is the data directory of another node"));
        }
        let counts = [
            ("shards", identity.shards, wanted.shards, "to change it, back up and restore"),
            ("groups", identity.groups, wanted.groups, "it is fixed for the life of a cluster"),
        ];
        let formed = identity.cluster.is_some() || record.is_some();
        for (field, stored, wanted, meaning) in counts {
            if field == "groups" && !formed {
                continue; // whoever is to join a cluster must have as many as that
            }
            if let Some(wanted) = wanted.filter(|wanted| *wanted != stored) {
                return Err(contradiction(field, stored.to_string(), wanted.to_string(), meaning));
            }
        }
        Ok(())
    }
}

fn invalid(field: &'static str, problem: String) -> DataDirError {
    DataDirError::Invalid { field, problem }
}

fn check_wanted(wanted: &Wanted) -> Result<(), DataDirError> {
    let counts = [("--shards", wanted.shards, SHARDS_MAX), ("--groups", wanted.groups, GROUPS_MAX)];
    for (field, count, max) in counts {
        if let Some(count) = count.filter(|count| !(1..=max).contains(count)) {
            return Err(invalid(field, format!("is {count}, but must be between 1 and {max}")));
        }
    }
    if wanted.cluster.len() > NODES_MAX {
        return Err(invalid(
            "--cluster",
            format!("lists {} nodes, at most {NODES_MAX}", wanted.cluster.len()),
        ));
    }
    let listed = wanted.cluster.iter().any(|(node, _)| *node == wanted.node);
    if !wanted.cluster.is_empty() && !listed {
        return Err(invalid("--cluster", format!("does not list node {} itself", wanted.node)));
    }
    Ok(())
}

pub(super) fn shard_name(shard: u32) -> String {
    format!("{SHARD_PREFIX}{shard:03}")
}

fn survey(dir: &Path) -> Result<Found, DataDirError> {
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Unborn),
        Err(error) => return Err(DataDirError::io("read", dir, error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(DataDirError::NotADirectory { path: dir.to_path_buf() });
        }
        Ok(_) => {}
    }
    let Some(identity) = Identity::read(dir)? else {
        return check_unborn(dir).map(|()| Found::Unborn);
    };
    if let Some(reason) = durable::read(dir, record::REMOVED_FILE_NAME, record::REMOVED_BYTES_MAX)? {
        let reason = String::from_utf8_lossy(&reason).trim().to_string();
        return Err(DataDirError::Removed { path: dir.to_path_buf(), reason });
    }
    let record = record::read_record(dir)?;
    check_formed(dir, &identity, record.as_ref())?;
    let boot = record::read_boot(dir)?;
    Ok(Found::Node { identity, record, boot })
}

/// A directory without `node.toml` holds nothing, or what a birth that was cut short leaves behind.
fn check_unborn(dir: &Path) -> Result<(), DataDirError> {
    let lost = |data: PathBuf| DataDirError::IdentityLost { path: dir.join(identity::FILE_NAME), data };
    for name in names(dir)? {
        let small = name.strip_suffix(ASIDE_SUFFIX).unwrap_or(&name);
        match small {
            LOCK_FILE_NAME | record::BOOT_FILE_NAME | TOLERATED | identity::FILE_NAME => continue,
            record::RECORD_FILE_NAME | LEASE_FILE_NAME => return Err(lost(dir.join(&name))),
            _ if !name.starts_with(SHARD_PREFIX) => {
                return Err(DataDirError::Foreign { path: dir.to_path_buf(), found: name });
            }
            _ => {}
        }
        let shard = dir.join(&name);
        for folder in names(&shard)? {
            let folder = shard.join(folder);
            if !folder.is_dir() || !names(&folder)?.is_empty() {
                return Err(lost(folder));
            }
        }
    }
    Ok(())
}

/// A formed node has all that it ever had.
fn check_formed(
    dir: &Path,
    identity: &Identity,
    record: Option<&(ClusterId, Vec<u8>)>,
) -> Result<(), DataDirError> {
    let Some(cluster) = identity.cluster.or(record.map(|record| record.0)) else { return Ok(()) };
    match record {
        None => return Err(DataDirError::Missing { path: dir.join(record::RECORD_FILE_NAME) }),
        Some((recorded, _)) if *recorded != cluster => {
            let path = dir.join(record::RECORD_FILE_NAME);
            return Err(DataDirError::damaged(&path, "its cluster is not the one in node.toml"));
        }
        Some(_) => {}
    }
    for shard in 0..identity.shards {
        for folder in SHARD_FOLDERS {
            let path = dir.join(shard_name(shard)).join(folder);
            if !path.is_dir() {
                return Err(DataDirError::Missing { path });
            }
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, DataDirError> {
    let listed = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = listed.map_err(|source| DataDirError::io("read", dir, source))?;
    names.sort();
    Ok(names)
}

fn lock(dir: &Path) -> Result<DirLock, DataDirError> {
    runtime::lock_dir(dir).map_err(|error| match error {
        LockError::InUse(_) => {
            let holder = fs::read_to_string(dir.join(LOCK_FILE_NAME)).unwrap_or_default();
            DataDirError::InUse { path: dir.to_path_buf(), pid: holder.trim().parse().ok() }
        }
        LockError::Io { path, source } => DataDirError::io("lock", &path, source),
        other => DataDirError::io("lock", dir, io::Error::other(other)),
    })
}

/// For the message to whoever comes second; not durable, for it means nothing after a crash.
fn write_pid(dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join(LOCK_FILE_NAME);
    let written = fs::write(&path, format!("{}\n", std::process::id()));
    written.map_err(|source| DataDirError::io("write", &path, source))
}

/// Gives birth: folders first, the identity last.
fn bear(dir: &Path, wanted: &Wanted, random: Random<'_>) -> Result<Identity, DataDirError> {
    let cores = || u32::try_from(runtime::allowed_cpus().len()).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX);
    let shards = wanted.shards.unwrap_or_else(cores);
    let nodes = u32::try_from(wanted.cluster.len()).expect("at most NODES_MAX");
    let groups = wanted.groups.unwrap_or((nodes * shards).clamp(GROUPS_MIN, GROUPS_MAX));
    let mut random = |bytes: &mut [u8]| {
        random(bytes).map_err(|error| DataDirError::io("draw random numbers for", dir, error))
    };
    let (mut incarnation, mut store) = ([0; 8], [0; 16]);
    random(&mut incarnation)?;
    random(&mut store)?;
    let identity = Identity {
        cluster: None,
        node: wanted.node,
        incarnation: Incarnation(u64::from_le_bytes(incarnation).max(1)),
        store,
        shards,
        groups,
        members: wanted.cluster.clone(),
    };
    create_shards(dir, shards)?;
    record::write_boot(dir, 0)?;
    identity.write(dir)?;
    Ok(identity)
}

fn create_shards(dir: &Path, shards: u32) -> Result<(), DataDirError> {
    for shard in 0..shards {
        for folder in SHARD_FOLDERS {
            durable::create_dirs(&dir.join(shard_name(shard)).join(folder))?;
        }
    }
    Ok(())
}
