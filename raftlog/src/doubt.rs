//! What may be wrong with a group because something of the log could not be read, and what is left of it then.
//!
//! A hole is a run of batches that cannot be read. It lies before the checkpoint, whose rows say where each group's log
//! begins and ends, but not what was replaced in between: entries that were dead may stand where the ones that took their place
//! are lost. So from the row's last entry down each record must have the term that the one above it says was before it. Whoever
//! holds an entry of a term holds what that term's leader had before it (Log Matching, Raft Figure 3), so a record that fits
//! there is the group's, wherever it was found. Where none fits there is a **seam**: until everything below it is compacted,
//! nothing of the group's entries is believed, and its peers give them back.

use std::collections::BTreeMap;

use bytemuck::Zeroable;
use raft::{EntryId, GroupId, Index, Standing, Term};
use runtime::Disk;

use crate::{
    BatchSeq, Log, Lost,
    format::{RecordHeader, RecordKind, record_flags},
    group::{GroupLog, Record},
    lost::LostRows,
};

/// The term of the entry before a record's first one, by group, first index and batch.
pub(crate) type TermsBefore = BTreeMap<(GroupId, Index, BatchSeq), Term>;

/// A seam behind all entries, also behind those that nothing tells of any more.
const ALL: Index = Index(u64::MAX);

/// What is doubtful about a group while its log is replayed.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    /// Entries from here on are the group's; those before may be others, or missing.
    seam: Option<Index>,
    /// Its snapshot, or where its log began, cannot be read.
    gone: bool,
    /// Where that snapshot was.
    gone_to: Index,
    /// Records with configurations that cannot be read: each one's first index and batch.
    unreadable: Vec<(Index, BatchSeq)>,
}

impl Doubt {
    /// The log of `group`, which was just clipped to a checkpoint's row, may lack what was in a hole.
    pub(crate) fn at_row(&mut self, group: GroupId, log: &GroupLog, before: &TermsBefore) {
        let live_from = log.compacted.index.next();
        let (mut from, mut term) = (log.last.index.next(), Some(log.last.term));
        for record in log.records().rev() {
            if record.last().next() != from || Some(record.term) != term {
                break;
            }
            from = record.first.max(live_from);
            term = before.get(&(group, record.first, record.batch)).copied();
        }
        self.seam = (from > live_from).then_some(from);
        if self.seam.is_some() {
            runtime::mark!("log.seam");
        }
    }

    /// Entries from `first` on take the place of what stands there.
    pub(crate) fn at_append(&mut self, first: Index) {
        self.seam = self.seam.map(|seam| seam.min(first));
    }

    /// Any of its entries may be others, or missing.
    pub(crate) fn lose_entries(&mut self) {
        self.seam = Some(ALL);
    }

    /// The row of the group cannot be read, or its snapshot at `index`.
    pub(crate) fn lose_snapshot(&mut self, index: Index) {
        self.gone = true;
        self.gone_to = self.gone_to.max(index);
    }

    /// The group has a snapshot that can be read. `resets`: the log starts anew behind it.
    pub(crate) fn at_snapshot(&mut self, resets: bool) {
        self.gone = false;
        if resets {
            self.seam = None;
        }
    }

    /// The configurations in the record of `batch` that begins with `first` cannot be read.
    pub(crate) fn lose_configurations(&mut self, first: Index, batch: BatchSeq) {
        self.unreadable.push((first, batch));
    }

    /// Whether what was lost matters to `log`, as it is in the end.
    fn matters(&self, log: &GroupLog) -> bool {
        let live_from = log.compacted.index.next();
        self.gone
            || self.seam.is_some_and(|seam| seam > live_from) && !runtime::mutant!("log.seam_ignored")
            || self.unreadable(log).next().is_some()
            || log.gap().is_some()
    }

    /// The records of `log` whose configurations cannot be read.
    fn unreadable<'a>(&'a self, log: &'a GroupLog) -> impl Iterator<Item = &'a Record> {
        let live_from = log.compacted.index.next();
        self.unreadable.iter().filter_map(move |(first, batch)| {
            let record = log.records_from((*first).max(live_from)).next();
            record.filter(|record| record.batch == *batch)
        })
    }

