//! What the log knows about one group: cursors, hard state, and where its live entries stand.
//!
//! The same operations run when a record is written and when it is replayed, so that a recovered group is what the
//! running one was. Replay may meet gaps, because segments whose entries were all dead are gone; what is left when it
//! ends must have none ([`GroupLog::gap`]).

use std::{collections::VecDeque, rc::Rc};

use raft::{EntryId, HardState, Index, Term, TermRun};

use crate::BatchSeq;

/// Consecutive entries of one term in one batch: the unit of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its first entry.
    pub(crate) first: Index,
    /// Live entries from `first` on; fewer than the body holds once `cut`.
    pub(crate) count: u32,
    /// Some entries at the end of the body were truncated.
    pub(crate) cut: bool,
    /// Of all its entries.
    pub(crate) term: Term,
    /// The batch it was written with.
    pub(crate) batch: BatchSeq,
    /// Where the batch stands, once issued.
    pub(crate) place: Option<Place>,
    /// Where the body starts: from the start of the batch once it is issued, until then from the first body.
    pub(crate) body_offset: u32,
    /// The size of the whole body.
    pub(crate) body_bytes: u32,
}

/// Where an issued batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) block: u32,
}

impl Record {
    /// Its last live entry.
    pub(crate) fn last(&self) -> Index {
        Index(self.first.0 + u64::from(self.count) - 1)
    }
}

/// One group's part of the log.
#[derive(Debug, Default)]
pub(crate) struct GroupLog {
    pub(crate) incarnation: u32,
    pub(crate) hard_state: HardState,
    pub(crate) compacted: EntryId,
    pub(crate) snapshot: Option<(EntryId, Rc<[u8]>)>,
    pub(crate) last: EntryId,
    /// The newest entry in an issued batch. Invariant: compacted <= visible <= last.
    pub(crate) visible: Index,
    /// The newest entry that the state machine no longer needs from the cache.
    pub(crate) applied: Index,
    /// The newest entry that every peer has: nobody has to be sent those up to here.
    pub(crate) held: Index,
    /// Configurations in `(compacted, last]`, ascending: kept while the log is replayed, for whoever opens it.
    pub(crate) memberships: Vec<(Index, Rc<[u8]>)>,
    records: VecDeque<Record>,
}

