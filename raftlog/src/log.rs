//! The log as its shard sees it: synchronous, one batch per turn, never waiting.

use std::{
    collections::VecDeque,
    path::PathBuf,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use bytemuck::Zeroable;
use raft::{EntryId, GroupId, Index, Time};
use runtime::Disk;

use crate::{
    BatchSeq, LogError, Options, PreparedSegment, SegmentJob, Stats,
    build::{Builder, Shape},
    cache::{Cache, Need},
    checkpoint::CheckpointState,
    damages::Damages,
    format::{BLOCK, Identity, RECORD_HEADER_BYTES, RECORDS_MAX, RecordHeader, RecordKind, record_flags},
    group::Record,
    groups::Groups,
    issue::Waiting,
    listing::Listing,
    measures::Reads,
    pipeline::Pipeline,
    scrub::Scrub,
    segment_index::Indexings,
    segments::Segments,
    spare::Spare,
};

/// A batch that finds the pipeline full is closed at this size, so that the next write is not a giant.
pub(crate) const BATCH_BYTES_SOFT: usize = 1 << 20;
/// How long the pipe must be empty before the last batch is sealed.
const SEAL_AFTER: Duration = Duration::from_millis(2);

/// One shard's log, for all its groups.
///
/// What a turn adds ([`entries_space`](Log::entries_space), [`hard_state`](Log::hard_state),
/// [`snapshot`](Log::snapshot)) goes into the batch being built; [`submit`](Log::submit) ends the turn and starts the
/// write if the pipeline has a place, else the batch goes on filling over the next turns. [`poll`](Log::poll) tells
/// what is durable. What one turn adds is one batch and recovered whole or not at all, except that a turn of more
/// than a segment's bytes or 4095 records is split; a prefix of it may then be all that survives, so a turn puts a
/// group's hard state before its entries.
///
/// Cursors: `durable <= issued <= building`. Per group: `compacted <= visible <= last`.
///
/// Dropping a log with writes in flight leaves unknown whether they reach the disk, like a crash; a clean end awaits
/// [`drain`](Log::drain).
pub struct Log<D: Disk> {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) identity: Identity,
    pub(crate) boot_epoch: u64,
    pub(crate) groups: Groups,
    pub(crate) segments: Segments<D::File>,
    pub(crate) cache: Cache,
    pub(crate) pipeline: Pipeline,
    pub(crate) building: Option<Builder>,
    /// When the newest batch was begun.
    pub(crate) building_since: Time,
    /// Groups whose term, vote or standing changed in the newest batch: the next one repeats them.
    pub(crate) promised: Vec<GroupId>,
    /// Complete batches that wait for a place in the pipeline or for a segment.
    pub(crate) queue: VecDeque<Waiting>,
    /// No segment is ready for the oldest of them, since then.
    pub(crate) stalled_since: Option<Time>,
    pub(crate) queued_bytes: u64,
    pub(crate) shape: Shape,
    pub(crate) spare: Spare,
    /// The number of the next batch to be built.
    pub(crate) next_seq: BatchSeq,
    /// The newest batch that was handed to the disk.
    pub(crate) issued: BatchSeq,
    pub(crate) sealed: BatchSeq,
    pub(crate) seal_at: Option<Time>,
    pub(crate) checkpoint: CheckpointState,
    pub(crate) listing: Listing,
    pub(crate) indexings: Indexings,
    /// A relocation job is out.
    pub(crate) relocating: bool,
    /// What was relocated last is in batches up to this one: until it is issued, its old places are still in the index.
    pub(crate) relocated_in: BatchSeq,
    /// After a read that failed nothing is relocated before this moment.
    pub(crate) relocation_due: Time,
    pub(crate) scrub: Scrub,
    pub(crate) damages: Damages,
    pub(crate) now: Time,
    pub(crate) stats: Stats,
    pub(crate) reads: Rc<Reads>,
}

