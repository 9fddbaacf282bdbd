//! The state of a simulated disk and what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use runtime::Buffer;

use super::{
    inode::{Change, Inode},
    names::Naming,
    pages::Pages,
    seal::Seal,
    timed::{Spoilt, Time, path_of},
};

/// What cannot be read, cannot be read by whole blocks.
const BLOCK_BYTES: usize = 4096;
const EIO: i32 = 5;

/// Which operation is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `write_at`, `write_durable`
    Write,
    /// `sync`
    Sync,
    /// `read_at`
    Read,
    /// `create`
    Create,
    /// `sync_dir`
    SyncDir,
}

/// A file that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its path.
    pub path: PathBuf,
    /// Somebody had it open.
    pub was_open: bool,
}

/// An operation that waits to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldId(pub(super) u64);

/// What a file is asked to do.
#[derive(Clone)]
pub(super) enum Operation {
    Write { offset: usize, data: Rc<[u8]>, durable: bool },
    Sync,
    SetLen { file_bytes: usize },
}

#[derive(Clone)]
struct Pending {
    inode: u64,
    operation: Operation,
    /// For a sync: how many of the file's changes, ever, had completed when it was submitted.
    covers: usize,
    result: Option<Option<io::ErrorKind>>,
    waker: Option<Waker>,
    /// On a timed disk: when it is done, and whether it fails then.
    fate: Option<(u64, bool)>,
}

#[derive(Clone, Default)]
pub(super) struct Machine {
    /// Names that were removed, and whether somebody had the file open.
    pub(super) removed: Vec<Removed>,
    inodes: BTreeMap<u64, Inode>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) safe_names: BTreeMap<PathBuf, u64>,
    pub(super) unsynced_names: Vec<Naming>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pending: BTreeMap<HeldId, Pending>,
    pub(super) next_id: u64,
    pub(super) boot: u64,
    pub(super) hold: bool,
    pub(super) faults: BTreeMap<Fault, io::ErrorKind>,
    pub(super) free_bytes: Option<u64>,
    pub(super) power: Option<u64>,
    pub(super) operations: u64,
    pub(super) time: Option<Time>,
    pub(super) seal: Seal,
    /// Blocks that cannot be read, by inode, until they are written again or so many reads have failed.
    refused: BTreeMap<(u64, usize), u64>,
}

impl Machine {
    /// What an open file holds on to.
    pub(super) fn handle(&self, inode: u64) -> Rc<()> {
        self.inodes.get(&inode).map(|inode| Rc::clone(&inode.handle)).unwrap_or_default()
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        if self.power == Some(0) { Err(io::Error::other("the power is out")) } else { Ok(()) }
    }

    /// Counts an operation that changes the disk. Fails when the power is out or a fault is due.
    pub(super) fn count(&mut self, fault: Option<Fault>) -> io::Result<()> {
        self.powered()?;
        self.operations += 1;
        if let Some(left) = &mut self.power {
            *left -= 1;
        }
        match fault.and_then(|fault| self.faults.remove(&fault)) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes outlive their names")
    }

    pub(super) fn submit(&mut self, inode: u64, boot: u64, operation: Operation) -> io::Result<HeldId> {
        if boot != self.boot {
            return Err(io::Error::other("the machine crashed since this file was opened"));
        }
        let fault = match &operation {
            Operation::Write { .. } => Some(Fault::Write),
            Operation::Sync => Some(Fault::Sync),
            Operation::SetLen { .. } => None,
        };
        self.assert_disjoint(inode, &operation);
        let counted = self.count(fault);
        let id = HeldId(self.next_id);
        self.next_id += 1;
        let file = self.inode(inode);
        let covers = file.settled + file.unsynced.len();
        let fate = self.fate(&operation);
        self.pending.insert(id, Pending { inode, operation, covers, result: None, waker: None, fate });
        if let Err(error) = counted {
            // What failed may have happened in part: it stays in flight until the crash decides.
            self.pending.get_mut(&id).expect("just inserted").result = Some(Some(error.kind()));
            if matches!(self.pending[&id].operation, Operation::Sync) {
                self.fail(inode, covers, &Operation::Sync);
            }
            return Err(error);
        }
        let may_hold = match &self.pending[&id].operation {
            Operation::Write { durable, .. } => *durable,
            Operation::Sync => true,
            Operation::SetLen { .. } => false,
        };
        if !(self.hold && may_hold) && fate.is_none() {
            self.finish(id, None);
        }
        Ok(id)
    }

