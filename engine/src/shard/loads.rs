//! Entries that are no longer in memory, read back from the log's segments beside the turns.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use raft::{GroupId, Index, NodeId};
use raftlog::{Log, ReadError};
use runtime::{Buffer, Disk};

use super::Shard;
use crate::fatal::Fatal;
use crate::state_machine::StateMachine;

/// Bytes one read asks for: enough to keep a disk busy, little enough to share it.
const LOAD_BYTES_MAX: usize = 1 << 20;

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Buffer>, ReadError>>>>;

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
    pub(super) entries: Result<Vec<Buffer>, ReadError>,
}

/// The reads in flight: at most one for applying per replica, and one for each of its followers.
#[derive(Default)]
pub(super) struct Loads {
    reading: Vec<(usize, Purpose, Reading)>,
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
        if !self.reading.iter().any(|(of, why, _)| *of == replica && *why == purpose) {
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
        let reading: Reading = Box::pin(log.read(group, first, last, LOAD_BYTES_MAX));
        self.reading.push((replica, purpose, reading));
    }

    /// What has come back. A no-op waker serves: the ring's completions start a turn, and the turn asks.
    fn finished(&mut self) -> Vec<Loaded> {
        let mut context = Context::from_waker(Waker::noop());
        let mut loaded = Vec::new();
        self.reading.retain_mut(|(replica, purpose, reading)| match reading.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(entries) => {
                loaded.push(Loaded { replica: *replica, purpose: *purpose, entries });
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
                    let all = buffers.iter().all(|entries| replica.apply_entries(entries, &mut self.answers));
                    self.more |= !all; // the rest is read again: its turn is full
                }
                (Purpose::Send { link, .. }, Ok(buffers)) => self.links.loaded(link, number, buffers),
                // A restart finds more, if there is more; this node must not go on as if it had what it acknowledged.
                (_, Err(error @ ReadError::Damaged { .. })) => {
                    let (shard, reason) = (self.shard, error.to_string());
                    self.ended = Some(Fatal::Corruption { shard, reason });
                }
                (purpose, Err(error)) => {
                    replica.loading = false;
                    tracing::warn!(group = %replica.group, ?purpose, %error, "cannot read entries back");
                }
            }
        }
    }
}
