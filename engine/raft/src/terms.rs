//! The log as the core sees it: which term each entry is of, and nothing else. Run-length: one
//! `(first index, term)` per leader, so that every question costs the number of terms, not entries.

use smallvec::SmallVec;

use crate::id::{EntryId, Index, Term};
use crate::message::{TermRun, TermRuns};

/// The terms of `compacted.index ..= last`. Nearly all questions are about the end of the log, so that is looked at
/// first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    compacted: EntryId,
    /// Ascending in both; the first begins at `compacted.index + 1` unless the log is empty.
    runs: SmallVec<[TermRun; 2]>,
    last: Index,
}

impl Terms {
    /// `None` if the parts do not describe a log.
    pub(crate) fn restore(compacted: EntryId, runs: &[TermRun], last: Index) -> Option<Terms> {
        let fits = last >= compacted.index && runs_describe(compacted, last, runs);
        fits.then(|| Terms { compacted, runs: SmallVec::from_slice(runs), last })
    }

    pub(crate) fn compacted(&self) -> EntryId {
        self.compacted
    }

    #[inline]
    pub(crate) fn last(&self) -> EntryId {
        let term = self.runs.last().map_or(self.compacted.term, |run| run.term);
        EntryId::new(term, self.last)
    }

    /// The run that holds `index`, and the last index of it. `index` must be in the log.
    fn run_at(&self, index: Index) -> (TermRun, Index) {
        let after = self.runs.partition_point(|run| run.first <= index);
        let run_last = self.runs.get(after).map_or(self.last, |next| next.first.previous());
        (self.runs[after - 1], run_last)
    }

    /// `None` if `index` is compacted away or beyond the end.
    #[inline]
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if let Some(run) = self.runs.last()
            && run.first <= index
        {
            return (index <= self.last).then_some(run.term);
        }
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        let inside = self.compacted.index < index && index <= self.last;
        inside.then(|| self.run_at(index).0.term)
    }

    /// The id at `index`, with the same `None` as [`Terms::term_at`].
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        self.term_at(index).map(|term| EntryId::new(term, index))
    }

    /// Adds entries of `term` up to `last`.
    pub(crate) fn append(&mut self, term: Term, last: Index) {
        debug_assert!(last > self.last && term >= self.last().term);
        if self.runs.last().is_none_or(|run| run.term != term) {
            self.runs.push(TermRun { first: self.last.next(), term });
        }
        self.last = last;
    }

    /// Adds the entries after the present end that `runs` and `last` describe.
    pub(crate) fn extend(&mut self, runs: &[TermRun], last: Index) {
        if let [run] = runs {
            if last > self.last {
                self.append(run.term, last);
            }
            return;
        }
        for (at, run) in runs.iter().enumerate() {
            let run_last = runs.get(at + 1).map_or(last, |next| next.first.previous());
            if run_last > self.last {
                self.append(run.term, run_last);
            }
        }
    }

    /// Drops the entries from `first` on. `first` must not be compacted.
    pub(crate) fn truncate_from(&mut self, first: Index) {
        debug_assert!(first > self.compacted.index && first <= self.last);
        let keep = self.runs.partition_point(|run| run.first < first);
        self.runs.truncate(keep);
        self.last = first.previous();
    }

    /// Forgets the entries up to `to`, which must be in the log; `to` itself stays known by its id.
    pub(crate) fn compact(&mut self, to: EntryId) {
        if to.index <= self.compacted.index {
            return;
        }
        debug_assert_eq!(self.term_at(to.index), Some(to.term));
        let first = to.index.next();
        let gone = self.runs.partition_point(|run| run.first <= first).saturating_sub(1);
        self.runs.drain(..gone);
        self.compacted = to;
        if to.index == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.first_mut() {
            run.first = first;
        }
    }

    /// Forgets everything: the log starts after `id`.
    pub(crate) fn reset(&mut self, id: EntryId) {
        *self = Terms { compacted: id, runs: SmallVec::new(), last: id.index };
    }

    /// The terms of `first ..= last`, none if that is empty.
    pub(crate) fn runs(&self, first: Index, last: Index) -> TermRuns {
        debug_assert!(first > self.compacted.index && last <= self.last);
        if first > last {
            return TermRuns::new();
        }
        if let Some(run) = self.runs.last()
            && run.first <= first
        {
            return TermRuns::from_buf([TermRun { first, term: run.term }]);
        }
        let from = self.runs.partition_point(|run| run.first <= first) - 1;
        let parts = self.runs[from..].iter().take_while(|run| run.first <= last);
        parts.map(|run| TermRun { first: run.first.max(first), term: run.term }).collect()
    }

    /// The newest entry that is at most `index` and of a term of at most `term`, the compacted one
    /// if no other is: where a log that has `index` of `term` can agree with this one at the
    /// earliest look. One step skips whole terms (thesis 3.5, "fast backup").
    pub(crate) fn newest_until(&self, index: Index, term: Term) -> EntryId {
        let index = index.min(self.last);
        let known = self.runs.partition_point(|run| run.first <= index && run.term <= term);
        if index <= self.compacted.index || known == 0 {
            return self.compacted;
        }
        let run = self.runs[known - 1];
        let run_last = self.runs.get(known).map_or(self.last, |next| next.first.previous());
        EntryId::new(run.term, run_last.min(index))
    }

    /// The first index in `first ..= last` where this log has no entry or one of another term than
    /// `runs` say, which describe all of that.
    pub(crate) fn first_difference(&self, first: Index, last: Index, runs: &[TermRun]) -> Option<Index> {
        if first > self.last {
            return (first <= last).then_some(first);
        }
        for (at, run) in runs.iter().enumerate() {
            let run_last = runs.get(at + 1).map_or(last, |next| next.first.previous()).min(last);
            let mut index = run.first.max(first);
            while index <= run_last {
                if index > self.last {
                    return Some(index);
                }
                let (own, own_last) = self.run_at(index);
                if own.term != run.term {
                    return Some(index);
                }
                index = own_last.min(run_last).next();
            }
        }
        None
    }
}

