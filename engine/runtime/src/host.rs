//! What the host must offer, asked before anything depends on it.

use std::path::Path;

use rustix::{
    fs::{FsWord, Mode, OFlags},
    io::Errno,
    process::{Resource, Rlimit, getpid, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::{BLOCK_BYTES, BufferMut, refusal::ring_error, sys};

/// glommio asks for this much memory that may be locked.
pub(crate) const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Descriptors of a shard's thread: its ring and glommio's three, eventfds, and copies of them.
const DESCRIPTORS_PER_SHARD: u64 = 24;
/// A shard takes this many clients even where descriptors are few: an operator must get in.
const CLIENTS_MIN: u64 = 8;
/// Descriptors of the process besides: files of the log and snapshots, peers, and a few clients.
const DESCRIPTORS_BESIDES: u64 = 128;
const TMPFS_MAGIC: FsWord = 0x0102_1994;
const RAMFS_MAGIC: FsWord = 0x8584_58f6;
const NAME: &str = ".host-check";

/// Why shards cannot run here. Each message is a sentence that says what to change.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// io_uring is missing, too old, or forbidden.
    #[error("{0}")]
    IoUring(String),
    /// A resource limit of the process is too low.
    #[error("{0}")]
    Limits(String),
    /// The data directory is of no use.
    #[error("{0}")]
    DataDir(String),
    /// A thread could not be started.
    #[error("{0}")]
    Thread(String),
    /// The executor could not be made.
    #[error("cannot make a shard's executor: {0}")]
    Executor(String),
}

/// What [`check_host`] has found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HostReport {
    /// Whether what is synced in the data directory survives a loss of power. False on a file system in memory.
    pub durable: bool,
    /// Whether files there are read and written past the page cache (O_DIRECT).
    pub direct: bool,
    /// The cores the process may use.
    pub cpus: Vec<usize>,
    /// What works but is worth saying, each a sentence.
    pub warnings: Vec<String>,
    /// Clients that each shard may have, so that descriptors are left for files and peers.
    pub clients_max: u64,
}

/// Checks that `shards` shards can run here with their files in `data_dir`, an existing directory.
///
/// # Errors
///
/// One sentence that says what is missing and what to change: io_uring absent or forbidden, too little memory that may
/// be locked, too few file descriptors, a directory that cannot be written or gives back other bytes than were written.
pub fn check_host(data_dir: &Path, shards: usize) -> Result<HostReport, StartError> {
    check_ring()?;
    check_memlock()?;
    let clients_max = check_descriptors(shards)?;
    let direct = check_data_dir(data_dir)
        .map_err(|what| StartError::DataDir(format!("the data directory {}: {what}", data_dir.display())))?;
    let durable = !is_in_memory(data_dir);
    let mut warnings = Vec::new();
    if !durable {
        warnings.push(format!("{} is in memory: nothing in it survives a restart", data_dir.display()));
    } else if !direct {
        warnings.push(format!(
            "{} refuses O_DIRECT: files go through the page cache, which is slower",
            data_dir.display()
        ));
    }
    let cpus = allowed_cpus();
    if cpus.len() < shards {
        warnings.push(format!("{shards} shards share {} cores", cpus.len()));
    }
    Ok(HostReport { durable, direct, cpus, warnings, clients_max })
}

fn check_ring() -> Result<(), StartError> {
    if !sys::probe_ring().map_err(|error| ring_error(&error))? {
        return Err(StartError::IoUring(
            "this kernel's io_uring is too old: Linux 6.0 or newer is needed".to_owned(),
        ));
    }
    Ok(())
}

/// A limit in words.
pub(crate) fn kibibytes(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

/// Whether glommio may lock the memory it insists on.
pub(crate) fn check_memlock() -> Result<(), StartError> {
    let memlock = getrlimit(Resource::Memlock).current;
    if memlock.is_some_and(|bytes| bytes < MEMLOCK_BYTES_MIN) {
        return Err(StartError::Limits(format!(
            "too little memory may be locked: raise `ulimit -l` (it is {}) to at least {} KiB",
            kibibytes(memlock),
            MEMLOCK_BYTES_MIN / 1024
        )));
    }
    Ok(())
}

/// The memory there is for this process, in bytes: the machine's, or what its control group may have.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(u64::from(info.mem_unit));
    // Containers have their group mounted here; one that has no limit says "max".
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    limit.ok().and_then(|text| text.trim().parse().ok()).map_or(machine, |limit: u64| limit.min(machine))
}

