//! Live entries out of segments that hold few: written once more at the end of the log, so that a segment is never kept for a
//! handful of entries that nobody snapshots or commits.
//!
//! A relocated record says: these indexes are these entries. It truncates nothing, and stands where it stands in the log:
//! what truncates its entries later comes after it. Its place counts once its batch is issued; the old one is dead from that
//! batch on, so its segment stays until a checkpoint after it is durable, like that of truncated entries.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bytemuck::Zeroable;
use raft::{GroupId, Index, Term};
use runtime::{Buffer, Disk};

use crate::{
    Log, ReadError,
    format::{RecordHeader, RecordKind, record_flags, u32_of},
    group::GroupLog,
    segments::Fullness,
};

/// What one job moves at most, in bytes, or one record: it goes into a batch beside what is proposed meanwhile.
const JOB_BYTES: usize = 256 << 10;

/// Reads of a job under way at once: enough that a job of small records takes a few turns, and too few to be in anyone's way.
const READS_MAX: usize = 16;

/// After a read that the disk refused another one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Consecutive live entries of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Where it stands.
    segment: u64,
    group: GroupId,
    incarnation: u32,
    term: Term,
    first: Index,
    last: Index,
}

type ReadResult = Result<Vec<Buffer>, ReadError>;
type Read = Pin<Box<dyn Future<Output = ReadResult>>>;

/// A read that was begun.
enum Reading {
    Done(ReadResult),
    UnderWay(Read),
}

/// Background work that reads what is to be moved: run it at low priority and hand the result to [`Log::relocated`].
#[must_use = "run it and hand the result to Log::relocated, or nothing will be relocated any more"]
pub struct RelocationJob {
    pieces: Vec<Piece>,
    reads: Vec<Read>,
}

/// What became of a [`RelocationJob`].
#[must_use = "hand it to Log::relocated"]
pub struct Relocation {
    pieces: Vec<(Piece, Vec<Buffer>)>,
    /// What could not be read, of whom, and why.
    failure: Option<(GroupId, ReadError)>,
}

impl RelocationJob {
    /// Reads and verifies the entries, several records at once: they are small and lie far apart, and one after the other would
    /// take a turn each, while a busy log begins segment after segment. What cannot be read is in the result: what comes before
    /// it is moved, and the rest is left where it is.
    pub async fn run(self) -> Relocation {
        let mut relocation = Relocation { pieces: Vec::new(), failure: None };
        let mut coming = self.pieces.into_iter().zip(self.reads);
        let mut begun = VecDeque::new();
        loop {
            while begun.len() < READS_MAX
                && let Some((piece, read)) = coming.next()
            {
                begun.push_back((piece, begin(read).await));
            }
            let Some((piece, reading)) = begun.pop_front() else { return relocation };
            let read = match reading {
                Reading::Done(read) => read,
                Reading::UnderWay(read) => read.await,
            };
            match read {
                Ok(buffers) => relocation.pieces.push((piece, buffers)),
                Err(error) => {
                    relocation.failure = Some((piece.group, error));
                    return relocation;
                }
            }
        }
    }
}

/// Has the disk asked for it.
async fn begin(mut read: Read) -> Reading {
    let begun = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
    match begun {
        Poll::Ready(done) => Reading::Done(done),
        Poll::Pending => Reading::UnderWay(read),
    }
}

impl<D: Disk> Log<D> {
    /// Work that makes room: the segments with the fewest live bytes are emptied, the fuller the log the sooner (`space.rs` has the
    /// tiers). At most one job is out at a time.
    pub fn relocation(&mut self) -> Option<RelocationJob> {
        // Until what was moved last is issued, it still has its old places in the index.
        let is_out = self.relocating || self.relocated_in > self.issued;
        if is_out || self.pipeline.error().is_some() || self.is_too_busy() || self.now < self.relocation_due {
            return None;
        }
        self.forget_healed();
        // A job is a small part of a segment, so that it fits what is left of one.
        let bytes_max = JOB_BYTES.min(usize::try_from(self.options.segment_bytes / 8).unwrap_or(JOB_BYTES));
        let segments = self.segments.victims(bytes_max as u64, |segment| self.damages.are_in(segment));
        let pieces = self.pieces_in(&segments, bytes_max);
        if pieces.is_empty() {
            return None; // nothing is to be moved
        }
        let read = |piece: &Piece| self.read_beside(piece.group, piece.first, piece.last, usize::MAX);
        if self.segments.fullness() != Fullness::Short {
            runtime::mark!("log.relocated.early");
        }
        let reads = pieces.iter().map(|piece| Box::pin(read(piece)) as _).collect();
        self.relocating = true;
        self.stats.relocations += 1;
        Some(RelocationJob { pieces, reads })
    }

