//! The real file system behind the [`Disk`] seam.
//!
//! All reads, writes and syncs of data run on the shard's ring, with O_DIRECT. Opening, renaming and the like are rare
//! and go to a pool of blocking threads. glommio's own file types are not used, so their faults (reads past the end
//! that return garbage, ignored short writes, polled I/O taken for granted) cannot bite.

use std::{
    cell::Cell,
    fmt,
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    BLOCK_BYTES, Buffer, BufferMut, Disk, File, Ring,
    shard::blocking,
    sys::{Lent, Operation},
};

/// How many zeros [`Disk::create`] writes at once.
const ZEROS_BYTES: usize = 1024 * 1024;

/// How [`File::write_durable`] makes a write durable. Which one is faster depends on the device and the file system:
/// see [`RealDisk::probe`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// One operation: the write is complete only when it is synced (RWF_DSYNC).
    Dsync,
    /// Two linked operations: the write, then fdatasync.
    LinkedSync,
}

/// The real file system, through a shard's ring. Clones share the [`SyncMode`].
#[derive(Clone)]
pub struct RealDisk {
    ring: Ring,
    sync_mode: Rc<Cell<SyncMode>>,
}

impl RealDisk {
    /// Files whose operations run on `ring`. Writes are made durable by [`SyncMode::Dsync`] until [`RealDisk::probe`]
    /// finds otherwise.
    pub fn new(ring: Ring) -> RealDisk {
        RealDisk { ring, sync_mode: Rc::new(Cell::new(SyncMode::Dsync)) }
    }

    /// How writes are made durable from now on.
    pub fn sync_mode(&self) -> SyncMode {
        self.sync_mode.get()
    }

    /// Makes writes durable in this way from now on, on all clones and their files.
    pub fn set_sync_mode(&self, mode: SyncMode) {
        self.sync_mode.set(mode);
    }

    async fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<RealFile> {
        let (descriptor, direct, bytes) = {
            let path = path.to_owned();
            blocking(&self.ring, move || open_direct(&path, flags)).await?
        };
        Ok(RealFile {
            inner: Rc::new(Inner {
                ring: self.ring.clone(),
                sync_mode: Rc::clone(&self.sync_mode),
                descriptor: Rc::new(descriptor),
                path: path.to_owned(),
                bytes: Cell::new(bytes),
                direct: Cell::new(direct),
            }),
        })
    }
}

/// Opens with O_DIRECT, or without where the file system refuses that. The last value is the size.
fn open_direct(path: &Path, flags: OFlags) -> io::Result<(OwnedFd, bool, u64)> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let (descriptor, direct) = match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
        Ok(descriptor) => (descriptor, true),
        Err(Errno::INVAL) => {
            // A new file may be there by now: the refusal came after it was made.
            let made = flags.contains(OFlags::EXCL) && path.exists();
            let flags = if made { flags - (OFlags::CREATE | OFlags::EXCL) } else { flags };
            (rustix::fs::open(path, flags, mode)?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let bytes = u64::try_from(rustix::fs::fstat(&descriptor)?.st_size).unwrap_or(0);
    Ok((descriptor, direct, bytes))
}

/// Syncs a directory's entries.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::File::open(path)?.sync_all()
}

fn create_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    // Also when it was there: whoever made it may not have come as far as this.
    path.parent().map_or(Ok(()), sync_directory)
}

