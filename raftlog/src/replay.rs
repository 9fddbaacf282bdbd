//! From the batches that count to the state of every group.

use std::{collections::BTreeMap, rc::Rc};

use raft::{EntryId, GroupId, HardState, Index, NodeId, Term};
use runtime::File;

use crate::{
    BatchSeq,
    format::{BatchHeader, CheckpointRow, RecordHeader, RecordKind, record_flags, standing},
    group::{GroupLog, Place, Record},
    recover::Extent,
    scan::Scanned,
    survey::Survey,
};

/// The groups as the batches of `extent` make them.
///
/// Batches before the checkpoint bring entries only: what else they say is in its rows, which also clip the entries
/// found so far. Entries that were dead at the checkpoint and lie in a segment that is still there do no harm: those
/// that replaced them come later, and what lies outside the rows' cursors is clipped. Segments that held only dead
/// entries may be gone, which leaves holes on the way but none at the end.
pub(crate) fn replay<F: File>(survey: &Survey<F>, extent: &Extent) -> BTreeMap<GroupId, GroupLog> {
    let mut groups = BTreeMap::new();
    let (begin, end) = extent.checkpoint.unwrap_or((0, 0));
    for counted in &extent.segments {
        for batch in survey.batches(*counted) {
            let seq = batch.header.batch_seq;
            let in_checkpoint = (begin..=end).contains(&seq);
            apply(&mut groups, batch, |kind| match kind {
                RecordKind::Entries => true,
                RecordKind::CheckpointRow | RecordKind::SegmentTable => in_checkpoint,
                _ => seq > end,
            });
        }
    }
    for log in groups.values_mut() {
        log.visible = log.last.index;
        log.applied = log.compacted.index;
        // Commit is a hint that saves time: a value beyond the log would only confuse.
        log.hard_state.commit = log.hard_state.commit.min(log.last.index);
    }
    groups
}

fn apply(groups: &mut BTreeMap<GroupId, GroupLog>, batch: &Scanned, counts: impl Fn(RecordKind) -> bool) {
    for (place, record) in batch.records.iter().enumerate() {
        let kind = RecordKind::from_byte(record.kind).expect("checked by decode_directory");
        if !counts(kind) || kind == RecordKind::SegmentTable {
            continue;
        }
        let body = batch.body(place);
        let group = GroupId(u32::try_from(record.group).expect("checked by decode_directory"));
        let log = groups.entry(group).or_default();
        let id = EntryId::new(Term(record.term), Index(record.first_index));
        let released = &mut |_: &Record| {};
        match kind {
            RecordKind::Entries => {
                let memberships = raft::entries(body, raft::Check::Shape).flatten();
                let memberships = memberships.map(|entry| (entry.id.index, Rc::from(entry.command)));
                let entries = entries_record(&batch.header, record);
                if entries.moved {
                    runtime::mark!("log.put_back");
                    log.put_back(record.incarnation, entries, memberships);
                } else {
                    log.append(record.incarnation, entries, released);
                    log.memberships.extend(memberships);
                }
            }
            RecordKind::HardState if runtime::mutant!("log.hard_states_not_replayed") => {}
            RecordKind::HardState => log.hard_state = hard_state(record),
            RecordKind::Compact => log.compact(id, released),
            RecordKind::Snapshot => {
                log.set_snapshot(id, Rc::from(body), record.flags & record_flags::RESET != 0, released);
            }
            RecordKind::CheckpointRow => apply_row(log, record, body),
            RecordKind::SegmentTable => {}
        }
    }
}

fn entries_record(batch: &BatchHeader, record: &RecordHeader) -> Record {
    Record {
        first: Index(record.first_index),
        count: record.count,
        cut: false,
        moved: record.flags & record_flags::RELOCATED != 0,
        term: Term(record.term),
        batch: BatchSeq(batch.batch_seq),
        place: Some(Place { segment: batch.segment_seq, block: batch.block }),
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