impl<D: Disk> Log<D> {
    /// The place for `count` consecutive entries of one term, `first` on, as [`raft::encode_entry`] makes them, of
    /// `bytes` in all. The caller fills all of it before it calls the log again. If the group's log already reaches
    /// `first`, that suffix is dropped; otherwise `first` must be the next index.
    ///
    /// # Panics
    /// If the entries would leave a hole, overlap what is compacted, or not fit a segment: bugs of the caller.
    pub fn entries_space(
        &mut self,
        group: GroupId,
        incarnation: u32,
        first: EntryId,
        count: u32,
        bytes: usize,
    ) -> &mut [u8] {
        assert!(count > 0 && bytes.is_multiple_of(raft::ENTRY_ALIGN), "{count} entries of {bytes} bytes");
        self.open_batch(bytes);
        let builder = self.building.as_mut().expect("open_batch made it");
        let log = self.groups.get_or_new(group);
        if log.incarnation == incarnation && builder.continues(group, incarnation, first) {
            log.extend_newest(count, crate::format::u32_of(bytes));
            return builder.extend_newest(count, bytes);
        }
        let seq = builder.seq;
        let header = RecordHeader {
            group: u64::from(group.0),
            first_index: first.index.0,
            term: first.term.0,
            commit: log.term_before(incarnation, first.index).0,
            incarnation,
            count,
            kind: RecordKind::Entries.byte(),
            ..RecordHeader::zeroed()
        };
        let (body_offset, space) = builder.push(header, bytes);
        let segments = &mut self.segments;
        let released = &mut |record: &Record| segments.release(record, seq);
        log.enter_incarnation(incarnation, released);
        assert!(log.incarnation == incarnation, "group {group}: incarnation {incarnation} is over");
        // Where it only goes on, nothing else of the group is looked at: its memory is far away.
        assert!(
            first.index == log.last.index.next()
                || (log.compacted.index < first.index && first.index <= log.last.index),
            "group {group}: {first} does not continue {}, compacted to {}",
            log.last,
            log.compacted
        );
        let record = Record {
            first: first.index,
            count,
            cut: false,
            moved: false,
            memberships: false,
            term: first.term,
            batch: seq,
            body_offset,
            body_bytes: crate::format::u32_of(bytes),
        };
        log.append(incarnation, record, released);
        space
    }

    /// Records that `body` names the group's snapshot at `id` and compacts to it. `reset` says that the snapshot was
    /// installed over a log that does not hold `id`: the log then restarts after it. A snapshot older than what is
    /// compacted changes nothing.
    ///
    /// # Panics
    /// If `body` does not fit a segment.
    pub fn snapshot(&mut self, group: GroupId, id: EntryId, body: &[u8], reset: bool) {
        if !reset && self.groups.get(group).is_some_and(|log| id.index < log.compacted.index) {
            return;
        }
        self.open_batch(body.len());
        let builder = self.building.as_mut().expect("open_batch made it");
        let log = self.groups.get_or_new(group);
        let header = RecordHeader {
            group: u64::from(group.0),
            first_index: id.index.0,
            term: id.term.0,
            incarnation: log.incarnation,
            kind: RecordKind::Snapshot.byte(),
            flags: if reset { record_flags::RESET } else { 0 },
            ..RecordHeader::zeroed()
        };
        let seq = builder.seq;
        builder.push(header, body.len()).1.copy_from_slice(body);
        let segments = &mut self.segments;
        let released = &mut |record: &Record| segments.release(record, seq);
        log.set_snapshot(id, Rc::from(body), reset, released);
    }

    /// Records that entries up to `id` are no longer needed, without naming a snapshot: for logs that are kept longer
    /// than their snapshots require. Never goes back.
    pub fn compact(&mut self, group: GroupId, id: EntryId) {
        if self.groups.get(group).is_none_or(|log| id.index <= log.compacted.index) {
            return;
        }
        self.open_batch(0);
        let builder = self.building.as_mut().expect("open_batch made it");
        let log = self.groups.get_or_new(group);
        let header = RecordHeader {
            group: u64::from(group.0),
            first_index: id.index.0,
            term: id.term.0,
            incarnation: log.incarnation,
            kind: RecordKind::Compact.byte(),
            ..RecordHeader::zeroed()
        };
        builder.push(header, 0);
        let (segments, seq) = (&mut self.segments, builder.seq);
        log.compact(id, &mut |record| segments.release(record, seq));
    }

