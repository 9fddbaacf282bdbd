//! Entries that are no longer in memory, read back from the log's segments beside the turns.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use raft::{GroupId, Index, NodeId};
use raftlog::{Log, ReadError};
use runtime::{Buffer, Disk};

use super::Shard;
use crate::state_machine::StateMachine;

/// Bytes one read asks for: enough to keep a disk busy, little enough to share it.
const LOAD_BYTES_MAX: usize = 1 << 20;

/// A read on its way.
struct Reading {
    replica: usize,
    purpose: Purpose,
    group: GroupId,
    first: Index,
    entries: Pin<Box<dyn Future<Output = Result<Vec<Buffer>, ReadError>>>>,
}

/// What entries are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Apply,
    Send { link: usize, to: NodeId },
}

/// Entries that came back.
pub(super) struct Loaded {
    pub(super) replica: usize,
    pub(super) purpose: Purpose,
    group: GroupId,
    /// The first entry asked for.
    first: Index,
    pub(super) entries: Result<Vec<Buffer>, ReadError>,
}

/// The reads in flight: at most one for applying per replica, and one for each of its followers.
#[derive(Default)]
pub(super) struct Loads {
    reading: Vec<Reading>,
}

impl Loads {
    /// Reads the next entries that `replica` applies.
    pub(super) fn load_to_apply<D: Disk>(
        &mut self,
        log: &Log<D>,
        replica: usize,
        group: GroupId,
        first: Index,
        last: Index,
    ) {
        self.start(log, replica, Purpose::Apply, group, first, last);
    }

    /// Reads the next entries that follower `to` lacks; one read at a time for each.
    pub(super) fn load_to_send<D: Disk>(
        &mut self,
        log: &Log<D>,
        replica: usize,
        (link, to): (usize, NodeId),
        group: GroupId,
        first: Index,
        last: Index,
    ) {
        let purpose = Purpose::Send { link, to };
        if !self.reading.iter().any(|reading| reading.replica == replica && reading.purpose == purpose) {
            self.start(log, replica, purpose, group, first, last);
        }
    }

    fn start<D: Disk>(
        &mut self,
        log: &Log<D>,
        replica: usize,
        purpose: Purpose,
        group: GroupId,
        first: Index,
        last: Index,
    ) {
        let entries = Box::pin(log.read(group, first, last, LOAD_BYTES_MAX));
        self.reading.push(Reading { replica, purpose, group, first, entries });
    }

    /// What has come back. A no-op waker serves: the ring's completions start a turn, and the turn asks.
    fn finished(&mut self) -> Vec<Loaded> {
        let mut context = Context::from_waker(Waker::noop());
        let mut loaded = Vec::new();
        self.reading.retain_mut(|reading| match reading.entries.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(entries) => {
                let Reading { replica, purpose, group, first, .. } = *reading;
                loaded.push(Loaded { replica, purpose, group, first, entries });
                false
            }
        });
        loaded
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reading.is_empty()
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Applies or sends on what was read back.
    pub(super) fn take_loaded(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        for loaded in self.loads.finished() {
            let number = loaded.replica;
            self.mark_dirty(number);
            let replica = &mut self.replicas[number];
            match (loaded.purpose, loaded.entries) {
                (Purpose::Apply, Ok(buffers)) => {
                    replica.loading = false;
                    replica.loaded.extend(buffers);
                }
                (Purpose::Send { link, .. }, Ok(buffers)) => self.links.loaded(link, number, buffers),
                // What is before the damage is as good as ever.
                (purpose, Err(ReadError::Damaged { index, .. })) if index > loaded.first => {
                    let (group, first) = (loaded.group, loaded.first);
                    self.loads.start(&self.log, number, purpose, group, first, index.previous());
                }
                (purpose, Err(error @ ReadError::Damaged { index, .. })) => {
                    replica.loading &= purpose != Purpose::Apply;
                    self.heal(number, index, &error);
                }
                (purpose, Err(error)) => {
                    replica.loading &= purpose != Purpose::Apply;
                    tracing::warn!(group = %replica.group, ?purpose, %error, "cannot read entries back");
                }
            }
        }
    }
}
