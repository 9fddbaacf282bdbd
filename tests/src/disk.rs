//! A simulated disk: the same code of log and snapshots runs on it as on a real one, and it loses exactly what a real
//! one may lose.
//!
//! # The fault model
//!
//! **Writes.** A write is seen by reads once it completed. It is durable only when `write_durable` completed, or when
//! a `sync` completed that was submitted after the write completed. A `write_durable` makes nothing durable but
//! itself. Writes in flight at the same time must not overlap: that panics, it is a bug of the caller.
//!
//! **Crash.** [`SimDisk::crash`] is power failure: of every write that is not durable, completed or in flight, each
//! 512-byte sector reaches the platter or does not, by the seed. A sector is never torn itself. Files opened before
//! the crash are dead: every operation on them fails. `set_len` that was not synced happened or did not.
//!
//! **Names.** A file's creation, renaming and removal are seen at once and durable after `sync_dir` of its directory.
//! At a crash each such change that is not durable happened or did not, one by one, in order. Directories are durable
//! when made.
//!
//! **Delay.** While [`SimDisk::hold`] is on, `write_durable` and `sync` stay pending until the test releases them, in
//! any order it likes. Everything else completes when first polled. A write held in flight is not seen by reads.
//!
//! **Errors.** The next write, sync or read can be made to fail ([`SimDisk::fail_next`]); a held operation can be made
//! to fail ([`SimDisk::fail_held`]). A failed write may have written any of its sectors. Creation fails when the disk
//! has no free bytes ([`SimDisk::set_free_bytes`]).
//!
//! **Power.** [`SimDisk::cut_power_after`] lets a number of operations pass, then every later one fails, and writes
//! among them count as in flight. With it a test crashes at every point.
//!
//! **Rot.** Bits flip, blocks are overwritten or cannot be read any more, files are cut, at rest, when the test says so.
//!
//! **Time.** With [`SimDisk::set_timing`] operations take simulated time, end in any order, fail at rates, and a write may go wrong
//! in silence ([`SimDisk::arm`]): lost, some blocks off, into another file. A sync that fails drops what it was to make durable.
//!
//! Not modelled: a disk that lies about syncs for long, sectors of another size.
//!
//! Everything is deterministic: the same calls with the same seeds do the same.

mod inode;
mod machine;
mod names;
mod pages;
mod seal;
mod timed;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    path::{Path, PathBuf},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use machine::{Machine, Operation};
use runtime::{Buffer, Disk, File};
use timed::Cost;

pub use machine::{Fault, HeldId, Removed};
pub use timed::{Damage, Rates, Silent, Timing};

/// A disk in memory. Clones are the same disk; [`SimDisk::image`] makes another one with the same bytes.
#[derive(Clone, Default)]
pub struct SimDisk {
    machine: Rc<RefCell<Machine>>,
}

/// An open file of a [`SimDisk`].
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: u64,
    /// The disk's start in which it was opened: dead after the next crash.
    boot: u64,
    /// Says that it is open.
    _handle: Rc<()>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// An independent copy: bytes, names, what is durable. Held operations are in flight in the copy too, for ever.
    pub fn image(&self) -> SimDisk {
        SimDisk { machine: Rc::new(RefCell::new(self.machine.borrow().clone())) }
    }

    /// Power failure and restart. What is not durable survives by sectors and names, by `seed`.
    pub fn crash(&self, seed: u64) {
        self.machine.borrow_mut().crash(&mut fastrand::Rng::with_seed(seed));
    }

    /// While on, `write_durable` and `sync` wait for [`SimDisk::release`].
    pub fn hold(&self, on: bool) {
        self.machine.borrow_mut().hold = on;
    }

    /// The operations that wait, oldest first.
    pub fn held(&self) -> Vec<HeldId> {
        self.machine.borrow().held()
    }

    /// Completes a held operation: it succeeds, and its future is woken.
    ///
    /// # Panics
    /// If `id` is not held.
    pub fn release(&self, id: HeldId) {
        let waker = self.machine.borrow_mut().finish(id, None);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Completes a held operation with an error; any of its sectors may have been written.
    ///
    /// # Panics
    /// If `id` is not held.
    pub fn fail_held(&self, id: HeldId, kind: io::ErrorKind) {
        let waker = self.machine.borrow_mut().finish(id, Some(kind));
        waker.into_iter().for_each(Waker::wake);
    }

    /// Completes all held operations, oldest first.
    pub fn release_all(&self) {
        self.held().into_iter().for_each(|id| self.release(id));
    }

    /// The next operation of this kind fails so.
    pub fn fail_next(&self, fault: Fault, kind: io::ErrorKind) {
        self.machine.borrow_mut().faults.insert(fault, kind);
    }

    /// What creation may still use; `None` is without bound, as at first.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.machine.borrow_mut().free_bytes = bytes;
    }

    /// Power goes out after `operations` more operations: all later ones fail until [`SimDisk::crash`].
    pub fn cut_power_after(&self, operations: u64) {
        self.machine.borrow_mut().power = Some(operations);
    }

    /// Operations that change the disk, since it was made.
    pub fn operations(&self) -> u64 {
        self.machine.borrow().operations
    }

    /// Flips bit `bit` of the byte at `offset`, durably if it has been synced.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) {
        let mut machine = self.machine.borrow_mut();
        machine.at_rest(path, |bytes| {
            bytes.iter_mut().skip(at(offset)).take(1).for_each(|byte| *byte ^= 1 << bit)
        });
        let next = machine.next_id;
        machine.seal.breaks(next);
    }

    /// Overwrites bytes at rest: zeros, stale blocks, garbage.
    pub fn overwrite(&self, path: &Path, offset: u64, data: &[u8]) {
        self.machine
            .borrow_mut()
            .at_rest(path, |bytes| bytes[at(offset)..at(offset) + data.len()].copy_from_slice(data));
    }

    /// Cuts a file or adds zeros, at rest.
    pub fn set_file_bytes(&self, path: &Path, file_bytes: u64) {
        self.machine.borrow_mut().at_rest(path, |bytes| bytes.resize(at(file_bytes), 0));
    }

    /// The block at `offset` cannot be read any more: whoever tries gets EIO, until it is written again.
    pub fn refuse_block(&self, path: &Path, offset: u64) {
        self.machine.borrow_mut().refuse(path, at(offset), u64::MAX);
    }

    /// The same for the next `reads` reads of it, at least one; then it can be read again.
    pub fn refuse_block_for(&self, path: &Path, offset: u64, reads: u64) {
        self.machine.borrow_mut().refuse(path, at(offset), reads.max(1));
    }

    /// All blocks can be read again.
    pub fn refuse_nothing(&self) {
        self.machine.borrow_mut().refuse_nothing();
    }

    /// Puts a whole file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.machine.borrow_mut().put(path, bytes);
    }

    /// Takes a file away, durably.
    pub fn take_away(&self, path: &Path) {
        self.machine.borrow_mut().take_away(path);
    }

    fn opened(&self, machine: &Machine, path: &Path, inode: u64) -> SimFile {
        let (path, boot, handle) = (path.to_owned(), machine.boot, machine.handle(inode));
        SimFile { disk: self.clone(), path, inode, boot, _handle: handle }
    }

    /// What was removed since this was last asked, in order.
    pub fn take_removed(&self) -> Vec<Removed> {
        std::mem::take(&mut self.machine.borrow_mut().removed)
    }

    /// What reads see of a file; `None` if there is none.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.machine.borrow().bytes(path)
    }

    /// All files' paths, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.machine.borrow().paths()
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files fit memory")
}

