//! Entries back out of the log: from the cache in the turn, from the disk off it.

use std::{path::PathBuf, rc::Rc};

use raft::{Check, EntryId, GroupId, Index, Term, entries};
use runtime::{Buffer, Disk, File};

use crate::{
    Log, ReadError,
    extents::{Extents, Spot},
    format::{BLOCK_U64, usize_of},
    group::{GroupLog, Record},
    measures,
};

/// Small buffers become one of so many bytes: several fit what a frame or a turn takes.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// What the entry cache had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// Entries from the first asked for up to `last`, `bytes` in all.
    Hit {
        /// The last entry given.
        last: Index,
        /// The sum of the buffers' lengths.
        bytes: usize,
    },
    /// The first entry is not in the cache: use [`Log::read`].
    NotCached,
    /// The first entry is compacted away: send a snapshot.
    Compacted,
}

/// Which entries of a body are wanted.
#[derive(Clone, Copy)]
struct Wanted {
    group: GroupId,
    incarnation: u32,
    term: Term,
    /// The index of the body's first entry.
    body_first: Index,
    first: Index,
    last: Index,
}

/// The part of `body` that holds the wanted entries, at most `bytes_max` but at least one entry if `must`. Answers the
/// range and the last entry in it, or the first index that is not sound.
fn part(
    body: &[u8],
    wanted: Wanted,
    check: Check,
    bytes_max: usize,
    must: bool,
) -> Result<Option<(std::ops::Range<usize>, Index)>, Index> {
    let (mut offset, mut start, mut reached) = (0, None, None);
    let mut index = wanted.body_first;
    let mut walk = entries(body, Check::Shape);
    while index <= wanted.last {
        let entry = walk.next().and_then(Result::ok).ok_or(index)?;
        let end = offset + entry.bytes.len();
        if index >= wanted.first {
            let from = *start.get_or_insert(offset);
            if end - from > bytes_max && !(must && reached.is_none()) {
                break;
            }
            let id = EntryId::new(wanted.term, index);
            let same =
                entry.group == wanted.group && entry.incarnation == wanted.incarnation && entry.id == id;
            let sound = check == Check::Shape || raft::decode_entry(entry.bytes, check).is_ok();
            if !same || !sound {
                return Err(index);
            }
            reached = Some((from..end, index));
        }
        offset = end;
        index = index.next();
    }
    Ok(reached)
}

/// One record's share of a read.
struct Step {
    wanted: Wanted,
    source: Source,
}

enum Source {
    /// The body, from the cache.
    Memory(Buffer),
    /// The body, in one of the extents.
    Disk(Spot),
}

impl<D: Disk> Log<D> {
    /// The first index the log of `group` holds, were it to hold one: the one after what is compacted.
    pub fn first(&self, group: GroupId) -> Index {
        self.groups.get(group).map_or(Index(1), |log| log.compacted.index.next())
    }

    /// The last entry of `group`, whether issued or not. What is compacted if the log is empty.
    pub fn last(&self, group: GroupId) -> EntryId {
        self.groups.get(group).map_or(EntryId::ZERO, |log| log.last)
    }

    /// The newest index of `group` in an issued batch: entries up to here may be read, sent, applied.
    pub fn visible(&self, group: GroupId) -> Index {
        self.groups.get(group).map_or(Index::ZERO, |log| log.visible(self.issued))
    }

    /// Entries `first..=last` of `group` that are in the entry cache: slices of batch buffers that hold whole
    /// consecutive entries, as many as fit `bytes_max` and at least one. Stops at [`Log::visible`] and where the cache
    /// has a hole. Pushes to `out` only on a hit.
    pub fn cached(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
        out: &mut Vec<Buffer>,
    ) -> Cached {
        let Some(log) = self.groups.get(group) else { return Cached::NotCached };
        if first <= log.compacted.index {
            return Cached::Compacted;
        }
        let last = last.min(log.visible(self.issued));
        let (mut bytes, mut reached) = (0, None);
        for record in log.records_from(first) {
            if record.first > last || bytes >= bytes_max {
                break;
            }
            let Some(batch) = self.cache.get(record.batch) else { break };
            let body = body_of(batch, record);
            let wanted = wanted(group, log, record, first, last);
            let whole = wanted.first == record.first && wanted.last == record.last() && !record.cut;
            let taken = if whole && body.len() <= bytes_max - bytes {
                Some((0..body.len(), record.last()))
            } else {
                part(&body, wanted, Check::Shape, bytes_max - bytes, reached.is_none())
                    .expect("what the cache holds was whole when it was issued")
            };
            let Some((range, to)) = taken else { break };
            bytes += range.len();
            out.push(body.slice(range));
            reached = Some(to);
            if to < wanted.last {
                break;
            }
        }
        let Some(last) = reached else { return Cached::NotCached };
        measures::add(&self.reads.hits, 1);
        Cached::Hit { last, bytes }
    }

    /// Entries `first..=last` of `group`, like [`Log::cached`] but from the disk where the cache has none; every
    /// entry's checksum and identity is checked. The bytes are not put into the cache. The future is independent of
    /// the log: run it off the turn. While it lives, the segments it reads stay.
    ///
    /// # Errors
    /// [`ReadError`]: compacted, beyond what is visible, damaged, or refused by the disk.
    pub fn read(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<Buffer>, ReadError>> + 'static + use<D> {
        measures::add(&self.reads.misses, 1);
        self.read_beside(group, first, last, bytes_max)
    }