fn list_directory(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Disk for RealDisk {
    type File = RealFile;

    async fn open(&self, path: &Path) -> io::Result<RealFile> {
        self.open_with(path, OFlags::empty()).await
    }

    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<RealFile> {
        assert!(
            file_bytes.is_multiple_of(BLOCK_BYTES as u64),
            "a file of {file_bytes} bytes is not made of whole blocks"
        );
        let file = self.open_with(path, OFlags::CREATE | OFlags::EXCL).await?;
        let written = file.write_zeros(file_bytes).await;
        if let Err(error) = written {
            // The error to report is the first one.
            let _ = self.remove(path).await;
            return Err(error);
        }
        Ok(file)
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(&self.ring, move || create_directory(&path)).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let path = dir.to_owned();
        blocking(&self.ring, move || list_directory(&path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(&self.ring, move || std::fs::rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(&self.ring, move || std::fs::remove_file(path)).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let path = dir.to_owned();
        blocking(&self.ring, move || sync_directory(&path)).await
    }
}

impl fmt::Debug for RealDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealDisk({:?})", self.sync_mode())
    }
}

/// A file of the real file system. Clones are the same open file.
#[derive(Clone)]
pub struct RealFile {
    inner: Rc<Inner>,
}

struct Inner {
    ring: Ring,
    sync_mode: Rc<Cell<SyncMode>>,
    descriptor: Rc<OwnedFd>,
    path: PathBuf,
    bytes: Cell<u64>,
    direct: Cell<bool>,
}

impl RealFile {
    /// Whether it is read and written past the page cache. False where the file system refuses O_DIRECT.
    pub fn is_direct(&self) -> bool {
        self.inner.direct.get()
    }

    async fn write_zeros(&self, file_bytes: u64) -> io::Result<()> {
        let zeros = BufferMut::zeroed(ZEROS_BYTES).freeze();
        let mut offset = 0;
        while offset < file_bytes {
            let bytes = usize::try_from(file_bytes - offset).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            self.write_at(offset, zeros.slice(0..bytes)).await?;
            offset += bytes as u64;
        }
        self.sync().await
    }

    /// Goes on through the page cache if the file refuses the direct I/O that it let itself be opened for, as files of
    /// some file systems do, or devices with blocks larger than ours. Whether to try again.
    fn refuses_direct(&self, error: Errno) -> bool {
        let refuses = error == Errno::INVAL && self.is_direct();
        if refuses && rustix::fs::fcntl_setfl(&self.inner.descriptor, OFlags::empty()).is_ok() {
            tracing::warn!(path = %self.inner.path.display(), "direct I/O is refused: going on through the page cache");
            self.inner.direct.set(false);
            return true;
        }
        false
    }

    /// Writes some of `data`; says how much.
    async fn write_some(&self, offset: u64, data: Buffer, durable: bool) -> Result<u32, Errno> {
        let file = Rc::clone(&self.inner.descriptor);
        let operation = Operation::Write { file, data, offset, durable };
        self.inner.ring.core().start(operation).await.0
    }

    /// Writes some of `data` and syncs it if that was all; says how much.
    async fn write_some_linked(&self, offset: u64, data: Buffer) -> Result<u32, Errno> {
        let file = || Rc::clone(&self.inner.descriptor);
        let write = Operation::Write { file: file(), data, offset, durable: false };
        let sync = Operation::Sync { file: file() };
        let [write, sync] = self.inner.ring.core().start_linked(write, sync);
        let (result, _) = write.await;
        let (synced, _) = sync.await;
        match (result, synced) {
            // The write failed, or was short: then the caller goes on with the rest, and syncs all at the end.
            (result, Ok(_) | Err(Errno::CANCELED)) => result,
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn write(&self, offset: u64, data: Buffer, how: Option<SyncMode>) -> io::Result<()> {
        let aligned = |bytes: usize| bytes.is_multiple_of(BLOCK_BYTES);
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "a write at offset {offset}");
        assert!(aligned(data.len()), "a write of {} bytes", data.len());
        assert!(aligned(data.as_ptr().addr()), "a write from memory that is not aligned");
        let mut done = 0;
        while done < data.len() {
            let (rest, at) = (data.slice(done..data.len()), offset + done as u64);
            let result = match how {
                None => self.write_some(at, rest, false).await,
                Some(SyncMode::Dsync) => self.write_some(at, rest, true).await,
                Some(SyncMode::LinkedSync) => self.write_some_linked(at, rest).await,
            };
            let bytes = match result {
                Ok(bytes) => bytes as usize,
                Err(error) if self.refuses_direct(error) => continue,
                Err(error) => return Err(error.into()),
            };
            // A direct write that stops within a block has to write that block again. None at all: no room, mostly.
            let whole = if self.is_direct() { bytes - bytes % BLOCK_BYTES } else { bytes };
            if whole == 0 {
                return Err(io::Error::new(ErrorKind::WriteZero, "the device takes no more"));
            }
            done += whole;
        }
        let end = offset + done as u64;
        self.inner.bytes.set(self.inner.bytes.get().max(end));
        Ok(())
    }
}

impl File for RealFile {
    fn file_bytes(&self) -> u64 {
        self.inner.bytes.get()
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        let block = BLOCK_BYTES as u64;
        let start = offset - offset % block;
        let before = usize::try_from(offset - start).expect("less than a block");
        let mut buffer = BufferMut::zeroed(before + len);
        let bytes = buffer.len();
        let mut filled = 0;
        while filled < before + len {
            let file = Rc::clone(&self.inner.descriptor);
            let operation = Operation::Read {
                file,
                buffer: Lent::new(buffer),
                from: filled,
                bytes: bytes - filled,
                offset: start + filled as u64,
            };
            let (result, operation) = self.inner.ring.core().start(operation).await;
            let Operation::Read { buffer: lent, .. } = operation else {
                unreachable!("a read comes back as what it was");
            };
            buffer = lent.take();
            let read = match result {
                Ok(read) => read as usize,
                Err(error) if self.refuses_direct(error) => continue,
                Err(error) => return Err(error.into()),
            };
            filled += read;
            // The end of the file: nothing more, or for a direct read (which cannot go on from there) a piece of a block.
            if read == 0 || (self.is_direct() && !filled.is_multiple_of(BLOCK_BYTES)) {
                break;
            }
        }
        Ok(buffer.freeze().slice(before.min(filled)..filled.min(before + len)))
    }

    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()> {
        self.write(offset, data, None).await
    }

    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()> {
        self.write(offset, data, Some(self.inner.sync_mode.get())).await
    }

    async fn sync(&self) -> io::Result<()> {
        let operation = Operation::Sync { file: Rc::clone(&self.inner.descriptor) };
        let (result, _) = self.inner.ring.core().start(operation).await;
        result?;
        Ok(())
    }

    async fn set_len(&self, file_bytes: u64) -> io::Result<()> {
        let descriptor = self.inner.descriptor.as_fd().try_clone_to_owned()?;
        blocking(&self.inner.ring, move || Ok(rustix::fs::ftruncate(descriptor, file_bytes)?)).await?;
        self.inner.bytes.set(file_bytes);
        Ok(())
    }

    fn map_path(&self) -> PathBuf {
        self.inner.path.clone()
    }
}

impl fmt::Debug for RealFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealFile({}, {} bytes)", self.inner.path.display(), self.file_bytes())
    }
}