    /// What of `log` was lost, which matters to it. `rows`: what was in the holes.
    fn lost(&self, group: GroupId, log: &GroupLog, rows: &LostRows) -> Vec<Lost> {
        let (live_from, last) = (log.compacted.index.next(), log.last.index);
        let range = |first, last| Lost { group, first, last, term: None };
        if self.gone {
            let last = last.max(self.gone_to);
            return vec![range(Index(1), Some(last).filter(|last| *last > Index::ZERO))];
        }
        if self.seam == Some(ALL) {
            return vec![range(live_from, None)];
        }
        let records = self.unreadable(log).map(|record| {
            let first = record.first.max(live_from);
            Lost { term: Some(record.term), ..range(first, Some(record.last())) }
        });
        let mut lost: Vec<Lost> = records.collect();
        if let Some(seam) = self.seam.filter(|seam| *seam > live_from) {
            let known = rows.of(group, (live_from, last), log);
            lost.extend(known.unwrap_or_else(|| vec![range(live_from, Some(seam.previous()))]));
        }
        if let (true, Some((first, last))) = (lost.is_empty(), log.gap()) {
            lost.push(range(first, Some(last)));
        }
        lost
    }

    /// All is replayed. If what was lost matters, what is left of the group is its hard state and its snapshot, it knows that it
    /// lacks entries, and the answer is which; if nothing, it is empty. `rows`: what was in the holes.
    pub(crate) fn settle(&self, group: GroupId, log: &mut GroupLog, rows: &LostRows) -> Vec<Lost> {
        // What the snapshot holds nobody misses.
        let snapshot = log.snapshot.as_ref().map(|(id, _)| *id).filter(|_| !self.gone);
        if let Some(id) = snapshot
            && log.term_at(id.index) == Some(id.term)
            && self.seam.is_none_or(|seam| seam <= id.index.next())
            && self.matters(log)
        {
            log.compact(id, &mut |_| {});
        }
        if !self.matters(log) {
            return Vec::new();
        }
        let lost = self.lost(group, log, rows);
        if self.gone {
            log.snapshot = None;
        }
        log.lose_from(snapshot.unwrap_or(EntryId::ZERO));
        lost
    }
}

impl GroupLog {
    /// The entries behind `id` cannot be read any more: what the group knows ends there.
    pub(crate) fn lose_from(&mut self, id: EntryId) {
        self.restart_after(id, &mut |_| {});
        self.hard_state.commit = id.index;
        if self.hard_state.standing != Standing::Faulted && !runtime::mutant!("log.loss_forgotten") {
            self.hard_state.standing = Standing::Recovering;
        }
    }
}

impl<D: Disk> Log<D> {
    /// Records that entries of `group` from `from` on cannot be read any more, and that it is recovering; if `from` is 0, that its
    /// snapshot cannot be read either. What was handed out of them stays valid; they are not read again.
    pub fn lose(&mut self, group: GroupId, from: Index) {
        let Some(log) = self.groups.get_mut(group) else { return };
        self.stats.group_losses += 1;
        let mut hard_state = log.hard_state;
        hard_state.commit = hard_state.commit.min(from.previous());
        if hard_state.standing != Standing::Faulted {
            hard_state.standing = Standing::Recovering;
        }
        // First of all: a replica that forgot and did not know it would vote.
        self.hard_state(group, hard_state);
        self.open_batch(0);
        let builder = self.building.as_mut().expect("open_batch made it");
        let log = self.groups.get_or_new(group);
        let header = RecordHeader {
            group: u64::from(group.0),
            first_index: from.0,
            incarnation: log.incarnation,
            kind: RecordKind::Truncate.byte(),
            flags: if from == Index::ZERO { record_flags::RESET } else { 0 },
            ..RecordHeader::zeroed()
        };
        builder.push(header, 0);
        let (segments, seq) = (&mut self.segments, builder.seq);
        log.lose(from, &mut |record: &Record| segments.release(record, seq));
    }
}