    /// As [`Log::read`], but not for want of something in the cache.
    pub(crate) fn read_beside(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<Buffer>, ReadError>> + 'static + use<D> {
        let mut extents = Extents::default();
        let steps = self.read_steps(group, first, last, bytes_max, &mut extents);
        let reads = Rc::clone(&self.reads);
        async move {
            let result = run(steps?, &mut extents, bytes_max).await;
            reads.ended(extents.read_bytes(), &result);
            result
        }
    }

    fn read_steps(
        &self,
        group: GroupId,
        first: Index,
        last: Index,
        bytes_max: usize,
        extents: &mut Extents<D::File>,
    ) -> Result<Vec<Step>, ReadError> {
        let absent = ReadError::Absent { group, index: first };
        let Some(log) = self.groups.get(group) else { return Err(absent) };
        if first <= log.compacted.index {
            return Err(ReadError::Compacted { group, first: log.compacted.index.next() });
        }
        let last = last.min(log.visible(self.issued));
        let mut steps = Vec::new();
        let mut bytes = 0;
        for record in log.records_from(first) {
            if record.first > last || bytes >= bytes_max.max(1) {
                break;
            }
            let source = match self.cache.get(record.batch) {
                Some(batch) => Source::Memory(body_of(batch, record)),
                None => match self.on_disk(record, extents) {
                    Some(spot) => Source::Disk(spot),
                    None => break,
                },
            };
            let wanted = wanted(group, log, record, first, last);
            // A record entered in its middle may count for less than its size: never for the first, so the sum
            // never stops short of what the bytes would allow by more than one record.
            bytes += if wanted.first == record.first { usize_of(record.body_bytes) } else { 0 };
            steps.push(Step { wanted, source });
        }
        if steps.is_empty() { Err(absent) } else { Ok(steps) }
    }

    fn on_disk(&self, record: &Record, extents: &mut Extents<D::File>) -> Option<Spot> {
        let (segment, spot) = self.segments.find(record.batch);
        let body_offset = u64::from(spot.bodies_start) + u64::from(record.body_offset);
        let offset = u64::from(spot.block) * BLOCK_U64 + body_offset;
        extents.add(&segment.slot.file, &segment.slot.path, &segment.pin, offset, usize_of(record.body_bytes))
    }
}

fn body_of((batch, bodies_start): (&Buffer, usize), record: &Record) -> Buffer {
    let start = bodies_start + usize_of(record.body_offset);
    batch.slice(start..start + usize_of(record.body_bytes))
}

fn wanted(group: GroupId, log: &GroupLog, record: &Record, first: Index, last: Index) -> Wanted {
    Wanted {
        group,
        incarnation: log.incarnation,
        term: record.term,
        body_first: record.first,
        first: first.max(record.first),
        last: last.min(record.last()),
    }
}

async fn run<F: File>(
    steps: Vec<Step>,
    extents: &mut Extents<F>,
    bytes_max: usize,
) -> Result<Vec<Buffer>, ReadError> {
    let mut gathered = Gathered::default();
    let mut left = bytes_max;
    for step in steps {
        let wanted = step.wanted;
        let (body, check, spot) = match step.source {
            Source::Memory(body) => (body, Check::Shape, None),
            Source::Disk(spot) => (extents.body(&spot).await?, Check::Checksum, Some(spot)),
        };
        let taken = part(&body, wanted, check, left, gathered.is_empty()).map_err(|index| {
            let (path, offset) = spot.map_or((PathBuf::new(), 0), |spot| (extents.path(&spot), spot.offset));
            // Behind an entry that is not sound nobody knows where the next one begins.
            ReadError::Damaged { group: wanted.group, index: index.max(wanted.first), path, offset }
        })?;
        let Some((range, to)) = taken else { break };
        left = left.saturating_sub(range.len());
        // A slice keeps all of its buffer in memory: of an extent that holds others' entries too, it is copied.
        if spot.is_some_and(|spot| extents.is_shared(&spot)) {
            gathered.copy(&body[range]);
        } else {
            gathered.push(body.slice(range));
        }
        if to < wanted.last {
            break;
        }
    }
    Ok(gathered.end())
}

/// Buffers of consecutive entries; small ones become one.
#[derive(Default)]
struct Gathered {
    buffers: Vec<Buffer>,
    copied: Vec<u8>,
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.copied.is_empty()
    }

    fn copy(&mut self, bytes: &[u8]) {
        if self.copied.len() + bytes.len() > GATHERED_BYTES_MAX {
            self.flush();
        }
        self.copied.extend_from_slice(bytes);
    }

    fn push(&mut self, buffer: Buffer) {
        self.flush();
        self.buffers.push(buffer);
    }

    fn flush(&mut self) {
        if !self.copied.is_empty() {
            self.buffers.push(Buffer::copy_from(&self.copied));
            self.copied.clear();
        }
    }

    fn end(mut self) -> Vec<Buffer> {
        self.flush();
        self.buffers
    }
}