/// Runs a future to its end on this thread, where nothing it waits for comes from elsewhere.
///
/// # Panics
/// If it waits for something: an operation that is held, say.
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

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.take_time(Cost::Read).await?;
        let machine = self.machine.borrow();
        machine.powered()?;
        let inode = machine.lookup(path)?;
        Ok(self.opened(&machine, path, inode))
    }

    async fn create(&self, path: &Path, file_bytes: u64) -> io::Result<SimFile> {
        assert!(file_bytes.is_multiple_of(4096), "files are made of blocks");
        self.take_time(Cost::Sync).await?;
        let mut machine = self.machine.borrow_mut();
        let inode = machine.create(path, file_bytes)?;
        Ok(self.opened(&machine, path, inode))
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.machine.borrow_mut().create_dir(path)
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.machine.borrow().list(dir)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.take_time(Cost::Sync).await?;
        self.machine.borrow_mut().rename(from, to)
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.take_time(Cost::Sync).await?;
        self.machine.borrow_mut().remove(path)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.take_time(Cost::Sync).await?;
        self.machine.borrow_mut().sync_dir(dir)
    }
}

impl SimFile {
    /// Submits when first polled; ready when the operation is.
    async fn run(&self, operation: Operation) -> io::Result<()> {
        let mut operation = Some(operation);
        let mut submitted = None;
        poll_fn(move |context| {
            let mut machine = self.disk.machine.borrow_mut();
            if let Some(operation) = operation.take() {
                match machine.submit(self.inode, self.boot, operation) {
                    Ok(id) => submitted = Some(id),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            machine.poll(submitted.expect("submitted at the first poll"), context)
        })
        .await
    }
}

impl File for SimFile {
    fn file_bytes(&self) -> u64 {
        self.disk.machine.borrow().file_bytes(self.inode)
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        self.disk.take_time(Cost::Read).await?;
        self.disk.machine.borrow_mut().read(self.inode, self.boot, at(offset), len)
    }

    async fn write_at(&self, offset: u64, data: Buffer) -> io::Result<()> {
        check_alignment(offset, &data);
        self.run(Operation::Write { offset: at(offset), data: Rc::from(&data[..]), durable: false }).await
    }

    async fn write_durable(&self, offset: u64, data: Buffer) -> io::Result<()> {
        check_alignment(offset, &data);
        self.run(Operation::Write { offset: at(offset), data: Rc::from(&data[..]), durable: true }).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.run(Operation::Sync).await
    }

    async fn set_len(&self, file_bytes: u64) -> io::Result<()> {
        self.run(Operation::SetLen { file_bytes: at(file_bytes) }).await
    }

    fn map_path(&self) -> PathBuf {
        self.path.clone()
    }
}

fn check_alignment(offset: u64, data: &Buffer) {
    let aligned = offset.is_multiple_of(4096) && data.len().is_multiple_of(4096);
    assert!(aligned && data.as_ptr().addr().is_multiple_of(4096), "direct I/O is made of aligned blocks");
}