    /// The state machine of `group` has what it needs of entries up to `applied`, and every peer has those up to `held`
    /// ([`Index`]`(u64::MAX)` if there is nobody to send to): the cache may let go what nobody needs. Its memory is written next,
    /// while the processor still has it.
    pub fn applied(&mut self, group: GroupId, applied: Index, held: Index) {
        if let Some(log) = self.groups.get_mut(group) {
            log.applied = log.applied.max(applied.min(log.last.index));
            log.held = held;
        }
    }

    /// The batch that what was just added belongs to; while none is being built, the last one that was.
    pub fn building(&self) -> BatchSeq {
        self.building.as_ref().map_or(BatchSeq(self.next_seq.0 - 1), |builder| builder.seq)
    }

    /// Ends the turn: the batch being built is issued if the pipeline permits, else when it next does.
    pub fn submit(&mut self) {
        if let Some(builder) = &mut self.building {
            builder.submitted = true;
        }
        self.pump(&mut Context::from_waker(Waker::noop()));
    }

    /// Looks at the writes in flight and issues what waited for them. Everything up to the answer is durable.
    ///
    /// # Errors
    /// [`LogError`], from the first failed write on and for ever: end the process.
    pub fn poll(&mut self) -> Result<BatchSeq, LogError> {
        self.poll_with(&mut Context::from_waker(Waker::noop()))
    }

    pub(crate) fn poll_with(&mut self, context: &mut Context<'_>) -> Result<BatchSeq, LogError> {
        self.pipeline.poll(self.now, context);
        if let Some(error) = self.pipeline.error() {
            return Err(error.clone());
        }
        self.checkpoint_progress();
        let groups = &self.groups;
        // What was truncated since is nobody's to apply.
        let need = |group, index: Index| match groups.get(group) {
            Some(log) if index.min(log.last.index) > log.applied => Need::Apply,
            Some(log) if index.min(log.last.index) > log.held => Need::Send,
            _ => Need::Nobody,
        };
        self.cache.evict(self.pipeline.durable(), need, &mut self.spare);
        self.pump(context);
        Ok(self.pipeline.durable())
    }

    /// Waits until everything submitted is durable: for a clean end, and for callers without a loop.
    ///
    /// # Errors
    /// As [`Log::poll`]. `StorageFull` if batches wait for a segment that no one prepares.
    pub async fn drain(&mut self) -> Result<BatchSeq, LogError> {
        self.submit();
        std::future::poll_fn(|context| match self.poll_with(context) {
            Err(error) => std::task::Poll::Ready(Err(error)),
            Ok(_) if self.pipeline.len() > 0 => std::task::Poll::Pending,
            Ok(_) if !self.queue.is_empty() => std::task::Poll::Ready(Err(self.no_segment())),
            Ok(durable) => std::task::Poll::Ready(Ok(durable)),
        })
        .await
    }

    /// Everything up to here is durable, as of the last [`Log::poll`].
    pub fn durable(&self) -> BatchSeq {
        self.pipeline.durable()
    }

    /// Whether more may be proposed: false while building and in-flight batches exceed their bound.
    pub fn has_room(&self) -> bool {
        // What is already under way when the log is full must fit the segments kept back.
        self.unsynced_bytes() < self.options.unsynced_bytes_max.min(self.options.segment_bytes)
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let building = self.building.as_ref().map_or(0, |builder| builder.bytes() as u64);
        building + self.queued_bytes + self.pipeline.bytes()
    }

    /// Whether entries may be added: false when the log is full. Hard states and snapshots may always be added.
    pub fn has_room_for_entries(&self) -> bool {
        !self.is_full()
    }