    pub(super) fn next_id(&mut self) -> HeldId {
        self.next_id += 1;
        HeldId(self.next_id - 1)
    }

    /// On a timed disk: when the operations in flight are done.
    pub(super) fn dues(&self) -> impl Iterator<Item = u64> {
        self.pending
            .values()
            .filter(|pending| pending.result.is_none())
            .filter_map(|pending| Some(pending.fate?.0))
    }

    /// The operations that are done by `now_us`, in that order, with how they end.
    pub(super) fn due_until(&self, now_us: u64) -> Vec<(u64, HeldId, Option<io::ErrorKind>)> {
        let ended = |(id, pending): (&HeldId, &Pending)| {
            let (due, fails) = pending.fate.filter(|(due, _)| *due <= now_us && pending.result.is_none())?;
            Some((due, *id, fails.then_some(io::ErrorKind::Other)))
        };
        let mut due: Vec<_> = self.pending.iter().filter_map(ended).collect();
        due.sort_unstable_by_key(|(due, id, _)| (*due, *id));
        due
    }

    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// Two writes in flight never share a byte: their order would be the device's choice.
    fn assert_disjoint(&self, inode: u64, operation: &Operation) {
        let Operation::Write { offset, data, .. } = operation else { return };
        for other in self.pending.values().filter(|other| other.inode == inode && other.result.is_none()) {
            if let Operation::Write { offset: other_offset, data: other_data, .. } = &other.operation {
                let disjoint =
                    offset + data.len() <= *other_offset || other_offset + other_data.len() <= *offset;
                assert!(disjoint, "writes in flight at {offset} and {other_offset} overlap");
            }
        }
    }

    pub(super) fn held(&self) -> Vec<HeldId> {
        self.pending.iter().filter(|(_, pending)| pending.result.is_none()).map(|(id, _)| *id).collect()
    }

    pub(super) fn finish(&mut self, id: HeldId, error: Option<io::ErrorKind>) -> Option<Waker> {
        let pending = self.pending.get_mut(&id).expect("an operation that is held");
        assert!(pending.result.is_none(), "it is held only until it is released");
        pending.result = Some(error);
        let (number, covers, waker) = (pending.inode, pending.covers, pending.waker.take());
        let operation = pending.operation.clone();
        if error.is_some() {
            if self.time.is_some() {
                self.fail(number, covers, &operation);
            }
            return waker;
        }
        self.seal_by(id, number, &operation);
        match operation {
            Operation::Write { offset, data, durable } => self.write(number, offset, data, durable),
            Operation::SetLen { file_bytes } => {
                self.inode(number).change(Change::SetLen { file_bytes }, false);
            }
            // Another sync may have settled them since.
            Operation::Sync => {
                let inode = self.inode(number);
                inode.settle(covers.saturating_sub(inode.settled).min(inode.unsynced.len()));
            }
        }
        waker
    }

    fn seal_by(&mut self, id: HeldId, number: u64, operation: &Operation) {
        if !self.seal.is_broken() {
            return;
        }
        let is_log =
            || path_of(&self.names, number).is_some_and(|path| path.extension() == Some("log".as_ref()));
        match operation {
            Operation::Write { durable, .. } if is_log() => {
                self.seal.wrote(id.0, number, *durable, self.next_id);
            }
            Operation::Sync => self.seal.synced(id.0, number, self.next_id),
            Operation::Write { .. } | Operation::SetLen { .. } => {}
        }
    }

    /// What a timed disk does with an operation that fails: a sync drops what it covers, a write writes some of it.
    fn fail(&mut self, number: u64, covers: usize, operation: &Operation) {
        match operation {
            Operation::Sync => {
                let inode = self.inode(number);
                inode.drop_first(covers.saturating_sub(inode.settled).min(inode.unsynced.len()));
            }
            Operation::Write { offset, data, .. } => {
                for change in self.survivors(*offset, data) {
                    self.inode(number).change(change, false);
                }
            }
            Operation::SetLen { .. } => {}
        }
    }

