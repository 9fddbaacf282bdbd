//! A simulated disk in simulated time: operations take as long as is drawn for them, end in any order, and fail at the
//! rates that are set. What is in flight is lost by a crash, in parts.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    task::{Context, Poll, Waker},
};

use super::{
    SimDisk,
    inode::{Change, SECTOR_BYTES},
    machine::{HeldId, Machine, Operation},
};

/// How fast a disk is, in microseconds. Each operation takes from the half to the double of its kind's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A read.
    pub read_us: u64,
    /// A write, durable or not.
    pub write_us: u64,
    /// A sync, or a change of names.
    pub sync_us: u64,
}

/// How often operations fail, in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Reads that answer EIO.
    pub read_eio: u32,
    /// Writes that answer EIO, any sectors of which are written.
    pub write_eio: u32,
    /// Syncs that answer EIO; what they were to make durable is dropped, and a later sync says that all is well.
    pub sync_eio: u32,
}

/// What a disk can do to a write without saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// It is reported written, and is not.
    Lost,
    /// It lands so many blocks of 4096 bytes away in the same file, if there is such a place.
    Misdirected(i64),
    /// It lands at its offset in another file, if there is one that reaches so far.
    Stray,
}

/// A silent fault that came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where.
    pub offset: u64,
    /// What.
    pub what: &'static str,
}

/// The clock of a timed disk, and what is wrong with the disk.
#[derive(Clone)]
pub(super) struct Time {
    timing: Timing,
    rng: fastrand::Rng,
    now_us: u64,
    rates: Rates,
    frozen_until_us: u64,
    /// Times as slow as it should be.
    slowness: u64,
    armed: Option<Silent>,
    armed_front: Option<Silent>,
    damage: Vec<Damage>,
    /// What only takes time.
    waits: BTreeMap<HeldId, (u64, Option<Waker>)>,
}

/// What an operation costs.
#[derive(Clone, Copy)]
pub(super) enum Cost {
    Read,
    Write,
    Sync,
}

impl SimDisk {
    /// From now on operations take time, by `seed`: [`SimDisk::advance`] completes what is due.
    pub fn set_timing(&self, timing: Timing, seed: u64) {
        let rng = fastrand::Rng::with_seed(seed);
        self.machine.borrow_mut().time = Some(Time {
            timing,
            rng,
            now_us: 0,
            rates: Rates::default(),
            frozen_until_us: 0,
            slowness: 1,
            armed: None,
            armed_front: None,
            damage: Vec::new(),
            waits: BTreeMap::new(),
        });
    }

    /// The time is `now_us`: completes what is due, in the order it is due.
    pub fn advance(&self, now_us: u64) {
        let wakers = self.machine.borrow_mut().advance(now_us);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// When the next operation completes.
    pub fn next_due(&self) -> Option<u64> {
        let machine = self.machine.borrow();
        let waits = machine.time.as_ref()?.waits.values().map(|(due, _)| *due);
        machine.dues().chain(waits).min()
    }

    /// Sets how often operations fail.
    pub fn set_rates(&self, rates: Rates) {
        self.with_time(|time| time.rates = rates);
    }

    /// Nothing completes before `until_us`.
    pub fn freeze_until(&self, until_us: u64) {
        self.with_time(|time| time.frozen_until_us = until_us);
    }

    /// Makes everything take so many times as long.
    pub fn set_slowness(&self, slowness: u64) {
        self.with_time(|time| time.slowness = slowness.max(1));
    }

    /// The next write goes wrong so, and nobody is told.
    pub fn arm(&self, silent: Silent) {
        self.with_time(|time| time.armed = Some(silent));
    }

    /// The next write at the front of a log's file goes wrong so, also if that is after a crash; or none does any more.
    pub fn arm_front(&self, silent: Option<Silent>) {
        self.with_time(|time| time.armed_front = silent);
    }

    /// The silent faults that came about since this was last asked.
    pub fn take_damage(&self) -> Vec<Damage> {
        let mut damage = Vec::new();
        self.with_time(|time| damage = std::mem::take(&mut time.damage));
        damage
    }

    /// Whether a silent fault could still pass for the torn end of a log.
    pub fn is_unsealed(&self) -> bool {
        self.machine.borrow().seal.is_broken()
    }

    /// The process that used the disk was killed: what it had in flight is written or not, what was written stays. Its open
    /// files are dead.
    pub fn abandon(&self, seed: u64) {
        self.machine.borrow_mut().abandon(&mut fastrand::Rng::with_seed(seed));
    }

    fn with_time(&self, change: impl FnOnce(&mut Time)) {
        if let Some(time) = &mut self.machine.borrow_mut().time {
            change(time);
        }
    }

    /// Takes the time of an operation, in a timed disk. Fails if the machine crashes meanwhile, or as the rates say.
    pub(super) async fn take_time(&self, cost: Cost) -> io::Result<()> {
        let started = self.machine.borrow_mut().start_wait(cost);
        let Some((id, boot, fails)) = started else { return Ok(()) };
        poll_fn(|context| self.machine.borrow_mut().poll_wait(id, boot, context)).await?;
        if fails { Err(io::Error::other("simulated EIO")) } else { Ok(()) }
    }
}

impl Time {
    /// The machine stopped: nobody waits any more, and what was armed is away.
    pub(super) fn forget(&mut self) {
        self.waits.clear();
        self.armed = None;
    }

