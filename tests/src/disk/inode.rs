//! A simulated file: what reads see of it, and what a crash leaves.

use std::rc::Rc;

use super::pages::Pages;

/// What reaches the platter whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// A change of a file's bytes that may be lost.
#[derive(Clone)]
pub(super) enum Change {
    Write { offset: usize, data: Rc<[u8]> },
    SetLen { file_bytes: usize },
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// As often as there are files open on it, and once more.
    pub(super) handle: Rc<()>,
    /// What reads see.
    pub(super) seen: Pages,
    /// What surely survives, before `unsynced`.
    pub(super) safe: Pages,
    /// Completed changes in order; `true`: this one surely survives, too.
    pub(super) unsynced: Vec<(Change, bool)>,
    /// Changes that were in `unsynced` once and are in `safe` now.
    pub(super) settled: usize,
}

fn apply(bytes: &mut Pages, change: &Change, mut sector_survives: impl FnMut() -> bool) {
    match change {
        Change::SetLen { file_bytes } => {
            if sector_survives() {
                bytes.resize(*file_bytes);
            }
        }
        Change::Write { offset, data } => {
            if bytes.len() < offset + data.len() {
                bytes.resize(offset + data.len());
            }
            for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if sector_survives() {
                    bytes.write(offset + number * SECTOR_BYTES, sector);
                }
            }
        }
    }
}

fn apply_whole(bytes: &mut Pages, change: &Change) {
    match change {
        Change::SetLen { file_bytes } => bytes.resize(*file_bytes),
        Change::Write { offset, data } => bytes.write(*offset, data),
    }
}

impl Inode {
    pub(super) fn change(&mut self, change: Change, durable: bool) {
        apply_whole(&mut self.seen, &change);
        self.unsynced.push((change, durable));
        let settled = self.unsynced.iter().take_while(|(_, durable)| *durable).count();
        self.settle(settled);
    }

    /// The first `count` of `unsynced` are durable.
    pub(super) fn settle(&mut self, count: usize) {
        self.settled += count;
        for (change, _) in self.unsynced.drain(..count) {
            apply_whole(&mut self.safe, &change);
        }
    }

    /// A sync failed: of the first `count` of `unsynced`, which it was to make durable, what is not so already is dropped. A
    /// later sync says that all is well.
    pub(super) fn drop_first(&mut self, count: usize) {
        let dropped = self.unsynced.iter().take(count).filter(|(_, durable)| !*durable).count();
        let mut place = 0;
        self.unsynced.retain(|(_, durable)| {
            place += 1;
            *durable || place > count
        });
        self.settled += dropped;
        self.settle(self.unsynced.iter().take_while(|(_, durable)| *durable).count());
    }

    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        for (change, durable) in std::mem::take(&mut self.unsynced) {
            // Whole, absent and torn writes are equally common.
            let odds = [0.0, 1.0, rng.f64()][rng.usize(..3)];
            apply(&mut self.safe, &change, || durable || rng.f64() < odds);
        }
        self.seen = self.safe.clone();
    }
}
