//! Our log under the load of a shard that does nothing else.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use raft::{EntryId, EntryKind, EntrySpec, GroupId, Index, Term, encode_entry, entry_bytes};
use raftlog::{BatchSeq, Log, Options, PreparedSegment};
use runtime::{Context, RealDisk, RealFile};

use super::{Meter, Slice, turn};

/// A group is compacted after so many of its batches, so that segments are used again.
const COMPACT_EVERY: u64 = 32;
/// Rolls before anything counts: from then on segments were written before.
const ROLLS_BEFORE: u64 = 6;
/// What a command holds where only the batch's size matters: with its entry's header a little over a thousand bytes.
const COMMAND_BYTES: usize = 1000;
/// What of a batch is not entries: header, room for a few records, alignment.
const OVERHEAD_BYTES: usize = 448;

/// What a batch consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// So many groups have entries in it.
    pub(super) groups: u32,
    /// So many each.
    pub(super) entries: u32,
    /// What a command holds, in bytes.
    pub(super) command_bytes: usize,
}

impl Shape {
    /// A batch of about `bytes` bytes, all of one group.
    pub(super) fn of_bytes(bytes: usize) -> Shape {
        let entries = ((bytes - OVERHEAD_BYTES) / entry_bytes(COMMAND_BYTES)).max(1);
        Shape {
            groups: 1,
            entries: u32::try_from(entries).expect("a batch has few entries"),
            command_bytes: COMMAND_BYTES,
        }
    }

    fn payload_bytes(self) -> u64 {
        u64::from(self.groups) * u64::from(self.entries) * entry_bytes(self.command_bytes) as u64
    }
}

/// The log, and what it was given so far.
pub(super) struct Ours {
    pub(super) log: Log<RealDisk>,
    last: Vec<Index>,
    preparing: Option<std::rc::Rc<std::cell::RefCell<Option<PreparedSegment<RealFile>>>>>,
}

impl Ours {
    pub(super) async fn open(context: &Context, dir: &Path, flight: usize) -> anyhow::Result<Ours> {
        let options = Options { in_flight_max: flight, cap_bytes: 1 << 30, ..Options::new([1; 16], 0, 1) };
        Ours::open_with(context, dir, options).await
    }

    pub(super) async fn open_with(context: &Context, dir: &Path, options: Options) -> anyhow::Result<Ours> {
        let (log, _) = Log::open(context.disk(), dir, options).await?;
        Ok(Ours { log, last: Vec::new(), preparing: None })
    }

    /// One batch of `shape`, of the groups from `first_group` on; `keeps` says that nothing is compacted.
    pub(super) fn add(&mut self, shape: Shape, first_group: u32, keeps: bool) {
        let each = entry_bytes(shape.command_bytes);
        let bytes = each * shape.entries as usize;
        self.last.resize(self.last.len().max((first_group + shape.groups) as usize), Index(0));
        for number in first_group..first_group + shape.groups {
            let (group, last) = (GroupId(number + 1), &mut self.last[number as usize]);
            let first = EntryId::new(Term(1), last.next());
            let mut space = self.log.entries_space(group, 1, first, shape.entries, bytes);
            for index in (first.index.0..).take(shape.entries as usize) {
                let (place, rest) = space.split_at_mut(each);
                space = rest;
                let id = EntryId::new(Term(1), Index(index));
                let spec = EntrySpec { group, incarnation: 1, id, kind: EntryKind::Command };
                encode_entry(place, spec, shape.command_bytes, |out| out.fill(index.to_le_bytes()[0]));
            }
            *last = Index(last.0 + u64::from(shape.entries));
            self.log.applied(group, *last, *last);
            // Each group at another time.
            let batches = last.0 / u64::from(shape.entries) + u64::from(number);
            if !keeps && batches.is_multiple_of(COMPACT_EVERY) {
                let visible = self.log.visible(group);
                self.log.compact(group, EntryId::new(Term(1), visible));
            }
        }
        self.log.submit();
    }

