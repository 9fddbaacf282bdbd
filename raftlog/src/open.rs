//! Opening a log: survey, extent, replay, and a fresh segment with a checkpoint, durable before anyone writes.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    rc::Rc,
};

use raft::{EntryId, GroupId, HardState, Index, Standing, TermRun, Time};
use runtime::{BufferMut, Disk, File};

use crate::{
    BatchSeq, Log, Loss, Lost, OpenError, Options, SegmentJob, Stats,
    build::Shape,
    cache::Cache,
    checkpoint::CheckpointState,
    damages::Damages,
    format::{BLOCK, Identity},
    group::GroupLog,
    listing::Listing,
    measures::{Reads, Stopwatch, WriteTimes},
    pipeline::Pipeline,
    recover::{Extent, extent},
    replay::{Replayed, replay},
    rewrite::rewrite,
    scrub::Scrub,
    segment_index::Indexings,
    segments::{Segment, Segments, Spot},
    spare::Spare,
    survey::{Found, Survey, io_error},
};

/// So many damaged places are named, one a line; of a disk that is gone nobody wants to read more.
const LOSSES_TOLD_MAX: usize = 20;

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every group with a record, by number.
    pub groups: Vec<RecoveredGroup>,
    /// What was durable and cannot be read: gone, unless nobody needs it any more.
    pub losses: Vec<Loss>,
    /// Which entries that takes from groups that need them; of each group with [`RecoveredGroup::is_lost`] something is here.
    pub lost: Vec<Lost>,
    /// What recovery saw.
    pub report: Report,
}

/// One group as of the end of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// Its incarnation; 0 if it never had entries.
    pub incarnation: u32,
    /// Its newest hard state; `commit` is at most `last`.
    pub hard_state: HardState,
    /// Everything up to here is compacted away.
    pub compacted: EntryId,
    /// The entry id of the newest snapshot record; zero if there is none.
    pub snapshot_id: EntryId,
    /// The body of the newest snapshot record.
    pub snapshot: Option<Vec<u8>>,
    /// The terms of `compacted.index + 1 ..= last`.
    pub runs: Vec<TermRun>,
    /// The last entry; `compacted.index` if there is none.
    pub last: Index,
    /// The configurations among the entries `compacted.index + 1 ..= last`, ascending: index and command. The one in
    /// force before them is the snapshot's.
    pub memberships: Vec<(Index, Vec<u8>)>,
    /// It held entries, or a snapshot, that cannot be read any more. What it knows ends before them, and it is
    /// [`raft::Standing::Recovering`]; term and vote are whole. If nobody else has the group, its data is lost.
    pub is_lost: bool,
}

impl RecoveredGroup {
    /// Nothing of what the group held can be read: its snapshot is gone, without which its entries say nothing. To be followed by
    /// [`Log::lose`].
    pub fn lose_all(&mut self) {
        let mut hard_state = HardState { commit: Index::ZERO, ..self.hard_state };
        if hard_state.standing != Standing::Faulted {
            hard_state.standing = Standing::Recovering;
        }
        let (group, incarnation) = (self.group, self.incarnation);
        *self = RecoveredGroup { group, incarnation, hard_state, is_lost: true, ..RecoveredGroup::default() };
    }
}

/// What recovery saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Bytes read from segment files.
    pub bytes_read: u64,
    /// Bytes of sound batches that were behind a torn one, never acknowledged, and dropped. (Of the torn batch itself
    /// nothing can be said.)
    pub torn_tail_bytes: u64,
    /// Segments that count.
    pub segments: usize,
    /// The last batch that counts.
    pub last_batch: BatchSeq,
    /// How many pieces of the log cannot be read that were durable.
    pub losses: usize,
    /// How many groups miss what was in them.
    pub groups_lost: usize,
    /// How long it took.
    pub phases: Phases,
}

/// The steps of [`Log::open`], in microseconds by [`Options::clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// All files were opened, synced, and their first blocks read.
    pub survey_us: u64,
    /// It was read what is in those that count.
    pub read_us: u64,
    /// The groups were made of that.
    pub replay_us: u64,
    /// What was not surely durable was written again, and the first segment of this start with its checkpoint.
    pub write_us: u64,
}

