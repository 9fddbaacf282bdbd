//! The segment files: which are live, which are ready to be written, and when one turns into the other.
//!
//! A file is made once, written full of zeros, and from then on only overwritten. A segment is freed when nothing in
//! it can be needed by a reader or by a recovery; its file waits in `ready` for its next use, which a new salt and a
//! new number tell from all uses before.

mod homes;
mod job;
mod space;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    rc::Rc,
};

pub(crate) use homes::Spot;
use homes::{Spots, WaitingDead};
pub use job::{PreparedSegment, SegmentJob};
use raft::Time;
pub(crate) use space::Fullness;

use crate::{
    BatchSeq, Options,
    format::{NUMBER_MAX, SegmentRow},
    options::SEGMENTS_RESERVED,
    scan::End,
};

/// A segment file that holds nothing anyone needs.
pub(crate) struct Slot<F> {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    pub(crate) file_bytes: u64,
}

/// Where the index of a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexPlace {
    /// The segment it stands in.
    pub(crate) segment: u64,
    /// Its first batch.
    pub(crate) batch: BatchSeq,
    /// Where that begins, in blocks.
    pub(crate) block: u32,
    /// How many blocks it takes.
    pub(crate) blocks: u32,
}

/// One use of a slot.
pub(crate) struct Segment<F> {
    pub(crate) seq: u64,
    pub(crate) slot: Slot<F>,
    pub(crate) salt: u64,
    /// Where the next batch goes, or would go.
    pub(crate) end_offset: u64,
    /// The newest batch in it, or before it.
    pub(crate) last_batch_seq: BatchSeq,
    /// The chain value after that batch.
    pub(crate) chain: u32,
    /// Records in it that an index points to.
    pub(crate) live_records: u64,
    /// What their bodies take.
    pub(crate) live_bytes: u64,
    /// What they took at the last roll; no bound before it saw one.
    live_bytes_before: u64,
    /// Little died in it while the last whole segment was written.
    is_settled: bool,
    /// The batch that killed the newest of its dead records: a recovery up to before it would revive them.
    pub(crate) dying_since: BatchSeq,
    /// The first batch of the checkpoint whose table left it out. Once that is durable no recovery looks here.
    pub(crate) left_out_by: Option<BatchSeq>,
    /// Entries were relocated into it.
    pub(crate) has_moved: bool,
    /// Where it is listed what lives in it.
    pub(crate) index: Option<IndexPlace>,
    spots: Spots,
    /// Cloned by readers; while there is more than one, the bytes must stay.
    pub(crate) pin: Rc<()>,
}

impl<F> Segment<F> {
    /// The use `seq` of `slot`, which begins with batch `first` and is written up to `end`.
    pub(crate) fn new(seq: u64, slot: Slot<F>, salt: u64, first: BatchSeq, end: End) -> Segment<F> {
        Segment {
            seq,
            slot,
            salt,
            end_offset: end.offset,
            last_batch_seq: BatchSeq(end.last_seq),
            chain: end.chain,
            live_records: 0,
            live_bytes: 0,
            live_bytes_before: u64::MAX,
            is_settled: false,
            dying_since: BatchSeq(0),
            left_out_by: None,
            has_moved: false,
            index: None,
            spots: Spots::new(first),
            pin: Rc::new(()),
        }
    }

    /// No entry in it lives once the batches before `before` count.
    fn is_dead(&self, before: BatchSeq) -> bool {
        self.live_records == 0 && self.dying_since < before
    }

    fn room(&self) -> u64 {
        self.slot.file_bytes - self.end_offset
    }
}

/// All segment files of a log.
pub(crate) struct Segments<F> {
    /// By number; the newest is the one written to.
    live: BTreeMap<u64, Segment<F>>,
    /// The first batch of each, ascending, with its number.
    homes: Vec<(BatchSeq, u64)>,
    waiting_dead: WaitingDead,
    ready: VecDeque<Slot<F>>,
    segment_bytes: u64,
    slots_max: usize,
    ready_wanted: usize,
    next_slot: u64,
    /// Above every number ever seen on disk, also in segments that a recovery dropped.
    next_seq: u64,
    /// The newest segment is of an earlier start: nothing is appended to it.
    closed: bool,
    /// A job that makes a file is out.
    preparing: bool,
    /// Making files failed lately: not before this moment again.
    retry_at: Time,
    failed: bool,
    /// Segments left out by checkpoints up to the one that begins with this batch can be freed.
    checkpointed: BatchSeq,
    /// Some segment may be free that is not in `ready`.
    stale: bool,
    /// Segments that became free since the start.
    freed: u64,
}

