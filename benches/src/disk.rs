//! The disk under a directory: what it says of itself, what it has been asked to do, and how long a
//! durable write takes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::fs::OFlags;

/// The unit of a durable write.
const BLOCK_BYTES: usize = 4096;
/// The probe goes round in a file of this size.
const PROBE_BLOCKS: u64 = 4096;
/// How many processes write at once, as three nodes do.
const PROBE_PROCESSES: usize = 3;
const SECTOR_BYTES: u64 = 512;

/// The block device that holds a directory; unknown for file systems without one.
pub struct Device {
    dir: Option<PathBuf>,
}

/// What a device has done since boot.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Flushes of its write cache.
    pub flushes: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Device {
    /// Finds the device below `path`.
    pub fn of(path: &Path) -> io::Result<Device> {
        let device = std::fs::metadata(path)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let dir = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok();
        // A partition's own counters lack the flushes: those are the whole disk's.
        let whole = dir.map(|dir| match dir.parent() {
            Some(disk) if dir.join("partition").exists() => disk.to_path_buf(),
            _ => dir,
        });
        Ok(Device { dir: whole })
    }

    fn read(&self, file: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.as_ref()?.join(file)).ok()?;
        Some(text.trim().to_string())
    }

    /// What it has done so far: fields 7 and 16 of its `stat` (Documentation/block/stat.rst).
    pub fn work(&self) -> Option<Work> {
        let text = self.read("stat")?;
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        Some(Work { bytes: fields.get(6)? * SECTOR_BYTES, flushes: *fields.get(15)? })
    }

    /// Its name, write cache and support for forced unit access.
    pub fn describe(&self) -> String {
        let name = self.dir.as_ref().and_then(|dir| dir.file_name()).unwrap_or("unknown".as_ref());
        let setting = |file| self.read(file).unwrap_or_else(|| "unknown".to_string());
        let fua = setting("queue/fua");
        format!("{}, write cache: {}, FUA: {fua}", name.to_string_lossy(), setting("queue/write_cache"))
    }
}

/// Overwrites written blocks of a file in `dir`, each write durable before the next, for `time`. The median
/// duration of a write.
pub fn overwrite(dir: &Path, time: Duration) -> io::Result<Duration> {
    let file = tempfile::NamedTempFile::new_in(dir)?;
    let mut buffer = vec![0x5a; BLOCK_BYTES * 2];
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let block = &mut buffer[start..start + BLOCK_BYTES];
    for at in 0..PROBE_BLOCKS {
        file.as_file().write_all_at(block, at * BLOCK_BYTES as u64)?;
    }
    file.as_file().sync_all()?;
    let direct = i32::try_from((OFlags::DIRECT | OFlags::DSYNC).bits()).map_err(io::Error::other)?;
    let direct: File = OpenOptions::new().write(true).custom_flags(direct).open(file.path())?;
    let end = Instant::now() + time;
    let mut durations = Vec::new();
    for at in (0..PROBE_BLOCKS).cycle() {
        let before = Instant::now();
        if before >= end {
            break;
        }
        block[0] = block[0].wrapping_add(1);
        direct.write_all_at(block, at * BLOCK_BYTES as u64)?;
        durations.push(before.elapsed());
    }
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// The median of a durable overwrite while three processes do nothing else: the least that a commit on
/// three nodes of this machine can take. Runs this program's `overwrite` three times.
pub fn probe(dir: &Path, time: Duration) -> anyhow::Result<Duration> {
    let program = std::env::current_exe()?;
    let start = || {
        Command::new(&program)
            .args(["overwrite", "--seconds", &time.as_secs_f64().to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
    };
    let children: Vec<_> = (0..PROBE_PROCESSES).map(|_| start()).collect::<io::Result<_>>()?;
    let mut medians = Vec::new();
    for child in children {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the disk probe ended with {}", output.status);
        let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse();
        medians.push(Duration::from_nanos(nanoseconds.context("the disk probe printed no number")?));
    }
    medians.sort_unstable();
    Ok(medians[PROBE_PROCESSES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overwrite_is_timed_and_leaves_nothing() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert!(overwrite(dir.path(), Duration::from_millis(50)).unwrap() > Duration::ZERO);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Device::of(dir.path()).unwrap().describe().contains("write cache"));
        assert!(Device { dir: None }.work().is_none());
    }
}
