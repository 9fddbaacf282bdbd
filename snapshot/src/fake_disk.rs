//! A disk in memory for this crate's tests: it forgets what was not synced when it crashes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use runtime::{Buffer, Disk, File};

const PAGE: usize = 4096;

/// Runs a future that never waits for anything outside itself.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the fake disk answers at once"),
    }
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    now: BTreeMap<PathBuf, usize>,
    synced: BTreeMap<PathBuf, usize>,
    /// Operations until the crash; all later ones fail.
    left: Option<usize>,
    operations: usize,
    removed: Vec<PathBuf>,
}

/// The disk. Clones are the same one.
#[derive(Clone, Default)]
pub struct FakeDisk {
    state: Rc<RefCell<State>>,
}

/// An open file of a [`FakeDisk`].
#[derive(Clone)]
pub struct FakeFile {
    disk: FakeDisk,
    inode: usize,
    path: PathBuf,
}

impl FakeDisk {
    /// Lets the next `operations` changes through and fails all after them.
    pub fn crash_after(&self, operations: usize) {
        self.state.borrow_mut().left = Some(operations);
    }

    /// How many changes there were.
    pub fn operations(&self) -> usize {
        self.state.borrow().operations
    }

    /// The disk as found after a power cut: of each page, size and directory entry either the synced or the newest
    /// version, as `choose` says.
    pub fn after_crash(&self, mut choose: impl FnMut() -> bool) -> FakeDisk {
        let state = self.state.borrow();
        let mut found = State::default();
        for inode in &state.inodes {
            let bytes = if choose() { inode.now.len() } else { inode.synced.len() };
            let mut content = vec![0; bytes];
            for (number, page) in content.chunks_mut(PAGE).enumerate() {
                let version = if choose() { &inode.now } else { &inode.synced };
                let start = (number * PAGE).min(version.len());
                let end = (start + page.len()).min(version.len());
                page[..end - start].copy_from_slice(&version[start..end]);
            }
            found.inodes.push(Inode { now: content.clone(), synced: content });
        }
        let paths: Vec<&PathBuf> = state.now.keys().chain(state.synced.keys()).collect();
        for path in paths {
            let version = if choose() { &state.now } else { &state.synced };
            if let Some(inode) = version.get(path) {
                found.now.insert(path.clone(), *inode);
                found.synced.insert(path.clone(), *inode);
            }
        }
        FakeDisk { state: Rc::new(RefCell::new(found)) }
    }

    /// The file names now in a directory.
    pub fn names(&self, dir: &Path) -> Vec<String> {
        let state = self.state.borrow();
        let within = state.now.keys().filter(|path| path.parent() == Some(dir));
        within.map(|path| path.file_name().unwrap().to_str().unwrap().to_string()).collect()
    }

    /// The bytes of a file now.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state.borrow();
        state.inodes[state.now[path]].now.clone()
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let inode = state.inodes.len();
        state.inodes.push(Inode { now: bytes.to_vec(), synced: bytes.to_vec() });
        state.now.insert(path.to_path_buf(), inode);
        state.synced.insert(path.to_path_buf(), inode);
    }

    /// Files removed so far.
    pub fn removed(&self) -> Vec<PathBuf> {
        self.state.borrow().removed.clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.borrow_mut();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the disk has crashed"))?;
        }
        state.operations += 1;
        change(&mut state)
    }

    fn file(&self, inode: usize, path: &Path) -> FakeFile {
        FakeFile { disk: self.clone(), inode, path: path.to_path_buf() }
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for FakeDisk {
    type File = FakeFile;

    async fn open(&self, path: &Path) -> io::Result<FakeFile> {
        let inode = self.state.borrow().now.get(path).copied();
        inode.map(|inode| self.file(inode, path)).ok_or_else(not_found)
    }

    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<FakeFile> {
        let inode = self.change(|state| {
            if state.now.contains_key(path) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let zeros = vec![0; usize::try_from(file_bytes).unwrap()];
            state.inodes.push(Inode { now: zeros.clone(), synced: zeros });
            let inode = state.inodes.len() - 1;
            state.now.insert(path.to_path_buf(), inode);
            Ok(inode)
        })?;
        Ok(self.file(inode, path))
    }

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.change(|_| Ok(()))
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.names(dir))
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let inode = state.now.remove(from).ok_or_else(not_found)?;
            state.now.insert(to.to_path_buf(), inode);
            Ok(())
        })
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.now.remove(path).ok_or_else(not_found)?;
            state.removed.push(path.to_path_buf());
            Ok(())
        })
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            let now: Vec<_> = state.now.iter().filter(|(path, _)| path.parent() == Some(dir)).collect();
            let now: Vec<_> = now.into_iter().map(|(path, inode)| (path.clone(), *inode)).collect();
            state.synced.retain(|path, _| path.parent() != Some(dir));
            state.synced.extend(now);
            Ok(())
        })
    }
}

impl File for FakeFile {
    fn file_bytes(&self) -> u64 {
        self.disk.state.borrow().inodes[self.inode].now.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        let state = self.disk.state.borrow();
        let bytes = &state.inodes[self.inode].now;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        Ok(Buffer::copy_from(&bytes[start..(start + len).min(bytes.len())]))
    }

    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        assert!(
            start.is_multiple_of(PAGE) && data.len().is_multiple_of(PAGE),
            "direct I/O is in whole pages"
        );
        assert!(data.as_ptr().addr().is_multiple_of(PAGE), "direct I/O is from aligned memory");
        self.disk.change(|state| {
            let bytes = &mut state.inodes[self.inode].now;
            assert!(start + data.len() <= bytes.len(), "writes stay within the size that was set");
            bytes[start..start + data.len()].copy_from_slice(&data);
            Ok(())
        })
    }

    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()> {
        self.write_at(offset, data).await?;
        self.sync().await
    }

    async fn sync(&self) -> io::Result<()> {
        self.disk.change(|state| {
            let inode = &mut state.inodes[self.inode];
            inode.synced.clone_from(&inode.now);
            Ok(())
        })
    }

    async fn set_len(&self, file_bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(file_bytes).unwrap();
        self.disk.change(|state| {
            state.inodes[self.inode].now.resize(bytes, 0);
            Ok(())
        })
    }

    fn map_path(&self) -> PathBuf {
        self.path.clone()
    }
}
