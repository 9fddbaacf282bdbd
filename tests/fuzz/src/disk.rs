//! Files in memory, without any fault: what a fuzzed image is opened from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use runtime::{Buffer, Disk, File};

type Bytes = Rc<RefCell<Vec<u8>>>;

/// A disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Rc<RefCell<BTreeMap<PathBuf, Bytes>>>);

/// An open file of it.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    path: PathBuf,
    bytes: Bytes,
}

impl MemoryDisk {
    /// A disk with these files.
    #[must_use]
    pub fn with(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> MemoryDisk {
        let shared = |(path, bytes)| (path, Rc::new(RefCell::new(bytes)));
        MemoryDisk(Rc::new(RefCell::new(files.into_iter().map(shared).collect())))
    }

    /// All files.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.0.borrow().iter().map(|(path, bytes)| (path.clone(), bytes.borrow().clone())).collect()
    }
}

/// Runs a future of this disk to its end: nothing here ever waits.
///
/// # Panics
/// If it waits for something else.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the future waits for something nobody does");
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn at(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    async fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        let bytes = self.0.borrow().get(path).cloned().ok_or_else(not_found)?;
        Ok(MemoryFile { path: path.to_path_buf(), bytes })
    }

    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<MemoryFile> {
        if self.0.borrow().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let bytes = Rc::new(RefCell::new(vec![0; at(file_bytes)?]));
        self.0.borrow_mut().insert(path.to_path_buf(), Rc::clone(&bytes));
        Ok(MemoryFile { path: path.to_path_buf(), bytes })
    }

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.borrow();
        let here = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.0.borrow_mut().remove(from).ok_or_else(not_found)?;
        self.0.borrow_mut().insert(to.to_path_buf(), bytes);
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().remove(path).map(drop).ok_or_else(not_found)
    }

    async fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl File for MemoryFile {
    fn file_bytes(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        let bytes = self.bytes.borrow();
        let start = at(offset)?.min(bytes.len());
        let end = start.saturating_add(len).min(bytes.len());
        Ok(Buffer::copy_from(&bytes[start..end]))
    }

    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()> {
        let mut bytes = self.bytes.borrow_mut();
        let start = at(offset)?;
        let end = start.checked_add(data.len()).ok_or(io::ErrorKind::InvalidInput)?;
        if end > bytes.len() {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(&data);
        Ok(())
    }

    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()> {
        self.write_at(offset, data).await
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    async fn set_len(&self, file_bytes: u64) -> io::Result<()> {
        self.bytes.borrow_mut().resize(at(file_bytes)?, 0);
        Ok(())
    }

    fn map_path(&self) -> PathBuf {
        self.path.clone()
    }
}