impl<D: Disk> Log<D> {
    /// Opens the log in `dir`, making the directory and the first segment if there are none. Never appends to a
    /// segment of an earlier start: a fresh one, with a checkpoint and a greater boot epoch in it, is durable when
    /// this returns. So what this recovery dropped stays dropped.
    ///
    /// Takes as long as reading the live segments takes. A crash in the midst of it is harmless.
    ///
    /// # Errors
    /// [`OpenError`]; file and offset are in it. A torn tail is not an error, see [`Report`].
    pub async fn open(disk: D, dir: &Path, options: Options) -> Result<(Log<D>, Recovered), OpenError> {
        options.check()?;
        disk.create_dir(dir).await.map_err(io_error("making", dir))?;
        let (mut watch, mut phases) = (Stopwatch::new(options.clock), Phases::default());
        let mut survey = Survey::of(&disk, dir, &options).await?;
        phases.survey_us = watch.lap_us();
        let extent = extent(&mut survey, dir).await?;
        phases.read_us = watch.lap_us();
        let mut replayed = replay(&survey, &extent);
        let mut recovered = describe(dir, &mut replayed, &survey, &extent)?;
        phases.replay_us = watch.lap_us();
        tell(&recovered.losses);
        if let (false, true, Some(first)) =
            (options.heals, recovered.groups.iter().any(|group| group.is_lost), recovered.losses.first())
        {
            return Err(first.clone().into());
        }
        let groups = replayed.groups;
        rewrite(&survey, &extent).await?;
        let last_batch = survey.batch_max;
        let boot_epoch = survey.epoch_max + 1;
        let segments = adopt(&disk, dir, &options, survey, &extent, &groups).await?;
        let mut log = Log {
            dir: dir.to_owned(),
            identity: Identity::of(&options),
            boot_epoch,
            groups: groups.into_iter().collect(),
            segments,
            cache: Cache::new(options.cache_bytes_max),
            pipeline: Pipeline::new(recovered.report.last_batch),
            building: None,
            building_since: Time(0),
            promised: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            stalled_since: None,
            shape: Shape::default(),
            spare: Spare::default(),
            next_seq: BatchSeq(last_batch + 1),
            issued: recovered.report.last_batch,
            sealed: BatchSeq(0),
            seal_at: None,
            checkpoint: CheckpointState::due_now(),
            listing: Listing::default(),
            indexings: Indexings::default(),
            relocating: false,
            relocated_in: BatchSeq(0),
            relocation_due: Time(0),
            scrub: Scrub::default(),
            damages: Damages::default(),
            now: (options.clock)(),
            stats: Stats::default(),
            reads: Rc::new(Reads::default()),
            options,
        };
        log.begin(&disk).await?;
        phases.write_us = watch.lap_us();
        recovered.report.phases = phases;
        let Report { bytes_read, torn_tail_bytes, segments, .. } = recovered.report;
        let (shard, groups) = (log.identity.shard, recovered.groups.len());
        tracing::info!(shard, segments, bytes_read, torn_tail_bytes, groups, "the log is recovered");
        log.stats = Stats { recovery: recovered.report, ..Stats::default() };
        log.pipeline.times = WriteTimes::default();
        Ok((log, recovered))
    }

