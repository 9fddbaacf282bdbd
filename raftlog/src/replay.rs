//! From the batches that count to the state of every group.

use std::{collections::BTreeMap, rc::Rc};

use raft::{EntryId, GroupId, HardState, Index, NodeId, Term};
use runtime::File;

use crate::{
    BatchSeq, Lost,
    doubt::{Doubt, TermsBefore},
    format::{BatchHeader, CheckpointRow, RecordHeader, RecordKind, record_flags, standing},
    group::{GroupLog, Record},
    indexed::IndexedRow,
    lost::LostRows,
    recover::Extent,
    scan::Scanned,
    survey::Survey,
};

/// What the batches that count make.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) groups: BTreeMap<GroupId, GroupLog>,
    /// What groups lost and must get back from their peers.
    pub(crate) lost: BTreeMap<GroupId, Vec<Lost>>,
    /// Of the groups that something was lost of, or may be.
    doubts: BTreeMap<GroupId, Doubt>,
    /// Of the records so far, if some segment has a hole.
    before: Option<TermsBefore>,
}

/// The groups as the batches of `extent` make them.
///
/// Batches before the checkpoint bring entries only: what else they say is in its rows, which also clip the entries
/// found so far. Entries that were dead at the checkpoint and lie in a segment that is still there do no harm: those
/// that replaced them come later, and what lies outside the rows' cursors is clipped. Segments that held only dead
/// entries may be gone, which leaves holes on the way but none at the end.
pub(crate) fn replay<F: File>(survey: &Survey<F>, extent: &Extent) -> Replayed {
    let mut replayed = Replayed { before: extent.has_holes.then(TermsBefore::new), ..Replayed::default() };
    let (begin, end) = extent.checkpoint.unwrap_or((0, 0));
    for counted in &extent.segments {
        if let Some(indexed) = extent.indexed.get(&counted.segment) {
            indexed.rows.iter().for_each(|row| replayed.apply_row(row));
        }
        for batch in survey.batches(*counted) {
            let seq = batch.header.batch_seq;
            let in_checkpoint = (begin..=end).contains(&seq);
            replayed.apply(batch, |kind| match kind {
                RecordKind::Entries => true,
                RecordKind::CheckpointRow => in_checkpoint,
                _ => seq > end,
            });
        }
    }
    if extent.has_late_holes {
        replayed.doubt_all();
    }
    replayed.settle(&extent.lost_rows);
    replayed
}

impl Replayed {
    /// Behind the checkpoint something is missing, of whatever group.
    fn doubt_all(&mut self) {
        for group in self.groups.keys() {
            self.doubts.entry(*group).or_default().lose_entries();
        }
    }

    fn settle(&mut self, rows: &LostRows) {
        for (group, doubt) in &self.doubts {
            let log = self.groups.get_mut(group).expect("only what is there is doubted");
            let lost = doubt.settle(*group, log, rows);
            if lost.is_empty() {
                runtime::mark!("log.group_whole");
            } else {
                runtime::mark!("log.group_lost");
                self.lost.insert(*group, lost);
            }
        }
        for log in self.groups.values_mut() {
            log.applied = log.compacted.index;
            // Commit is a hint that saves time: a value beyond the log would only confuse.
            log.hard_state.commit = log.hard_state.commit.min(log.last.index);
        }
    }

    /// A record, by its segment's index.
    fn apply_row(&mut self, indexed: &IndexedRow) {
        let row = &indexed.row;
        let log = self.groups.entry(row.group).or_default();
        if let Some(before) = &mut self.before {
            before.insert((row.group, row.first, row.batch), row.before);
        }
        if indexed.memberships.is_none() {
            self.doubts.entry(row.group).or_default().lose_configurations(row.first, row.batch);
        }
        let record = Record {
            first: row.first,
            count: row.count,
            cut: row.cut,
            moved: row.moved,
            memberships: row.memberships,
            term: row.term,
            batch: row.batch,
            body_offset: row.body_offset,
            body_bytes: row.body_bytes,
        };
        add_entries(log, row.incarnation, record, indexed.memberships.as_deref().unwrap_or_default());
    }

    fn apply(&mut self, batch: &Scanned, counts: impl Fn(RecordKind) -> bool) {
        for (place, record) in batch.records.iter().enumerate() {
            let kind = RecordKind::from_byte(record.kind).expect("checked by decode_directory");
            if !counts(kind) || matches!(kind, RecordKind::SegmentTable | RecordKind::SegmentIndex) {
                continue;
            }
            let group = GroupId(u32::try_from(record.group).expect("checked by decode_directory"));
            let log = self.groups.entry(group).or_default();
            let is_damaged = batch.is_damaged(place);
            let is_row = kind == RecordKind::CheckpointRow;
            let doubt = if is_damaged || (is_row && self.before.is_some()) {
                Some(self.doubts.entry(group).or_default())
            } else {
                self.doubts.get_mut(&group)
            };
            if let Some(before) = self.before.as_mut().filter(|_| kind == RecordKind::Entries) {
                let key = (group, Index(record.first_index), BatchSeq(batch.header.batch_seq));
                before.insert(key, Term(record.commit));
            }
            apply_record(log, doubt, batch, place, is_damaged);
            if is_row
                && let (Some(before), false) = (&self.before, is_damaged)
                && let Some(doubt) = self.doubts.get_mut(&group)
            {
                doubt.at_row(group, log, before);
            }
        }
    }
}