/// Raises the limit of open files to what the system lets this process have. A program does that before it starts an
/// engine; the limit is the program's, not the engine's.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many clients each shard may have.
fn check_descriptors(shards: usize) -> Result<u64, StartError> {
    let needed = DESCRIPTORS_BESIDES + DESCRIPTORS_PER_SHARD * shards as u64;
    let descriptors = getrlimit(Resource::Nofile).current;
    if let Some(allowed) = descriptors.filter(|allowed| *allowed < needed) {
        return Err(StartError::Limits(format!(
            "too few file descriptors for {shards} shards: raise `ulimit -n` (it is {allowed}) to at least {needed}, \
             and by one for each client"
        )));
    }
    let left = descriptors.map_or(u64::MAX, |allowed| allowed - needed);
    Ok((left / (shards as u64).max(1)).max(CLIENTS_MIN))
}

/// Writes a block, syncs it, and reads it back past the page cache. Whether O_DIRECT works.
fn check_data_dir(dir: &Path) -> Result<bool, String> {
    let path = dir.join(NAME);
    let result = write_and_read_back(&path);
    match std::fs::remove_file(&path) {
        Err(error) if result.is_ok() => Err(format!("a file in it cannot be removed: {error}")),
        _ => result,
    }
}

fn write_and_read_back(path: &Path) -> Result<bool, String> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let said = |what: &str| {
        let what = what.to_owned();
        move |error: Errno| format!("{what} failed: {error}")
    };
    let (file, mut direct) = match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
        Ok(file) => (file, true),
        Err(Errno::INVAL) => {
            (rustix::fs::open(path, flags, mode).map_err(said("making a file in it"))?, false)
        }
        Err(error) => return Err(said("making a file in it")(error)),
    };
    let mut written = BufferMut::zeroed(BLOCK_BYTES);
    for (value, byte) in (0_u8..=250).cycle().zip(written.iter_mut()) {
        *byte = value;
    }
    let count = match rustix::io::pwrite(&file, &written, 0) {
        // Some file systems take the flag and refuse the write.
        Err(Errno::INVAL) if direct => {
            direct = false;
            rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(said("opening without O_DIRECT"))?;
            rustix::io::pwrite(&file, &written, 0)
        }
        other => other,
    };
    if count.map_err(said("writing a block"))? != BLOCK_BYTES {
        return Err("a block was written only in part: is it full?".to_owned());
    }
    rustix::fs::fdatasync(&file).map_err(said("syncing"))?;
    let mut read = BufferMut::zeroed(BLOCK_BYTES);
    let count = rustix::io::pread(&file, &mut read[..], 0).map_err(said("reading a block back"))?;
    if count != BLOCK_BYTES || read[..] != written[..] {
        return Err("a block written and synced came back with other bytes".to_owned());
    }
    Ok(direct)
}

fn is_in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found.f_type))
}

/// The cores this process may run on, in order: its affinity, which a container or `taskset` may have narrowed, and not
/// what the machine has. Empty if that cannot be told.
pub fn allowed_cpus() -> Vec<usize> {
    // Of the process's first thread: a shard thread that asks is perhaps pinned.
    let set = sched_getaffinity(Some(getpid()));
    set.map_or_else(|_| Vec::new(), |set| (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Pins the calling thread to a core, or unpins it. A core that is not allowed leaves it unpinned.
pub(crate) fn pin_thread(cpu: Option<usize>) {
    let allowed = allowed_cpus();
    let mut set = CpuSet::new();
    match cpu.filter(|cpu| allowed.contains(cpu)) {
        Some(cpu) => set.set(cpu),
        None => allowed.iter().for_each(|cpu| set.set(*cpu)),
    }
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(?cpu, %error, "a shard's thread cannot be pinned and runs on any core");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_directory_passes() {
        let dir = tempfile::tempdir().unwrap();
        let report = check_host(dir.path(), 1).unwrap();
        assert!(!report.cpus.is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = check_host(Path::new("/nonexistent/data"), 1).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/data"), "{error}");
    }

    #[test]
    fn too_many_shards_for_the_descriptors_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = check_host(dir.path(), 1_000_000_000).unwrap_err();
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