    /// Writes the fresh segment with its checkpoint.
    async fn begin(&mut self, disk: &D) -> Result<(), OpenError> {
        self.segments.close_active();
        self.list_on(usize::MAX);
        self.submit();
        while !self.queue.is_empty() || self.pipeline.len() > 0 {
            if self.pipeline.len() == 0 && self.segments.ready_len() == 0 {
                // Over the cap if need be: without it there is no log at all.
                let job = SegmentJob::new(&self.dir, self.segments.next_slot(), self.options.segment_bytes);
                let slot = job.make(disk).await.map_err(io_error("making a segment in", &self.dir))?;
                self.segments.set_next(self.segments.next_slot() + 1, self.segments.next_seq());
                self.segments.push_ready(slot);
            }
            match self.drain().await {
                Ok(_) => {}
                Err(error)
                    if error.kind == std::io::ErrorKind::StorageFull && self.pipeline.error().is_none() => {}
                Err(error) => {
                    let source = std::io::Error::new(error.kind, error.what);
                    return Err(OpenError::Io { what: "writing", path: error.path, source });
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn describe<F: runtime::File>(
    dir: &Path,
    replayed: &mut Replayed,
    survey: &Survey<F>,
    extent: &Extent,
) -> Result<Recovered, OpenError> {
    let last_batch = extent.segments.last().map_or(0, |counted| {
        survey.walk(counted.segment).end_at(&survey.segments[&counted.segment].header, counted.limit).last_seq
    });
    let report = Report {
        bytes_read: survey.read_bytes,
        torn_tail_bytes: extent.torn_bytes,
        segments: extent.segments.len(),
        last_batch: BatchSeq(last_batch),
        losses: extent.losses.len(),
        ..Report::default()
    };
    let groups = Vec::with_capacity(replayed.groups.len());
    let lost = replayed.lost.values().flatten().copied().collect();
    let mut recovered = Recovered { groups, losses: extent.losses.clone(), lost, report };
    for (group, log) in &mut replayed.groups {
        if let Some((first, last)) = log.gap() {
            return Err(OpenError::Missing { dir: dir.to_owned(), group: *group, first, last });
        }
        recovered.groups.push(RecoveredGroup {
            group: *group,
            incarnation: log.incarnation,
            hard_state: log.hard_state,
            compacted: log.compacted,
            snapshot_id: log.snapshot.as_ref().map_or(EntryId::ZERO, |(id, _)| *id),
            snapshot: log.snapshot.as_ref().map(|(_, body)| body.to_vec()),
            runs: log.runs(),
            last: log.last.index,
            memberships: std::mem::take(&mut log.memberships)
                .into_iter()
                .map(|(index, command)| (index, command.to_vec()))
                .collect(),
            is_lost: replayed.lost.contains_key(group),
        });
    }
    recovered.report.groups_lost = recovered.groups.iter().filter(|group| group.is_lost).count();
    Ok(recovered)
}

/// Says where the log is damaged.
fn tell(losses: &[Loss]) {
    for loss in losses.iter().take(LOSSES_TOLD_MAX) {
        tracing::error!("{loss}");
    }
    if losses.len() > LOSSES_TOLD_MAX {
        tracing::error!("the log is damaged in {} more places", losses.len() - LOSSES_TOLD_MAX);
    }
}

/// Segments that count are live, all other files are ready for their next use.
async fn adopt<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    mut survey: Survey<D::File>,
    extent: &Extent,
    groups: &BTreeMap<GroupId, GroupLog>,
) -> Result<Segments<D::File>, OpenError> {
    let mut segments = Segments::new(options);
    for counted in &extent.segments {
        let found = survey.segments.remove(&counted.segment).expect("it counts");
        segments.push_live(match extent.indexed.get(&counted.segment) {
            Some(indexed) => indexed.adopt(&found.header, found.slot),
            None => walked(found, counted.limit),
        });
    }
    groups.values().flat_map(GroupLog::records).for_each(|record| segments.revive(record));
    segments.set_next(survey.slot_max + 1, survey.segment_max + 1);
    for slot in &survey.unreadable {
        // It is known what it was, for a checkpoint names it. The next one does not, and a start that finds it so would not know.
        let zeros = BufferMut::zeroed(BLOCK).freeze();
        slot.file.write_durable(0, zeros).await.map_err(io_error("clearing", &slot.path))?;
    }
    let headless = survey.headless.into_iter().map(|headless| headless.slot);
    let dropped = survey.segments.into_values().map(|found| found.slot);
    let free = survey.unused.into_iter().chain(survey.unreadable);
    for slot in free.chain(headless).chain(dropped) {
        if slot.file_bytes == options.segment_bytes {
            segments.push_ready(slot);
        } else {
            disk.remove(&slot.path).await.map_err(io_error("removing", &slot.path))?;
        }
    }
    disk.sync_dir(dir).await.map_err(io_error("syncing", dir))?;
    Ok(segments)
}

/// The segment that was walked, of which batches up to `limit` count.
fn walked<F>(found: Found<F>, limit: u64) -> Segment<F> {
    let (header, walk) = (&found.header, found.walk.as_ref().expect("it was walked"));
    let first = BatchSeq(header.first_batch_seq);
    let mut segment =
        Segment::new(header.segment_seq, found.slot, header.salt, first, walk.end_at(header, limit));
    for batch in walk.up_to(limit) {
        segment
            .set_spot(BatchSeq(batch.header.batch_seq), Spot { block: batch.header.block, bodies_start: 0 });
    }
    segment
}