/// Whether `runs` are the terms of `prev.index + 1 ..= last`: gapless, ascending, and not before
/// `prev`'s term.
pub(crate) fn runs_describe(prev: EntryId, last: Index, runs: &[TermRun]) -> bool {
    let Some(first) = runs.first() else { return last == prev.index };
    first.first == prev.index.next()
        && first.term >= prev.term
        && first.term > Term(0)
        && runs.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term)
        && runs[runs.len() - 1].first <= last
}

/// The term `runs` give `index`, if they reach back that far.
pub(crate) fn term_in(runs: &[TermRun], index: Index) -> Option<Term> {
    let after = runs.partition_point(|run| run.first <= index);
    after.checked_sub(1).map(|at| runs[at].term)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of one entry per listed term, after `compacted`.
    fn log(compacted: EntryId, terms: &[u64]) -> Terms {
        let mut log = Terms::restore(compacted, &[], compacted.index).expect("an empty log");
        for &term in terms {
            log.append(Term(term), log.last().index.next());
        }
        log
    }

    fn terms_of(log: &Terms) -> Vec<u64> {
        (log.compacted().index.0 + 1..=log.last().index.0)
            .map(|index| log.term_at(Index(index)).unwrap().0)
            .collect()
    }

    #[test]
    fn every_operation_agrees_with_a_plain_list_of_terms() {
        let plain = [1, 1, 2, 4, 4, 4, 7];
        for first in 1..=7_usize {
            for last in first..=7 {
                let whole = log(EntryId::ZERO, &plain);
                let runs = whole.runs(Index(first as u64), Index(last as u64));
                for index in first..=last {
                    assert_eq!(term_in(&runs, Index(index as u64)), Some(Term(plain[index - 1])));
                }
                let mut cut = whole.clone();
                cut.truncate_from(Index(first as u64));
                assert_eq!(terms_of(&cut), plain[..first - 1]);
                let mut tail = whole.clone();
                tail.compact(whole.id_at(Index(first as u64)).unwrap());
                assert_eq!(terms_of(&tail), plain[first..]);
                assert_eq!(tail.last(), whole.last());
            }
        }
    }

    #[test]
    fn conflict_search_skips_whole_terms() {
        let follower = log(EntryId::ZERO, &[1, 1, 3, 3, 3, 5]);
        assert_eq!(follower.newest_until(Index(9), Term(4)), EntryId::new(Term(3), Index(5)));
        assert_eq!(follower.newest_until(Index(9), Term(2)), EntryId::new(Term(1), Index(2)));
        assert_eq!(follower.newest_until(Index(4), Term(9)), EntryId::new(Term(3), Index(4)));
        assert_eq!(follower.newest_until(Index(6), Term(0)), EntryId::ZERO);
        let short = log(EntryId::new(Term(3), Index(4)), &[3]);
        assert_eq!(short.newest_until(Index(3), Term(1)), EntryId::new(Term(3), Index(4)));
    }

    #[test]
    fn first_difference_finds_conflicts_and_the_end() {
        let own = log(EntryId::ZERO, &[1, 1, 2, 2]);
        let other = log(EntryId::ZERO, &[1, 1, 2, 3, 3]);
        let difference = |first: u64, last: u64| {
            own.first_difference(Index(first), Index(last), &other.runs(Index(first), Index(last)))
        };
        assert_eq!(difference(1, 3), None);
        assert_eq!(difference(1, 5), Some(Index(4)));
        assert_eq!(difference(3, 3), None);
        let longer = log(EntryId::ZERO, &[1, 1, 2, 2, 2]);
        let runs = longer.runs(Index(2), Index(5));
        assert_eq!(own.first_difference(Index(2), Index(5), &runs), Some(Index(5)));
    }

    #[test]
    fn malformed_runs_are_told() {
        let prev = EntryId::new(Term(2), Index(4));
        let run = |first, term| TermRun { first: Index(first), term: Term(term) };
        assert!(runs_describe(prev, Index(4), &[]));
        assert!(runs_describe(prev, Index(9), &[run(5, 2), run(7, 3)]));
        assert!(!runs_describe(prev, Index(5), &[]), "an entry without a term");
        assert!(!runs_describe(prev, Index(9), &[run(6, 2)]), "a gap");
        assert!(!runs_describe(prev, Index(9), &[run(5, 1)]), "a term before prev's");
        assert!(!runs_describe(prev, Index(9), &[run(5, 3), run(7, 3)]), "a split run");
        assert!(!runs_describe(prev, Index(6), &[run(5, 2), run(7, 3)]), "beyond the last");
        assert!(!runs_describe(EntryId::ZERO, Index(1), &[run(1, 0)]), "an entry of term 0");
    }
}