/// Applies the record at `place` of `batch` to its group. `doubt` is there if its body `is_damaged`.
fn apply_record(
    log: &mut GroupLog,
    doubt: Option<&mut Doubt>,
    batch: &Scanned,
    place: usize,
    is_damaged: bool,
) {
    let (record, body) = (&batch.records[place], batch.body(place));
    let id = EntryId::new(Term(record.term), Index(record.first_index));
    let released = &mut |_: &Record| {};
    match RecordKind::from_byte(record.kind).expect("checked by decode_directory") {
        RecordKind::Entries => {
            if let Some(doubt) = doubt {
                if record.flags & record_flags::RELOCATED == 0 {
                    doubt.at_append(id.index);
                }
                if is_damaged {
                    doubt.lose_configurations(id.index, BatchSeq(batch.header.batch_seq));
                }
            }
            add_entries(log, record.incarnation, entries_record(&batch.header, record), body);
        }
        RecordKind::HardState if runtime::mutant!("log.hard_states_not_replayed") => {}
        RecordKind::HardState => log.hard_state = hard_state(record),
        RecordKind::Compact => log.compact(id, released),
        RecordKind::Snapshot if is_damaged => {
            doubt.into_iter().for_each(|doubt| doubt.lose_snapshot(id.index));
        }
        RecordKind::Snapshot => {
            let resets = record.flags & record_flags::RESET != 0;
            doubt.into_iter().for_each(|doubt| doubt.at_snapshot(resets));
            log.set_snapshot(id, Rc::from(body), resets, released);
        }
        RecordKind::Truncate => {
            doubt.into_iter().for_each(|doubt| doubt.at_append(id.index.max(Index(1))));
            log.lose(id.index, released);
        }
        RecordKind::CheckpointRow if is_damaged => {
            doubt.into_iter().for_each(|doubt| doubt.lose_snapshot(Index::ZERO));
            log.restart_after(EntryId::ZERO, released);
            log.hard_state = hard_state(record);
        }
        RecordKind::CheckpointRow => apply_row(log, record, body),
        RecordKind::SegmentTable | RecordKind::SegmentIndex => {}
    }
}

/// `memberships`: the configurations among the entries.
fn add_entries(log: &mut GroupLog, incarnation: u32, record: Record, memberships: &[u8]) {
    let memberships = raft::entries(memberships, raft::Check::Shape).flatten();
    let memberships = memberships.map(|entry| (entry.id.index, Rc::from(entry.command)));
    if record.moved && !runtime::mutant!("log.relocation_truncates") {
        runtime::mark!("log.put_back");
        log.put_back(incarnation, record, memberships);
    } else if incarnation == log.incarnation && record.last() <= log.compacted.index {
        // Nobody writes what a snapshot holds already: a forgery, and nothing of it would live.
    } else {
        log.append(incarnation, record, &mut |_| {});
        log.memberships.extend(memberships);
    }
}

fn entries_record(batch: &BatchHeader, record: &RecordHeader) -> Record {
    Record {
        first: Index(record.first_index),
        count: record.count,
        cut: false,
        moved: record.flags & record_flags::RELOCATED != 0,
        memberships: record.flags & record_flags::MEMBERSHIP != 0,
        term: Term(record.term),
        batch: BatchSeq(batch.batch_seq),
        body_offset: record.body_offset,
        body_bytes: record.body_bytes,
    }
}

fn hard_state(record: &RecordHeader) -> HardState {
    let voted = record.flags & record_flags::HAS_VOTE != 0;
    HardState {
        term: Term(record.term),
        vote: voted.then_some(NodeId(record.aux)),
        commit: Index(record.commit),
        standing: standing(record.flags),
    }
}

fn apply_row(log: &mut GroupLog, record: &RecordHeader, body: &[u8]) {
    let (front, snapshot) = body.split_at(size_of::<CheckpointRow>());
    let row: CheckpointRow = bytemuck::pod_read_unaligned(front);
    let id = |term, index| EntryId::new(Term(term), Index(index));
    log.hard_state = hard_state(record);
    log.clip(
        record.incarnation,
        id(row.compacted_term, row.compacted_index),
        id(row.last_term, row.last_index),
    );
    let has_snapshot = record.flags & record_flags::HAS_SNAPSHOT != 0;
    log.snapshot = has_snapshot.then(|| (id(row.snapshot_term, row.snapshot_index), Rc::from(snapshot)));
}