    /// The log is at its cap, or its disk is full: all but the segments reserved for hard states and snapshots are in use.
    pub fn is_full(&self) -> bool {
        self.segments.is_full()
    }

    /// The log is full and could not grow when it last tried: the disk has no room. It tries again by itself.
    pub fn is_stuck(&self) -> bool {
        self.segments.is_full() && self.segments.has_failed()
    }

    /// The moment is `now`, for what is measured; nothing follows from it. Called before a turn's first [`Log::poll`], and before
    /// [`Log::submit`], since a turn may be longer than a write.
    pub fn note_time(&mut self, now: Time) {
        self.now = now;
    }

    /// The moment is `now`: called once per turn, after [`Log::submit`]. Seals the last batch once the pipe has been
    /// empty for 2 ms, so that damage to it can later be told from a torn tail.
    pub fn tick(&mut self, now: Time) {
        self.now = now;
        let idle = self.pipeline.len() == 0 && self.queue.is_empty() && self.building.is_none();
        if !idle || self.sealed == self.issued || self.pipeline.error().is_some() {
            self.seal_at = None;
            return;
        }
        match self.seal_at {
            None => self.seal_at = Some(now + SEAL_AFTER),
            Some(at) if now < at => {}
            Some(_) => {
                self.seal_at = None;
                self.issue_seal(&mut Context::from_waker(Waker::noop()));
            }
        }
    }

    /// The next turn is due at this moment, whatever else there is to do; [`Time::NEVER`] if it is not.
    pub fn deadline(&self) -> Time {
        if self.listing.is_under_way() {
            return self.now; // what is listed a little in each turn
        }
        self.seal_at.unwrap_or(Time::NEVER)
    }

    /// Background work that is due: run it at low priority and hand the result to [`Log::prepared`].
    pub fn wanted(&mut self) -> Option<SegmentJob> {
        self.segments.wanted(&self.dir, self.now)
    }

    /// Takes the result of a [`SegmentJob`]. Batches that waited for a segment are issued.
    pub fn prepared(&mut self, prepared: PreparedSegment<D::File>) {
        self.segments.prepared(prepared, self.now);
        self.stats.segments_failed += u64::from(self.segments.has_failed());
        self.pump(&mut Context::from_waker(Waker::noop()));
    }

    /// This start's number: 1 at the first, durable before [`Log::open`] returned, greater at every later one.
    pub fn boot_epoch(&self) -> u64 {
        self.boot_epoch
    }

    /// Makes sure a batch is being built that one more record with a body of `body_bytes` fits.
    pub(crate) fn open_batch(&mut self, body_bytes: usize) {
        let bytes_max = self.batch_bytes_max();
        // Twice at most: a batch that is full of what it repeats is followed by one that repeats nothing.
        while self.building.as_ref().is_none_or(|builder| {
            builder.records() == RECORDS_MAX || builder.bytes_with(body_bytes) > bytes_max
        }) {
            self.close_building();
            self.building_since = self.now;
            let mut builder = Builder::new(self.next_seq, self.shape, &mut self.spare);
            if builder.bytes_with(body_bytes) > bytes_max {
                self.shape = Shape::default();
                builder = Builder::new(self.next_seq, self.shape, &mut self.spare);
            }
            assert!(
                builder.bytes_with(body_bytes) <= bytes_max,
                "a record of {body_bytes} bytes does not fit a segment of {} bytes",
                self.options.segment_bytes
            );
            self.next_seq = BatchSeq(self.next_seq.0 + 1);
            self.repeat_promises(&mut builder);
            self.building = Some(builder);
        }
        self.building.as_mut().expect("made above").submitted = false;
    }

    /// A batch fits an empty segment behind its header.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        usize::try_from(self.options.segment_bytes).expect("checked by Options") - BLOCK
    }

    pub(crate) fn close_building(&mut self) {
        if let Some(builder) = self.building.take() {
            debug_assert!(builder.records() * RECORD_HEADER_BYTES <= self.batch_bytes_max());
            self.enqueue(builder);
        }
    }
}
