//! Our log under the load of a shard that does nothing else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use raft::{EntryId, EntryKind, EntrySpec, GroupId, Index, Term, encode_entry, entry_bytes};
use raftlog::{BatchSeq, Log, Options, PreparedSegment, Relocation};
use runtime::{Context, RealDisk, RealFile};

use super::{Meter, Slice, turn, turn_until};

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

/// Where background work leaves its result.
type Place<T> = Rc<RefCell<Option<T>>>;

/// The result, once it is there.
fn take<T>(place: &mut Option<Place<T>>) -> Option<T> {
    let result = place.as_ref()?.borrow_mut().take()?;
    *place = None;
    Some(result)
}

/// Runs `work` beside the turns.
fn spawn<T: 'static>(context: &Context, work: impl Future<Output = T> + 'static) -> Option<Place<T>> {
    let place = Place::default();
    let (result, doorbell) = (Rc::clone(&place), context.ring().doorbell());
    context.spawn_background(async move {
        let value = work.await;
        *result.borrow_mut() = Some(value);
        doorbell.ring();
    });
    Some(place)
}

/// The log, and what it was given so far.
pub(super) struct Ours {
    pub(super) log: Log<RealDisk>,
    last: Vec<Index>,
    preparing: Option<Place<PreparedSegment<RealFile>>>,
    relocating: Option<Place<Relocation>>,
}

impl Ours {
    pub(super) async fn open(context: &Context, dir: &Path, flight: usize) -> anyhow::Result<Ours> {
        let options = Options { in_flight_max: flight, cap_bytes: 1 << 30, ..Options::new([1; 16], 0, 1) };
        Ours::open_with(context, dir, options).await
    }

    pub(super) async fn open_with(context: &Context, dir: &Path, options: Options) -> anyhow::Result<Ours> {
        let (log, _) = Log::open(context.disk(), dir, options).await?;
        Ok(Ours { log, last: Vec::new(), preparing: None, relocating: None })
    }

    /// Entries of the group behind its last one, which all of them need no more.
    pub(super) fn append(&mut self, number: u32, entries: u32, command_bytes: usize) -> Index {
        let each = entry_bytes(command_bytes);
        self.last.resize(self.last.len().max(number as usize + 1), Index(0));
        let (group, last) = (GroupId(number + 1), &mut self.last[number as usize]);
        let first = EntryId::new(Term(1), last.next());
        let mut space = self.log.entries_space(group, 1, first, entries, each * entries as usize);
        for index in (first.index.0..).take(entries as usize) {
            let (place, rest) = space.split_at_mut(each);
            space = rest;
            let id = EntryId::new(Term(1), Index(index));
            let spec = EntrySpec { group, incarnation: 1, id, kind: EntryKind::Command };
            encode_entry(place, spec, command_bytes, |out| out.fill(index.to_le_bytes()[0]));
        }
        *last = Index(last.0 + u64::from(entries));
        self.log.applied(group, *last, *last);
        *last
    }

    /// Lets go of all of the group's entries that were issued.
    pub(super) fn compact(&mut self, number: u32) {
        let group = GroupId(number + 1);
        let visible = self.log.visible(group);
        self.log.compact(group, EntryId::new(Term(1), visible));
    }

    /// One batch of `shape`, of the groups from `first_group` on; `keeps` says that nothing is compacted.
    pub(super) fn add(&mut self, shape: Shape, first_group: u32, keeps: bool) {
        for number in first_group..first_group + shape.groups {
            let last = self.append(number, shape.entries, shape.command_bytes);
            // Each group at another time.
            let batches = last.0 / u64::from(shape.entries) + u64::from(number);
            if !keeps && batches.is_multiple_of(COMPACT_EVERY) {
                self.compact(number);
            }
        }
        self.log.submit();
    }

    /// Makes the next segment ready beside what else there is to do, and empties old ones, as a shard does.
    pub(super) fn prepare(&mut self, context: &Context) {
        if let Some(prepared) = take(&mut self.preparing) {
            self.log.prepared(prepared);
        }
        if let Some(relocation) = take(&mut self.relocating) {
            self.log.relocated(relocation);
        }
        if let Some(job) = self.log.wanted() {
            let disk = context.disk();
            self.preparing = spawn(context, async move { job.run(&disk).await });
        }
        if let Some(job) = self.log.relocation() {
            self.relocating = spawn(context, job.run());
        }
    }

    /// Whether background work is under way.
    pub(super) fn is_at_work(&self) -> bool {
        self.preparing.is_some() || self.relocating.is_some()
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
        let stats = self.log.stats();
        let batches = stats.batches - before.batches - stats.in_flight as u64;
        let result = meter.end(batches, stats.bytes - before.bytes)?;
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
            turn_until(context, schedule.peek().copied()).await;
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

    /// Ends it; nothing is under way any more.
    pub(super) async fn end(mut self, context: &Context) -> anyhow::Result<()> {
        self.log.drain().await?;
        loop {
            let _unused = (take(&mut self.preparing), take(&mut self.relocating));
            if !self.is_at_work() {
                return Ok(());
            }
            turn(context).await;
        }
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