    /// When an operation that starts now is done.
    fn due(&mut self, cost: Cost) -> u64 {
        let us = match cost {
            Cost::Read => self.timing.read_us,
            Cost::Write => self.timing.write_us,
            Cost::Sync => self.timing.sync_us,
        };
        let us = self.rng.u64(us / 2..=us * 2) * self.slowness;
        self.now_us.max(self.frozen_until_us) + us
    }

    fn fails(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.rng.u32(..1_000_000) < per_million
    }
}

impl Machine {
    /// Draws when a submitted operation is done, and whether it fails; `None` on a disk without time.
    pub(super) fn fate(&mut self, operation: &Operation) -> Option<(u64, bool)> {
        let time = self.time.as_mut()?;
        let (cost, rate) = match operation {
            Operation::Write { .. } => (Cost::Write, time.rates.write_eio),
            Operation::Sync => (Cost::Sync, time.rates.sync_eio),
            Operation::SetLen { .. } => (Cost::Sync, 0),
        };
        let due = time.due(cost);
        Some((due, time.fails(rate)))
    }

    fn start_wait(&mut self, cost: Cost) -> Option<(HeldId, u64, bool)> {
        let (id, boot) = (self.next_id(), self.boot);
        let time = self.time.as_mut()?;
        let due = time.due(cost);
        let fails = matches!(cost, Cost::Read) && time.fails(time.rates.read_eio);
        time.waits.insert(id, (due, None));
        Some((id, boot, fails))
    }

    fn poll_wait(&mut self, id: HeldId, boot: u64, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if boot != self.boot {
            return Poll::Ready(Err(io::Error::other("the machine crashed")));
        }
        match self.time.as_mut().and_then(|time| time.waits.get_mut(&id)) {
            Some((_, waker)) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }

    fn advance(&mut self, now_us: u64) -> Vec<Waker> {
        let Some(time) = &mut self.time else { return Vec::new() };
        time.now_us = time.now_us.max(now_us);
        let mut wakers = Vec::new();
        time.waits.retain(|_, (due, waker)| {
            let done = *due <= now_us;
            if done {
                wakers.extend(waker.take());
            }
            !done
        });
        for (_, id, error) in self.due_until(now_us) {
            wakers.extend(self.finish(id, error));
        }
        wakers
    }

    /// Whether the write that completes now goes wrong in silence. What is to be done instead.
    pub(super) fn spoil(
        &mut self,
        path: Option<PathBuf>,
        offset: usize,
        len: usize,
        file_bytes: usize,
    ) -> Option<Spoilt> {
        let time = self.time.as_mut()?;
        let is_front =
            offset == 0 && path.as_ref().is_some_and(|path| path.extension() == Some("log".as_ref()));
        let silent = time.armed.take().or_else(|| time.armed_front.take_if(|_| is_front))?;
        let path = path?;
        let (spoilt, what) = match silent {
            Silent::Lost => (Spoilt::Lost, "a write was lost"),
            Silent::Misdirected(blocks) => {
                let to = i64::try_from(offset).ok()?.checked_add(blocks.checked_mul(4096)?)?;
                let to = usize::try_from(to).ok().filter(|to| to + len <= file_bytes)?;
                (Spoilt::Moved(to), "a write landed elsewhere")
            }
            Silent::Stray => {
                (Spoilt::Stray(self.other_file(&path, offset + len)?), "a write landed in another file")
            }
        };
        self.time.as_mut()?.damage.push(Damage { path, offset: offset as u64, what });
        self.seal.breaks(self.next_id);
        Some(spoilt)
    }

    /// Some file but `path` that has at least so many bytes: the next by name, round and round.
    fn other_file(&self, path: &Path, bytes_min: usize) -> Option<u64> {
        let (before, after): (Vec<_>, Vec<_>) =
            self.names.iter().filter(|(name, _)| *name != path).partition(|(name, _)| name.as_path() < path);
        let mut inodes = after.into_iter().chain(before).map(|(_, inode)| *inode);
        inodes.find(|inode| self.file_bytes(*inode) >= bytes_min as u64)
    }

    /// The sectors of a write that failed which were written all the same.
    pub(super) fn survivors(&mut self, offset: usize, data: &[u8]) -> Vec<Change> {
        let Some(time) = &mut self.time else { return Vec::new() };
        let odds = [0.0, 1.0, time.rng.f64()][time.rng.usize(..3)];
        let sectors = data.chunks(SECTOR_BYTES).enumerate().filter(|_| time.rng.f64() < odds);
        let change = |(number, sector): (usize, &[u8])| Change::Write {
            offset: offset + number * SECTOR_BYTES,
            data: sector.into(),
        };
        sectors.map(change).collect()
    }

    fn abandon(&mut self, rng: &mut fastrand::Rng) {
        let flying: Vec<HeldId> = self.held();
        for id in flying {
            if rng.bool() {
                self.finish(id, None);
            }
        }
        self.forget_pending();
        self.boot += 1;
        if let Some(time) = &mut self.time {
            time.forget();
        }
    }
}

/// Where a spoilt write went.
#[derive(Clone, Copy)]
pub(super) enum Spoilt {
    Lost,
    Moved(usize),
    /// Into the file with this inode.
    Stray(u64),
}

/// The path that names an inode, for reports.
pub(super) fn path_of(names: &BTreeMap<PathBuf, u64>, inode: u64) -> Option<PathBuf> {
    names.iter().find(|(_, named)| **named == inode).map(|(path, _)| Path::to_path_buf(path))
}
