//! What a start found to be gone, group by group: not where on the disk, but which entries.

use std::fmt;

use raft::{GroupId, Index, Term};

use crate::{
    format::IndexRow,
    group::{GroupLog, Record},
};

/// Entries of one group that were durable and cannot be read any more: each is in some range. Where no term is known, some may be
/// there that cannot be believed without the others. (What stands in old segments is seen to be damaged when it is read.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose.
    pub group: GroupId,
    /// The first index.
    pub first: Index,
    /// The last index; `None`: what said how far they went is gone, too.
    pub last: Option<Index>,
    /// The term of all of them, if it is known.
    pub term: Option<Term>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { group, first, .. } = self;
        match self.last {
            None => write!(f, "all entries of group {group} from {first} on")?,
            Some(last) if last == *first => write!(f, "entry {first} of group {group}")?,
            Some(last) => write!(f, "entries {first}..={last} of group {group}")?,
        }
        self.term.map_or(Ok(()), |term| write!(f, ", of term {term}"))
    }
}

impl Lost {
    /// The entries of a record of `count` entries of one term.
    pub(crate) fn record(group: GroupId, first: Index, count: u32, term: Term) -> Lost {
        let last = Some(Index((first.0 + u64::from(count)).saturating_sub(1)));
        Lost { group, first, last, term: Some(term) }
    }
}

/// What was in the holes of the log, as far as something tells.
#[derive(Debug, Default)]
pub(crate) struct LostRows {
    /// What lived in segments that are gone, by their indexes.
    pub(crate) rows: Vec<IndexRow>,
    /// Of some hole no index tells what was in it.
    pub(crate) are_some_missing: bool,
}

impl LostRows {
    /// Of the entries `first..=last` of `log`, which is that of `group`, those that were in the holes and nowhere else; `None` if that
    /// is not known.
    pub(crate) fn of(
        &self,
        group: GroupId,
        (first, last): (Index, Index),
        log: &GroupLog,
    ) -> Option<Vec<Lost>> {
        if self.are_some_missing {
            return None;
        }
        let mut lost: Vec<Lost> = Vec::new();
        for row in self.rows.iter().filter(|row| row.group == group) {
            let row_last = Index((row.first.0 + u64::from(row.count)).saturating_sub(1));
            // The same entry once more, or one that took its place.
            let is_here = |record: &Record| record.term == row.term || record.batch > row.batch;
            for index in (row.first.max(first).0..=row_last.min(last).0).map(Index) {
                if !log.record_at(index).is_some_and(is_here) {
                    lost.push(Lost::record(group, index, 1, row.term));
                }
            }
        }
        lost.sort_unstable_by_key(|range| (range.first, range.term));
        lost.dedup_by(|next, before| {
            let joins = before.term == next.term && before.last.is_some_and(|last| next.first <= last.next());
            if joins {
                before.last = before.last.max(next.last);
            }
            joins
        });
        (!lost.is_empty()).then_some(lost)
    }
}