impl GroupLog {
    /// Where its live entries stand, in order.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter()
    }

    /// The records from the one that holds `index` on.
    pub(crate) fn records_from(&self, index: Index) -> impl Iterator<Item = &Record> {
        let start = self.records.partition_point(|record| record.last() < index);
        self.records.range(start..)
    }

    /// Adds `record` behind the entries before it; what it overlaps, and all after that, is dropped.
    pub(crate) fn append(&mut self, incarnation: u32, record: Record, released: &mut impl FnMut(&Record)) {
        self.enter_incarnation(incarnation, released);
        self.truncate(record.first, released);
        self.last = EntryId::new(record.term, record.last());
        self.records.push_back(record);
    }

    /// The newest record goes on for `count` more entries of its term, directly behind it in its batch.
    pub(crate) fn extend_newest(&mut self, count: u32, bytes: u32) {
        let newest = self.records.back_mut().expect("the newest record was just written to");
        assert!(!newest.cut && newest.place.is_none(), "an issued or truncated record never grows");
        newest.count += count;
        newest.body_bytes += bytes;
        self.last.index = newest.last();
    }

    /// A removed and re-created group starts from nothing but its hard state. Before its first entries a group has
    /// incarnation 0 and takes any.
    pub(crate) fn enter_incarnation(&mut self, incarnation: u32, released: &mut impl FnMut(&Record)) {
        if incarnation > self.incarnation {
            if self.incarnation > 0 || !self.records.is_empty() {
                self.restart_after(EntryId::ZERO, released);
                self.snapshot = None;
            }
            self.incarnation = incarnation;
        }
    }

    /// Drops every entry from `from` on.
    pub(crate) fn truncate(&mut self, from: Index, released: &mut impl FnMut(&Record)) {
        if from > self.last.index {
            return;
        }
        // When the live log starts at `from`, what a record holds before it is compacted: nothing of it lives.
        let all = from <= self.compacted.index.next();
        while self.records.back().is_some_and(|record| all || record.first >= from) {
            self.records.pop_back().iter().for_each(&mut *released);
        }
        if let Some(record) = self.records.back_mut()
            && record.last() >= from
        {
            record.count = u32::try_from(from.0 - record.first.0).expect("fewer entries than it had");
            record.cut = true;
        }
        self.last = match self.records.back() {
            Some(record) => EntryId::new(record.term, record.last()),
            None => self.compacted,
        };
        self.visible = self.visible.min(from.previous());
        self.applied = self.applied.min(from.previous());
        self.memberships.retain(|(index, _)| *index < from);
    }

    /// Everything up to `id` is no longer needed. What is already compacted stays so.
    pub(crate) fn compact(&mut self, id: EntryId, released: &mut impl FnMut(&Record)) {
        if id.index <= self.compacted.index {
            return;
        }
        while self.records.front().is_some_and(|record| record.last() <= id.index) {
            self.records.pop_front().iter().for_each(&mut *released);
        }
        self.compacted = id;
        if self.last.index <= id.index {
            self.last = id;
        }
        self.visible = self.visible.max(id.index);
        self.applied = self.applied.max(id.index);
        self.memberships.retain(|(index, _)| *index > id.index);
    }

    /// The log is empty and starts after `id`, whatever it held.
    pub(crate) fn restart_after(&mut self, id: EntryId, released: &mut impl FnMut(&Record)) {
        self.records.drain(..).for_each(|record| released(&record));
        self.memberships.clear();
        self.compacted = id;
        self.last = id;
        self.visible = id.index;
        self.applied = id.index;
    }

    /// `body` names the group's snapshot at `id` from now on.
    pub(crate) fn set_snapshot(
        &mut self,
        id: EntryId,
        body: Rc<[u8]>,
        reset: bool,
        released: &mut impl FnMut(&Record),
    ) {
        self.snapshot = Some((id, body));
        if reset {
            self.restart_after(id, released);
        } else {
            self.compact(id, released);
        }
    }

    /// Takes the cursors of a checkpoint: of the entries found so far, those in `(compacted, last]` count.
    pub(crate) fn clip(&mut self, incarnation: u32, compacted: EntryId, last: EntryId) {
        let released = &mut |_: &Record| {};
        if self.incarnation != incarnation {
            self.restart_after(EntryId::ZERO, released);
            self.incarnation = incarnation;
        }
        self.truncate(last.index.next(), released);
        self.compacted = EntryId::ZERO;
        self.compact(compacted, released);
        self.last = last;
    }

    /// The batch `batch` was issued to `place`; of it, the record whose body was at `building_offset` is now at
    /// `body_offset`. Answers whether the record still lives.
    pub(crate) fn place(
        &mut self,
        batch: BatchSeq,
        building_offset: u32,
        place: Place,
        body_offset: u32,
    ) -> bool {
        // Nearly always the newest one.
        let of_batch = self.records.iter_mut().rev().skip_while(|record| record.batch > batch);
        let mut of_batch = of_batch.take_while(|record| record.batch == batch);
        let same = |record: &&mut Record| record.place.is_none() && record.body_offset == building_offset;
        let Some(record) = of_batch.find(same) else { return false };
        record.place = Some(place);
        record.body_offset = body_offset;
        self.visible = self.visible.max(record.last());
        true
    }

    /// The terms of `compacted.index + 1 ..= last`, by runs.
    pub(crate) fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for record in &self.records {
            if runs.last().is_none_or(|run| run.term != record.term) {
                let first = record.first.max(self.compacted.index.next());
                runs.push(TermRun { first, term: record.term });
            }
        }
        runs
    }

    /// The first range of indexes in `(compacted, last]` that no record holds.
    pub(crate) fn gap(&self) -> Option<(Index, Index)> {
        let mut next = self.compacted.index.next();
        for record in &self.records {
            if record.first > next {
                return Some((next, record.first.previous()));
            }
            next = record.last().next();
        }
        (next <= self.last.index).then_some((next, self.last.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u64, count: u32, term: u64, batch: u64) -> Record {
        Record {
            first: Index(first),
            count,
            cut: false,
            term: Term(term),
            batch: BatchSeq(batch),
            place: Some(Place { segment: batch, block: 1 }),
            body_offset: 0,
            body_bytes: 48 * count,
        }
    }

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    #[test]
    fn an_overlapping_append_drops_exactly_the_suffix() {
        let mut released = Vec::new();
        let mut log = GroupLog::default();
        let mut append = |log: &mut GroupLog, r| log.append(0, r, &mut |r: &Record| released.push(r.batch.0));
        append(&mut log, record(1, 5, 1, 1));
        append(&mut log, record(6, 5, 1, 2));
        append(&mut log, record(11, 2, 1, 3));
        append(&mut log, record(8, 1, 2, 4));
        assert_eq!(log.last, id(2, 8));
        assert_eq!(log.gap(), None);
        let spans: Vec<_> = log.records().map(|r| (r.first.0, r.last().0, r.cut)).collect();
        assert_eq!(spans, [(1, 5, false), (6, 7, true), (8, 8, false)]);
        assert_eq!(released, [3], "a record that lost only its end is still needed");
        let runs: Vec<_> = log.runs().iter().map(|run| (run.first.0, run.term.0)).collect();
        assert_eq!(runs, [(1, 1), (8, 2)]);
    }

    #[test]
    fn compaction_inside_a_record_keeps_it() {
        let mut log = GroupLog::default();
        log.append(0, record(1, 5, 1, 1), &mut |_| {});
        log.compact(id(1, 3), &mut |_| panic!("the record still holds live entries"));
        assert_eq!((log.compacted, log.last, log.gap()), (id(1, 3), id(1, 5), None));
        assert_eq!(log.runs(), [TermRun { first: Index(4), term: Term(1) }]);
        log.compact(id(1, 2), &mut |_| panic!("never backwards"));
        assert_eq!(log.compacted, id(1, 3));
        log.compact(id(1, 9), &mut |_| {});
        assert_eq!((log.last, log.records().count()), (id(1, 9), 0));
    }

    #[test]
    fn a_record_of_which_only_compacted_entries_are_left_is_dropped() {
        let mut released = 0;
        let mut log = GroupLog::default();
        log.append(0, record(1, 5, 1, 1), &mut |_| {});
        log.compact(id(1, 3), &mut |_| {});
        log.append(0, record(4, 1, 2, 2), &mut |_| released += 1);
        assert_eq!((released, log.last, log.records().count()), (1, id(2, 4), 1));
        assert_eq!(log.runs(), [TermRun { first: Index(4), term: Term(2) }]);
    }

    #[test]
    fn truncation_takes_back_what_was_visible() {
        let mut log = GroupLog::default();
        log.append(0, record(1, 5, 1, 1), &mut |_| {});
        log.visible = Index(5);
        let unissued = Record { place: None, ..record(3, 4, 2, 2) };
        log.append(0, unissued, &mut |_| {});
        assert_eq!(log.visible, Index(2));
        assert!(log.place(BatchSeq(2), 0, Place { segment: 1, block: 9 }, 192));
        assert_eq!(log.visible, Index(6));
    }

    #[test]
    fn a_checkpoint_clips_what_lies_outside() {
        let mut log = GroupLog::default();
        log.append(1, record(1, 5, 1, 1), &mut |_| {});
        log.append(1, record(8, 5, 1, 2), &mut |_| {});
        log.clip(1, id(1, 7), id(1, 10));
        assert_eq!((log.gap(), log.last), (None, id(1, 10)));
        log.clip(2, EntryId::ZERO, EntryId::ZERO);
        assert_eq!(log.records().count(), 0, "another incarnation's entries are nobody's");
    }

    #[test]
    fn a_new_incarnation_sees_nothing_of_the_old_one() {
        let mut released = 0;
        let mut log = GroupLog::default();
        log.hard_state.term = Term(4);
        log.append(1, record(1, 5, 1, 1), &mut |_| {});
        log.set_snapshot(id(1, 2), Rc::from(&b"s"[..]), false, &mut |_| {});
        log.append(2, record(1, 1, 5, 2), &mut |_| released += 1);
        assert_eq!((released, log.compacted, log.last), (1, EntryId::ZERO, id(5, 1)));
        assert_eq!((log.snapshot, log.hard_state.term), (None, Term(4)), "the vote outlives the log");
    }

    #[test]
    fn configurations_go_with_their_entries() {
        let mut log = GroupLog::default();
        let kept = |log: &GroupLog| log.memberships.iter().map(|(index, _)| index.0).collect::<Vec<_>>();
        let add = |log: &mut GroupLog, index| log.memberships.push((Index(index), Rc::from(&b"c"[..])));
        log.append(0, record(1, 9, 1, 1), &mut |_| {});
        [2, 5, 9].into_iter().for_each(|index| add(&mut log, index));
        log.compact(id(1, 2), &mut |_| {});
        assert_eq!(kept(&log), [5, 9], "the snapshot has the one at its end and all before");
        log.append(0, record(9, 1, 2, 2), &mut |_| {});
        assert_eq!(kept(&log), [5], "truncated, and what took its place is none");
        add(&mut log, 9);
        log.clip(0, id(1, 3), id(1, 8));
        assert_eq!(kept(&log), [5]);
        log.restart_after(id(3, 20), &mut |_| {});
        assert!(kept(&log).is_empty());
    }

    #[test]
    fn a_gap_is_named() {
        let mut log = GroupLog::default();
        log.append(0, record(1, 2, 1, 1), &mut |_| {});
        log.append(0, record(5, 2, 1, 1), &mut |_| {});
        assert_eq!(log.gap(), Some((Index(3), Index(4))));
        log.last = id(1, 9);
        log.compact(id(1, 4), &mut |_| {});
        assert_eq!(log.gap(), Some((Index(7), Index(9))));
    }
}