/// The name of the file in slot `number`.
pub(crate) fn slot_name(number: u64) -> String {
    format!("slot-{number:06}.log")
}

/// The number in a slot's file name.
pub(crate) fn slot_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("slot-")?.strip_suffix(".log")?.parse().ok()?;
    (slot_name(number) == name && number <= NUMBER_MAX).then_some(number)
}

impl<F: runtime::File> Segments<F> {
    pub(crate) fn new(options: &Options) -> Segments<F> {
        Segments {
            live: BTreeMap::new(),
            homes: Vec::new(),
            waiting_dead: WaitingDead::new(),
            ready: VecDeque::new(),
            segment_bytes: options.segment_bytes,
            slots_max: options.slots_max(),
            ready_wanted: options.segments_ready,
            next_slot: 1,
            next_seq: 1,
            closed: false,
            preparing: false,
            retry_at: Time(0),
            failed: false,
            checkpointed: BatchSeq(0),
            stale: false,
            freed: 0,
        }
    }

    /// The segment that is written to.
    pub(crate) fn active(&mut self) -> Option<&mut Segment<F>> {
        self.live.values_mut().next_back()
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Segment<F>> {
        self.live.get(&seq)
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Segment<F>> {
        self.live.get_mut(&seq)
    }

    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = &Segment<F>> {
        self.live.values()
    }

    pub(crate) fn live_len(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// What the bodies of live records take.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.values().map(|segment| segment.live_bytes).sum()
    }

    /// What all files take.
    pub(crate) fn file_bytes(&self) -> u64 {
        let live = self.live.values().map(|segment| segment.slot.file_bytes);
        live.chain(self.ready.iter().map(|slot| slot.file_bytes)).sum()
    }

    /// Whether a batch of `bytes` fits behind what was written last.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        !self.closed && self.live.values().next_back().is_some_and(|segment| segment.room() >= bytes)
    }

    /// The next batch goes to a new segment, whatever room there is.
    pub(crate) fn close_active(&mut self) {
        self.closed = true;
    }

    /// Starts a segment in a ready slot.
    pub(crate) fn push_live(&mut self, segment: Segment<F>) {
        let newest = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        assert!(segment.seq > newest, "segment numbers only grow");
        self.next_seq = self.next_seq.max(segment.seq + 1);
        self.closed = false;
        self.homes.push((segment.first_batch(), segment.seq));
        debug_assert!(self.homes.is_sorted(), "batches and segments are numbered in one order");
        self.live.insert(segment.seq, segment);
    }

    pub(crate) fn take_ready(&mut self) -> Option<Slot<F>> {
        if runtime::mutant!("log.segment_reused_early") {
            return self.ready.pop_back();
        }
        self.ready.pop_front()
    }

    pub(crate) fn push_ready(&mut self, slot: Slot<F>) {
        self.ready.push_back(slot);
    }

    /// Slot numbers from `slot` and segment numbers from `seq` on are free.
    pub(crate) fn set_next(&mut self, slot: u64, seq: u64) {
        self.next_slot = slot;
        self.next_seq = seq;
    }

    pub(crate) fn next_slot(&self) -> u64 {
        self.next_slot
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The checkpoint that begins with batch `begin` is durable.
    pub(crate) fn checkpointed(&mut self, begin: BatchSeq) {
        self.checkpointed = begin;
        self.stale = true;
    }

    /// Frees what nobody needs: left out of a durable checkpoint, and no reader in it.
    pub(crate) fn free(&mut self) {
        let early = runtime::mutant!("log.segment_reused_early");
        if !self.stale && !early {
            return;
        }
        let checkpointed = self.checkpointed;
        let active = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        let left_out = |segment: &Segment<F>| {
            segment.left_out_by.is_some_and(|by| by <= checkpointed)
                || early && segment.live_records == 0 && segment.seq < active
        };
        let (mut free, mut read) = (Vec::new(), false);
        for segment in self.live.values().filter(|segment| left_out(segment)) {
            if Rc::strong_count(&segment.pin) == 1 {
                free.push(segment.seq);
            } else {
                read = true;
            }
        }
        self.stale = read;
        self.freed += free.len() as u64;
        for seq in free {
            let segment = self.live.remove(&seq).expect("listed above");
            self.homes.retain(|(_, home)| *home != seq);
            if segment.slot.file_bytes == self.segment_bytes {
                self.ready.push_back(segment.slot);
            }
        }
    }

    fn slots(&self) -> usize {
        self.live.len() + self.ready.len() + usize::from(self.preparing)
    }

    fn may_grow(&self) -> usize {
        if self.failed { 0 } else { self.slots_max.saturating_sub(self.slots()) }
    }

    /// Whether entries must stop so that votes and snapshots can go on.
    pub(crate) fn is_full(&self) -> bool {
        // After a failure it is not known that the next one succeeds: what is kept back would be used up try by try.
        let coming = self.preparing && !self.failed;
        self.ready.len() + usize::from(coming) + self.may_grow() <= SEGMENTS_RESERVED
    }

    /// Whether the last try to make a file failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Work that keeps `segments_ready` slots prepared; at most one job is out at a time.
    pub(crate) fn wanted(&mut self, dir: &Path, now: Time) -> Option<SegmentJob> {
        // After a failure one more is made even if those that were freed meanwhile would do: until it is known that there
        // is room the log counts as full.
        let enough = self.ready.len() >= self.ready_wanted
            && (!self.failed || runtime::mutant!("log.full_for_ever"))
            || self.slots() >= self.slots_max;
        if self.preparing || enough || (self.failed && now < self.retry_at) {
            return None;
        }
        self.preparing = true;
        let number = self.next_slot;
        self.next_slot += 1;
        Some(SegmentJob::new(dir, number, self.segment_bytes))
    }

    /// Takes a finished job.
    pub(crate) fn prepared(&mut self, prepared: PreparedSegment<F>, now: Time) {
        self.preparing = false;
        self.failed = prepared.result.is_err();
        match prepared.result {
            Ok(slot) => self.ready.push_back(slot),
            Err(error) => {
                tracing::warn!(%error, slot = prepared.number, "no new log segment could be made; retried in 1 s");
                self.retry_at = now + std::time::Duration::from_secs(1);
            }
        }
    }

    /// Complete segments in which something lives and that have no index.
    pub(crate) fn unindexed(&self) -> Vec<u64> {
        let active = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        // What was closed is complete, too.
        let complete = self.live.values().filter(|segment| segment.seq < active || self.closed);
        let unindexed = complete.filter(|segment| segment.index.is_none() && segment.live_records > 0);
        unindexed.map(|segment| segment.seq).collect()
    }

    /// The rows of the segment table of the checkpoint that begins with batch `begin`, in the active segment: every
    /// segment before it in which an entry lives. The others are left out and can be freed when it is durable.
    pub(crate) fn table(&mut self, begin: BatchSeq) -> Vec<SegmentRow> {
        let active = self.live.last_key_value().map_or(0, |(seq, _)| *seq);
        let is_dead = |segment: &Segment<F>| segment.seq < active && segment.is_dead(begin);
        let dead: Vec<u64> =
            self.live.values().filter(|segment| is_dead(segment)).map(|segment| segment.seq).collect();
        let homes: BTreeSet<u64> =
            self.live.keys().copied().filter(|seq| dead.binary_search(seq).is_err()).collect();
        let mut rows = Vec::new();
        for (_, segment) in self.live.range_mut(..active) {
            // What goes takes the indexes in it along: the segments they are of are walked, until the next one lists them again.
            segment.index = segment.index.filter(|index| homes.contains(&index.segment));
            if dead.binary_search(&segment.seq).is_ok() {
                segment.left_out_by.get_or_insert(begin);
                continue;
            }
            let index = segment.index;
            rows.push(SegmentRow {
                segment_seq: segment.seq,
                slot: segment.slot.number,
                end_offset: segment.end_offset,
                last_batch_seq: segment.last_batch_seq.0,
                chain: segment.chain,
                index_block: index.map_or(0, |index| index.block),
                index_segment: index.map_or(0, |index| index.segment),
                index_batch: index.map_or(0, |index| index.batch.0),
                index_blocks: index.map_or(0, |index| index.blocks),
                zero: 0,
            });
        }
        rows
    }
}