    /// Makes the next segment ready beside what else there is to do, as a shard does.
    pub(super) fn prepare(&mut self, context: &Context) {
        if let Some(place) = &self.preparing {
            let Some(prepared) = place.borrow_mut().take() else { return };
            self.log.prepared(prepared);
            self.preparing = None;
        }
        if let Some(job) = self.log.wanted() {
            let place = std::rc::Rc::default();
            self.preparing = Some(std::rc::Rc::clone(&place));
            let (disk, doorbell) = (context.disk(), context.ring().doorbell());
            context.spawn_background(async move {
                *place.borrow_mut() = Some(job.run(&disk).await);
                doorbell.ring();
            });
        }
    }

    /// Batches one after the other for `slice`, `flight` of them on their way to the disk, and `ahead` more being built.
    pub(super) async fn write(
        &mut self,
        context: &Context,
        shape: Shape,
        (flight, ahead): (usize, usize),
        slice: Duration,
    ) -> anyhow::Result<Slice> {
        let before = self.log.stats();
        let meter = Meter::start()?;
        let mut writer = 0;
        while meter.began.elapsed() < slice {
            let durable = self.log.poll()?;
            let waiting = self.log.building().0 - durable.0;
            if waiting < (flight + ahead) as u64 {
                context.ring().submit(); // what there is does not wait for what is added now
                self.add(shape, writer * shape.groups, false);
                writer = (writer + 1) % u32::try_from(flight).expect("a few");
                continue;
            }
            self.prepare(context);
            turn(context).await;
        }
        let batches = self.log.stats().batches - before.batches - self.log.stats().in_flight as u64;
        let result = meter.end(batches)?;
        self.log.drain().await?;
        let stats = self.log.stats();
        let (written, batches) = (stats.bytes - before.bytes, stats.batches - before.batches);
        let expected = batches * (shape.payload_bytes() + u64::from(shape.groups) * 80 + 4096);
        ensure!(
            written < expected * 11 / 10 + (1 << 20),
            "the log wrote {written} bytes for {batches} batches of {shape:?}"
        );
        Ok(result)
    }

    /// Batches at the times of `schedule`, whatever became of those before. How long each took from its time on.
    pub(super) async fn write_at(
        &mut self,
        context: &Context,
        shape: Shape,
        schedule: impl Iterator<Item = Instant>,
    ) -> anyhow::Result<Vec<Duration>> {
        let (mut times, mut waiting) = (Vec::new(), VecDeque::<(BatchSeq, Instant)>::new());
        let mut schedule = schedule.peekable();
        while schedule.peek().is_some() || !waiting.is_empty() {
            let until = schedule.peek().map_or(Duration::MAX, |due| {
                runtime::now().saturating_add(due.saturating_duration_since(Instant::now()))
            });
            context.ring().set_timer(until);
            turn(context).await;
            let durable = self.log.poll()?;
            while waiting.front().is_some_and(|(batch, _)| *batch <= durable) {
                let (_, due) = waiting.pop_front().expect("just seen");
                times.push(due.elapsed());
            }
            while let Some(due) = schedule.next_if(|due| *due <= Instant::now()) {
                self.add(shape, 0, false);
                waiting.push_back((self.log.building(), due));
            }
            self.prepare(context);
        }
        context.ring().set_timer(Duration::MAX);
        Ok(times)
    }

    /// Ends it; no segment is being made any more.
    pub(super) async fn end(mut self, context: &Context) -> anyhow::Result<()> {
        self.log.drain().await?;
        while let Some(place) = &self.preparing {
            if place.borrow_mut().take().is_some() {
                break;
            }
            turn(context).await;
        }
        self.preparing = None;
        Ok(())
    }

    /// Writes until segments are used again.
    pub(super) async fn warm_up(&mut self, context: &Context) -> anyhow::Result<()> {
        while self.log.stats().rolls < ROLLS_BEFORE {
            self.add(Shape::of_bytes(1 << 20), 0, false);
            self.log.drain().await?;
            self.prepare(context);
            while self.log.stats().segments_ready == 0 {
                turn(context).await;
                self.prepare(context);
            }
        }
        Ok(())
    }
}
