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
    /// It was relocated: it stands in a newer segment than its neighbours.
    pub(crate) moved: bool,
    /// There are configurations among its entries.
    pub(crate) memberships: bool,
    /// Of all its entries.
    pub(crate) term: Term,
    /// The batch it was written with: where that stands, its segment knows.
    pub(crate) batch: BatchSeq,
    /// Where the body starts, from where the bodies of its batch start.
    pub(crate) body_offset: u32,
    /// The size of the whole body.
    pub(crate) body_bytes: u32,
}

impl Record {
    /// Its last live entry.
    pub(crate) fn last(&self) -> Index {
        Index(self.first.0 + u64::from(self.count) - 1)
    }
}

/// One group's part of the log. What an append needs of it comes first, in one cache line: of a thousand groups that each add an
/// entry none is in the processor's own cache.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct GroupLog {
    pub(crate) last: EntryId,
    records: VecDeque<Record>,
    /// The newest entry that the state machine no longer needs from the cache.
    pub(crate) applied: Index,
    pub(crate) incarnation: u32,
    /// The newest entry that every peer has: nobody has to be sent those up to here.
    pub(crate) held: Index,
    pub(crate) compacted: EntryId,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Option<(EntryId, Rc<[u8]>)>,
    /// Configurations in `(compacted, last]`, ascending: kept while the log is replayed, for whoever opens it.
    pub(crate) memberships: Vec<(Index, Rc<[u8]>)>,
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

    /// The newest entry in a batch up to `issued`. Between what is compacted and the last one.
    pub(crate) fn visible(&self, issued: BatchSeq) -> Index {
        let newest = self.records.iter().rev().find(|record| record.batch <= issued);
        newest.map_or(self.compacted.index, Record::last)
    }

    /// The term of the entry at `index`, or of the last one that is compacted.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        self.record_at(index).map(|record| record.term)
    }

    /// The term of the entry before `first`, which must be in the log or compacted; 0 before the first of all.
    pub(crate) fn term_before(&self, incarnation: u32, first: Index) -> Term {
        if incarnation != self.incarnation {
            return Term(0);
        }
        // Nearly always it is the last one.
        let before = first.previous();
        if before == self.last.index { self.last.term } else { self.term_at(before).unwrap_or_default() }
    }

    /// The record that holds the entry at `index`.
    pub(crate) fn record_at(&self, index: Index) -> Option<&Record> {
        self.records_from(index).next().filter(|record| record.first <= index)
    }

    /// Adds `record` behind the entries before it; what it overlaps, and all after that, is dropped.
    pub(crate) fn append(&mut self, incarnation: u32, record: Record, released: &mut impl FnMut(&Record)) {
        self.enter_incarnation(incarnation, released);
        self.truncate(record.first, released);
        self.last = EntryId::new(record.term, record.last());
        self.records.push_back(record);
    }

    /// While the log is replayed: the entries of `record`, which was relocated, are in their place, and nothing after them is
    /// truncated. What it overlaps is an older place of the same entries, or is dead with all that followed in its record.
    pub(crate) fn put_back(
        &mut self,
        incarnation: u32,
        record: Record,
        memberships: impl Iterator<Item = (Index, Rc<[u8]>)>,
    ) {
        if incarnation < self.incarnation {
            return;
        }
        self.enter_incarnation(incarnation, &mut |_| {});
        let (first, last) = (record.first, record.last());
        let mut at = self.records.partition_point(|other| other.last() < first);
        if let Some(other) = self.records.get(at)
            && other.first <= first
            && other.term == record.term
            && other.last() > last
        {
            return; // more of the same was appended again since it was read
        }
        let mut dead_to = last;
        if let Some(other) = self.records.get_mut(at)
            && other.first < first
        {
            dead_to = dead_to.max(other.last());
            other.count = u32::try_from(first.0 - other.first.0).expect("fewer entries than it had");
            other.cut = true;
            at += 1;
        }
        while let Some(other) = self.records.get(at).filter(|other| other.first <= last) {
            dead_to = dead_to.max(other.last());
            self.records.remove(at);
        }
        self.records.insert(at, record);
        while self.records.front().is_some_and(|other| other.last() <= self.compacted.index) {
            self.records.pop_front();
        }
        self.last = match self.records.back() {
            Some(newest) => EntryId::new(newest.term, newest.last()),
            None => self.compacted,
        };
        self.memberships.retain(|(index, _)| *index < first || *index > dead_to);
        let place = self.memberships.partition_point(|(index, _)| *index < first);
        let tail = self.memberships.split_off(place);
        self.memberships.extend(memberships);
        self.memberships.extend(tail);
    }

    /// The relocated `record` was issued: if its entries still live, its place is theirs now. Answers the record that was
    /// there.
    pub(crate) fn move_to(&mut self, incarnation: u32, record: Record) -> Option<Record> {
        let at = self.records.partition_point(|other| other.last() < record.first);
        let live_from = self.compacted.index.next();
        let other = self.records.get_mut(at).filter(|_| incarnation == self.incarnation)?;
        let starts_there =
            other.first == record.first || (other.first < record.first && live_from >= record.first);
        let is_older = other.batch < record.batch;
        if other.term != record.term || !is_older || !starts_there || other.last() > record.last() {
            return None;
        }
        let before = *other;
        let count = u32::try_from(other.last().0 - record.first.0 + 1).expect("at most as many as it had");
        *other = Record { count, cut: count < record.count, ..record };
        Some(before)
    }

    /// The newest record goes on for `count` more entries of its term, directly behind it in its batch.
    pub(crate) fn extend_newest(&mut self, count: u32, bytes: u32) {
        let newest = self.records.back_mut().expect("the newest record was just written to");
        assert!(!newest.cut, "a truncated record never grows");
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
        self.applied = self.applied.max(id.index);
        self.memberships.retain(|(index, _)| *index > id.index);
    }

    /// The log is empty and starts after `id`, whatever it held.
    pub(crate) fn restart_after(&mut self, id: EntryId, released: &mut impl FnMut(&Record)) {
        self.records.drain(..).for_each(|record| released(&record));
        self.memberships.clear();
        self.compacted = id;
        self.last = id;
        self.applied = id.index;
    }

    /// Everything from `from` on could not be read; if that is 0, the snapshot neither.
    pub(crate) fn lose(&mut self, from: Index, released: &mut impl FnMut(&Record)) {
        if from == Index::ZERO {
            self.restart_after(EntryId::ZERO, released);
            self.snapshot = None;
        } else {
            self.truncate(from, released);
        }
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

    /// There are configurations among the entries of its record of `batch` that holds `first`, if that still lives.
    pub(crate) fn note_memberships(&mut self, batch: BatchSeq, first: Index) {
        let at = self.records.partition_point(|record| record.last() < first);
        if let Some(record) = self.records.get_mut(at).filter(|record| record.batch == batch) {
            record.memberships = true;
        }
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
mod tests;
