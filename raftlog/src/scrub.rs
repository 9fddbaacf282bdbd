//! Looking at what nobody reads: all entries in segments that are no longer written to, again and again, so that rot is found while
//! peers still have what it took.

use std::{future::Future, pin::Pin, time::Duration};

use raft::{GroupId, Index, Time};
use runtime::{Buffer, Disk};

use crate::{Log, ReadError};

/// What one job reads at most, in bytes, or one record.
const JOB_BYTES: usize = 1 << 20;
/// Between two jobs of a pass: 4 MiB a second, a few thousandths of what a disk gives.
const JOB_EVERY: Duration = Duration::from_millis(250);
/// Between two passes there is so much more time than before the first one after a start.
const FIRST_PASS_SOONER: u32 = 24;

type Read = Pin<Box<dyn Future<Output = Result<Vec<Buffer>, ReadError>>>>;

/// How far the pass is that is under way.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    /// Nothing is read before this moment; `None` until the first turn.
    due: Option<Time>,
    /// A job is out.
    running: bool,
    /// What is looked at next.
    next: Option<(GroupId, Index)>,
    /// What the pass has read.
    pub(crate) pass_bytes: u64,
    /// When the last pass ended; until one did, the first turn.
    pub(crate) passed: Option<Time>,
}

/// Background work that reads some entries: run it at low priority and hand the result to [`Log::scrubbed`].
#[must_use = "run it and hand the result to Log::scrubbed, or nothing will be looked at any more"]
pub struct ScrubJob {
    group: GroupId,
    last: Index,
    read: Read,
}

/// What became of a [`ScrubJob`].
#[must_use = "hand it to Log::scrubbed"]
pub struct Scrubbed {
    group: GroupId,
    last: Index,
    result: Result<u64, ReadError>,
}

impl ScrubJob {
    /// Reads and verifies the entries.
    pub async fn run(self) -> Scrubbed {
        let bytes = |buffers: Vec<Buffer>| buffers.iter().map(|buffer| buffer.len() as u64).sum();
        Scrubbed { group: self.group, last: self.last, result: self.read.await.map(bytes) }
    }
}

impl<D: Disk> Log<D> {
    /// The next piece to be looked at, if it is time to: at most one is out.
    pub fn scrub(&mut self, now: Time) -> Option<ScrubJob> {
        let every = self.options.scrub_every;
        self.scrub.passed.get_or_insert(now);
        let due = *self.scrub.due.get_or_insert(now + every / FIRST_PASS_SOONER);
        if now < due || self.scrub.running || self.pipeline.error().is_some() {
            return None;
        }
        let Some((group, first, last)) = self.next_piece() else {
            self.stats.scrub_passes += 1;
            self.scrub = Scrub { due: Some(now + every), passed: Some(now), ..Scrub::default() };
            return None;
        };
        let read = Box::pin(self.read_beside(group, first, last, usize::MAX));
        self.scrub.running = true;
        Some(ScrubJob { group, last, read })
    }

    /// Consecutive entries in segments that are complete, from where the pass is on.
    fn next_piece(&self) -> Option<(GroupId, Index, Index)> {
        let active_from = self.segments.live().next_back()?.first_batch();
        let (from, mut first) = self.scrub.next.unwrap_or_default();
        for (group, log) in self.groups.iter_from(from) {
            if group != from {
                first = Index::ZERO;
            }
            first = first.max(log.compacted.index.next());
            let (mut bytes, mut last) = (0, None);
            let sealed = log.records_from(first).take_while(|record| record.batch < active_from);
            for record in sealed {
                if bytes > 0 && bytes + record.body_bytes as usize > JOB_BYTES {
                    break;
                }
                bytes += record.body_bytes as usize;
                last = Some(record.last());
            }
            if let Some(last) = last {
                return Some((group, first, last));
            }
        }
        None
    }

    /// Takes the result of a [`ScrubJob`]: what was found damaged, and whose it is.
    pub fn scrubbed(&mut self, now: Time, scrubbed: Scrubbed) -> Option<(GroupId, ReadError)> {
        self.scrub.running = false;
        self.scrub.due = Some(now + JOB_EVERY);
        self.scrub.next = Some((scrubbed.group, scrubbed.last.next()));
        if let Err(ReadError::Damaged { group, index, .. }) = scrubbed.result {
            self.damaged(group, index);
        }
        match scrubbed.result {
            Ok(bytes) => {
                self.stats.scrubbed_bytes += bytes;
                self.scrub.pass_bytes += bytes;
                None
            }
            Err(error @ ReadError::Damaged { .. }) => {
                runtime::mark!("heal.scrub_finds");
                Some((scrubbed.group, error))
            }
            Err(ReadError::Io { path, offset, source }) => {
                tracing::warn!(path = %path.display(), offset, %source, "cannot look at a part of the log");
                None
            }
            Err(_) => None, // compacted or truncated meanwhile
        }
    }
}
