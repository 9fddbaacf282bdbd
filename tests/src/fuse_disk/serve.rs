//! The disk's own process: a FUSE file, ext4 on a loop device over it, and obedience to the commands on standard input.
//!
//! It is a process of its own because a thread that waits for a disk cannot be killed: if the disk were served by a
//! thread of the same process, neither would ever end.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use super::faults::{Faulty, Refusal};

/// Nothing about the file ever changes but its bytes.
const FOREVER: Duration = Duration::from_secs(1 << 20);
const FILE_NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);

/// The file system with the one file.
struct OneFile {
    disk: Arc<Faulty>,
    bytes: u64,
}

impl OneFile {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_root = inode == INodeNo::ROOT;
        FileAttr {
            ino: inode,
            size: if is_root { 0 } else { self.bytes },
            blocks: if is_root { 0 } else { self.bytes / 512 },
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Failed => Errno::EIO,
        Refusal::Full => Errno::ENOSPC,
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == FILE_NAME {
            reply.entry(&FOREVER, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Without a cache of the kernel: what the loop device has written is here, and not on its way.
        reply.opened(FileHandle(self.disk.life()), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.disk.read(handle.0, offset, &mut bytes) {
            Ok(()) => reply.data(&bytes),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > self.bytes {
            return reply.error(Errno::ENOSPC);
        }
        match self.disk.write(handle.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel sends a few MiB at most")),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.disk.sync(handle.0) {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }
}

/// Runs a program to its end: what it wrote to standard output, or to standard error if it failed.
fn run(program: &str, args: &[&OsStr]) -> Result<String, String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_string());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")))
}

fn words(words: &[&'static str]) -> Vec<&'static OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// Takes away whatever is mounted on a directory, at once or as soon as nobody uses it.
pub(super) fn unmount(at: &Path) -> Result<(), String> {
    run("umount", &[at.as_os_str()])
        .or_else(|_| run("umount", &[OsStr::new("-l"), at.as_os_str()]))
        .map(|_| ())
}

/// The mounted stack. Dropping it takes it away.
struct Stack {
    disk: Arc<Faulty>,
    fuse: PathBuf,
    at: PathBuf,
    mounted: bool,
    _session: fuser::BackgroundSession,
}

impl Stack {
    fn build(fuse: &Path, at: &Path, bytes: u64) -> Result<Stack, String> {
        let disk = Arc::new(Faulty::default());
        for dir in [fuse, at] {
            std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ringraft-test-disk".into())];
        let session = fuser::spawn_mount(OneFile { disk: disk.clone(), bytes }, fuse, &config)
            .map_err(|error| format!("a FUSE file system: {error}"))?;
        let mut stack = Stack { disk, fuse: fuse.into(), at: at.into(), mounted: false, _session: session };
        let file = stack.file();
        let options = ["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=1", "-J", "size=4"];
        run("mkfs.ext4", &[words(&options), vec![file.as_os_str()]].concat())?;
        stack.mount()?;
        std::fs::remove_dir(at.join("lost+found")).map_err(|error| format!("lost+found: {error}"))?;
        Ok(stack)
    }

    fn file(&self) -> PathBuf {
        self.fuse.join(FILE_NAME)
    }

    fn mount(&mut self) -> Result<(), String> {
        // A loop device of its own: `mount -o loop` would take one that a process of the life before still holds.
        let device = run("losetup", &[words(&["-f", "--show"]), vec![self.file().as_os_str()]].concat())?;
        let device = OsStr::new(&device);
        let options = words(&["-t", "ext4", "-o", "noatime,errors=remount-ro"]);
        let mounted = run("mount", &[options, vec![device, self.at.as_os_str()]].concat());
        // From here on it goes when nobody uses it any more.
        run("losetup", &[OsStr::new("-d"), device])?;
        self.mounted = mounted.is_ok();
        mounted.map(|_| ())
    }

    fn unmount(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.mounted) { unmount(&self.at) } else { Ok(()) }
    }

    fn obey(&mut self, command: &str) -> Result<(), String> {
        match command {
            "mount" => self.mount(),
            "unmount" => self.unmount(),
            other => self.disk.obey(other),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Nobody waits for a disk without power.
        let _ = self.disk.obey("cut");
        let _ = self.unmount();
        let _ = unmount(&self.fuse);
    }
}

/// Serves a disk of `bytes` bytes, mounted at `at`, until standard input closes. `fuse` is a directory for the file under
/// it.
///
/// # Errors
///
/// A sentence, when this machine does not allow it.
pub fn serve(fuse: &Path, at: &Path, bytes: u64) -> Result<(), String> {
    let mut stack = Stack::build(fuse, at, bytes)?;
    let mut output = std::io::stdout();
    let mut say = |line: &str| writeln!(output, "{line}").and_then(|()| output.flush());
    let mut alive = say("ok").is_ok();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if !alive {
            break;
        }
        alive = match stack.obey(&line) {
            Ok(()) => say("ok").is_ok(),
            Err(error) => say(&format!("error {}", error.replace('\n', " "))).is_ok(),
        };
    }
    Ok(())
}
