//! A real file system on a disk that loses power, tears, fails, fills up and stalls on demand.
//!
//! ext4 on a loop device on a file that a process of ours serves through FUSE: the kernel's own paths from `write` to
//! the disk, and below them a disk that knows what was synced (`image`) and does what a test tells it (`faults`).
//! It takes root. Nothing is left behind: the process takes its mounts away when its standard input closes.

mod faults;
mod image;
mod serve;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

pub use serve::serve;

use crate::process::{TempDir, built_binary, find_program};

/// What a disk can be told to fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes of what was written.
    Sync,
}

/// A mounted disk. Dropping it unmounts it, whoever uses it.
#[derive(Debug)]
pub struct Disk {
    child: Child,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    at: PathBuf,
    fuse: TempDir,
}

/// Whether this machine allows such disks; if not, says why on standard output, once per call.
pub fn available() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("this needs root")
    } else if !Path::new("/dev/fuse").exists() || !Path::new("/dev/loop-control").exists() {
        Some("this needs /dev/fuse and loop devices")
    } else if ["mkfs.ext4", "losetup", "mount", "umount"].iter().any(|name| find_program(name).is_none()) {
        Some("this needs mkfs.ext4, losetup, mount and umount")
    } else {
        None
    };
    if let Some(missing) = missing {
        println!("skipped: {missing}");
    }
    missing.is_none()
}

impl Disk {
    /// Makes a disk of `bytes` bytes with an empty ext4, mounted at `at`.
    ///
    /// # Errors
    ///
    /// A sentence, when this machine does not allow it.
    pub fn start(at: &Path, bytes: u64) -> Result<Disk, String> {
        let fuse = crate::process::data_dir()?;
        let program = built_binary("power")?;
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut child = Command::new(&program)
            .arg("disk")
            .args([fuse.path(), at])
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let commands = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut disk = Disk { child, commands, replies, at: at.into(), fuse };
        disk.answer("the start of a disk")?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn answer(&mut self, what: &str) -> Result<(), String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|error| format!("{what}: {error}"))?;
        if line.trim_end() == "ok" { Ok(()) } else { Err(format!("{what}: {}", line.trim_end())) }
    }

    fn tell(&mut self, command: &str) -> Result<(), String> {
        let commands = self.commands.as_mut().expect("open until it is dropped");
        writeln!(commands, "{command}").map_err(|error| format!("{command}: {error}"))?;
        self.answer(command)
    }

    fn must(&mut self, command: &str) {
        self.tell(command).unwrap_or_else(|error| panic!("the test disk: {error}"));
    }

    /// Cuts the power: what was not synced is gone, and everything fails until the disk is mounted again.
    ///
    /// # Panics
    ///
    /// If the disk's process is gone, as all that follow.
    pub fn cut(&mut self) {
        self.must("cut");
    }

    /// Cuts the power in the middle of things: each sector that was not synced is there or not.
    pub fn cut_torn(&mut self, seed: u64) {
        self.must(&format!("torn {seed}"));
    }

    /// Unmounts it: at once, or when the last user ends.
    pub fn unmount(&mut self) {
        self.must("unmount");
    }

    /// Mounts it again.
    pub fn mount(&mut self) {
        self.must("mount");
    }

    /// Has the next `times` operations of a kind fail with EIO.
    pub fn fail(&mut self, operation: Operation, times: u32) {
        let kind = match operation {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
        };
        self.must(&format!("fail {kind} {times}"));
    }

    /// Has every write fail with ENOSPC, below the file system.
    pub fn fill(&mut self) {
        self.must("full");
    }

    /// Has every operation take this much longer.
    pub fn slow(&mut self, delay: Duration) {
        self.must(&format!("delay {}", delay.as_micros()));
    }

    /// Has every operation wait.
    pub fn stall(&mut self) {
        self.must("stall");
    }

    /// Ends all faults.
    pub fn calm(&mut self) {
        self.must("calm");
    }

    /// Turns one bit of the disk.
    pub fn flip(&mut self, offset: u64, bit: u8) {
        self.must(&format!("flip {offset} {bit}"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait();
        // It has done so itself, unless it was killed.
        for left in [&self.at, &self.fuse.path().to_path_buf()] {
            if is_mounted(left) {
                let _ = serve::unmount(left);
            }
        }
    }
}

/// Whether something is mounted on this very directory.
fn is_mounted(dir: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    const BYTES: u64 = 32 << 20;

    #[test]
    fn synced_files_survive_a_cut_and_the_others_do_not() {
        if !available() {
            return;
        }
        let dir = crate::process::data_dir().unwrap();
        let at = dir.path().join("mounted");
        let mut disk = Disk::start(&at, BYTES).unwrap();
        std::fs::write(at.join("lost"), "written, not synced").unwrap();
        let mut kept = File::create(at.join("kept")).unwrap();
        kept.write_all(b"synced").unwrap();
        kept.sync_all().unwrap();
        kept.write_all(b" and more").unwrap();
        disk.cut();
        assert!(kept.sync_all().is_err());
        drop(kept);
        disk.unmount();
        disk.mount();
        assert_eq!(std::fs::read(at.join("kept")).unwrap(), b"synced");
        assert_eq!(std::fs::read(at.join("lost")).unwrap_or_default(), b"");
        drop(disk);
        assert!(!is_mounted(&at));
    }

    #[test]
    fn a_failed_sync_is_told_and_the_file_system_is_read_only_after_a_failed_journal() {
        if !available() {
            return;
        }
        let dir = crate::process::data_dir().unwrap();
        let at = dir.path().join("mounted");
        let mut disk = Disk::start(&at, BYTES).unwrap();
        let mut file = File::create(at.join("file")).unwrap();
        file.write_all(b"some bytes").unwrap();
        disk.fail(Operation::Sync, u32::MAX);
        assert!(file.sync_all().is_err());
        disk.calm();
        disk.cut();
        drop(file);
        disk.unmount();
        disk.mount();
        let mut text = String::new();
        if let Ok(mut file) = File::open(at.join("file")) {
            file.read_to_string(&mut text).unwrap();
        }
        assert_eq!(text, "");
    }
}