    fn write(&mut self, number: u64, offset: usize, data: Rc<[u8]>, durable: bool) {
        let blocks = offset / BLOCK_BYTES..(offset + data.len()).div_ceil(BLOCK_BYTES);
        self.refused.retain(|(inode, block), _| *inode != number || !blocks.contains(block));
        let path = self.time.is_some().then(|| path_of(&self.names, number)).flatten();
        let file_bytes = self.inode(number).seen.len();
        match self.spoil(path, offset, data.len(), file_bytes) {
            None => self.inode(number).change(Change::Write { offset, data }, durable),
            Some(Spoilt::Lost) => {}
            Some(Spoilt::Stray(other)) => self.inode(other).change(Change::Write { offset, data }, durable),
            Some(Spoilt::Moved(offset)) => self.inode(number).change(Change::Write { offset, data }, durable),
        }
    }

    pub(super) fn poll(&mut self, id: HeldId, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pending) = self.pending.get_mut(&id) else {
            return Poll::Ready(Err(io::Error::other("the machine crashed")));
        };
        match pending.result {
            None => {
                pending.waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(None) => {
                self.pending.remove(&id);
                Poll::Ready(Ok(()))
            }
            Some(Some(kind)) => Poll::Ready(Err(kind.into())),
        }
    }

    pub(super) fn read(&mut self, inode: u64, boot: u64, offset: usize, len: usize) -> io::Result<Buffer> {
        self.powered()?;
        if boot != self.boot {
            return Err(io::Error::other("the machine crashed since this file was opened"));
        }
        if let Some(kind) = self.faults.remove(&Fault::Read) {
            return Err(kind.into());
        }
        let end = offset.saturating_add(len).min(self.inode(inode).seen.len());
        let blocks =
            (inode, offset / BLOCK_BYTES)..(inode, end.div_ceil(BLOCK_BYTES).max(offset / BLOCK_BYTES));
        if let Some((place, reads)) = self.refused.range_mut(blocks).next() {
            let place = *place;
            *reads = reads.saturating_sub(u64::from(*reads < u64::MAX));
            if *reads == 0 {
                self.refused.remove(&place);
            }
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(Buffer::copy_from(&self.inode(inode).seen.read(offset..offset.saturating_add(len))))
    }

    pub(super) fn refuse(&mut self, path: &Path, offset: usize, reads: u64) {
        let inode = self.lookup(path).expect("a file to damage");
        self.refused.insert((inode, offset / BLOCK_BYTES), reads);
    }

    pub(super) fn refuse_nothing(&mut self) {
        self.refused.clear();
    }

    pub(super) fn file_bytes(&self, inode: u64) -> u64 {
        self.inodes[&inode].seen.len() as u64
    }

    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            let landed = matches!(pending.result, Some(None));
            if let Operation::Write { offset, data, .. } = pending.operation
                && !landed
            {
                self.inode(pending.inode).unsynced.push((Change::Write { offset, data }, false));
            }
        }
        self.inodes.values_mut().for_each(|inode| inode.crash(rng));
        self.crash_names(rng);
        self.boot += 1;
        if let Some(time) = &mut self.time {
            time.forget();
        }
        self.hold = false;
        self.power = None;
        self.faults.clear();
    }

    pub(super) fn add_inode(&mut self, bytes: Pages) -> u64 {
        let inode = self.next_id;
        self.next_id += 1;
        self.inodes.insert(inode, Inode { seen: bytes.clone(), safe: bytes, ..Inode::default() });
        inode
    }

    pub(super) fn at_rest(&mut self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let inode = self.lookup(path).expect("a file to damage");
        let inode = self.inode(inode);
        for pages in [&mut inode.seen, &mut inode.safe] {
            let mut bytes = pages.read(0..pages.len());
            change(&mut bytes);
            *pages = Pages::from_bytes(&bytes);
        }
    }

    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) {
        let inode = self.add_inode(Pages::from_bytes(bytes));
        self.names.insert(path.to_owned(), inode);
        self.safe_names.insert(path.to_owned(), inode);
        if let Some(dir) = path.parent() {
            self.dirs.insert(dir.to_owned());
        }
    }

    pub(super) fn take_away(&mut self, path: &Path) {
        self.names.remove(path);
        self.safe_names.remove(path);
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let seen = &self.inodes[self.names.get(path)?].seen;
        Some(seen.read(0..seen.len()))
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }
}