    /// A busy log adds a job's bytes to what is under way, and no more: under a load that never ends there is no quiet moment to
    /// wait for. But nothing is added to what waits for a segment, which would only make that longer, and while segments are short
    /// what room is left is for what is under way: entries are refused then, so that the log soon is not busy any more.
    fn is_too_busy(&self) -> bool {
        let is_calm = self.queue.is_empty() && self.has_room();
        let waits_for_segment = !self.queue.is_empty() && self.pipeline.len() < self.options.in_flight_max;
        !is_calm && (waits_for_segment || self.segments.fullness() == Fullness::Short)
    }

    /// The first live records in `segments`, which ascend, as many as a job moves.
    fn pieces_in(&self, segments: &[u64], bytes_max: usize) -> Vec<Piece> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        let newest = segments.last().and_then(|newest| self.segments.get(*newest));
        let Some(newest) = newest.map(|newest| newest.last_batch_seq) else { return pieces };
        for (group, log) in self.groups.iter() {
            // Records stand in the order of their segments, but for those that were moved: these are in newer ones.
            let here = log.records().take_while(|record| record.moved || record.batch <= newest);
            for record in here {
                let home = self.segments.home(record.batch);
                let Some(segment) = home.filter(|segment| segments.binary_search(segment).is_ok()) else {
                    continue;
                };
                if bytes > 0 && bytes + record.body_bytes as usize > bytes_max {
                    return pieces;
                }
                bytes += record.body_bytes as usize;
                pieces.push(Piece {
                    segment,
                    group,
                    incarnation: log.incarnation,
                    term: record.term,
                    first: record.first.max(log.compacted.index.next()),
                    last: record.last(),
                });
            }
        }
        pieces
    }

    /// Takes the result of a [`RelocationJob`]: what still lives of it is added to the batch being built. What was found damaged is
    /// the answer, and whose it is: until it is healed its segment is left as it is.
    pub fn relocated(&mut self, relocation: Relocation) -> Option<(GroupId, ReadError)> {
        self.relocating = false;
        let damage = relocation.failure.and_then(|(group, error)| self.relocation_failed(group, error));
        for (piece, buffers) in relocation.pieces {
            let lives = |log: &GroupLog| {
                log.incarnation == piece.incarnation
                    && log.records_from(piece.first).next().is_some_and(|record| {
                        record.term == piece.term
                            && record.last() == piece.last
                            && record.first.max(log.compacted.index.next()) == piece.first
                            && self.segments.home(record.batch) == Some(piece.segment)
                    })
            };
            if self.groups.get(piece.group).is_some_and(lives) {
                self.add_relocated(piece, &buffers);
            }
        }
        self.relocated_in = self.building();
        self.submit();
        damage
    }

    /// Of what could not be read: what is damaged.
    fn relocation_failed(&mut self, group: GroupId, error: ReadError) -> Option<(GroupId, ReadError)> {
        if let ReadError::Damaged { index, .. } = error {
            runtime::mark!("heal.relocation_finds");
            self.damaged(group, index);
            return Some((group, error));
        }
        tracing::warn!(%error, "entries cannot be moved out of an old segment now; retried in 1 s");
        self.relocation_due = self.now + RETRY_AFTER;
        None
    }

    fn add_relocated(&mut self, piece: Piece, buffers: &[Buffer]) {
        let bytes = buffers.iter().map(|buffer| buffer.len()).sum();
        self.open_batch(bytes);
        let builder = self.building.as_mut().expect("open_batch made it");
        let log = self.groups.get_or_new(piece.group);
        let before = log.term_before(piece.incarnation, piece.first);
        let header = RecordHeader {
            group: u64::from(piece.group.0),
            first_index: piece.first.0,
            term: piece.term.0,
            commit: before.0,
            incarnation: piece.incarnation,
            count: u32::try_from(piece.last.0 - piece.first.0 + 1).expect("as many as a record held"),
            kind: RecordKind::Entries.byte(),
            flags: record_flags::RELOCATED,
            ..RecordHeader::zeroed()
        };
        let (_, mut place) = builder.push(header, bytes);
        for buffer in buffers {
            let (here, rest) = place.split_at_mut(buffer.len());
            here.copy_from_slice(buffer);
            place = rest;
        }
        self.stats.relocated_bytes += u64::from(u32_of(bytes));
    }
}
