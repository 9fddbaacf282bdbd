//! Writers that wait for the entries of this replica's proposals to be applied.
//!
//! A replica that steps down does not know which of its entries will be committed; if it leads again before that is known,
//! its new entries take places that older ones had. So the waiters stand in the order of their indices, not of their arrival.

use std::collections::VecDeque;

use raft::{EntryId, Index, Time};

use super::request::ReplyTo;

/// A writer, and the entry it waits for.
pub(super) struct Waiter {
    pub(super) id: EntryId,
    pub(super) to: ReplyTo,
    pub(super) deadline: Time,
}

/// All of one group.
#[derive(Default)]
pub(super) struct Waiters {
    /// By index; of one index the older term first.
    list: VecDeque<Waiter>,
    /// Some do not stand in the order of their deadlines.
    mixed: bool,
}

impl Waiters {
    /// Adds who waits for an entry of the newest term, behind those before it.
    pub(super) fn add(&mut self, waiter: Waiter) {
        let in_order = |last: &Waiter| last.id.index < waiter.id.index;
        if self.list.back().is_none_or(in_order) {
            return self.list.push_back(waiter);
        }
        runtime::mark!("write.waits_among_older");
        self.mixed = true;
        let place = self.list.partition_point(|other| other.id.index <= waiter.id.index);
        self.list.insert(place, waiter);
    }

    /// Who waits for entry `id`, which is committed, if anyone. `lost` are those whose entry lost its place: another is
    /// committed there, so theirs never will be.
    pub(super) fn take(&mut self, id: EntryId, mut lost: impl FnMut(ReplyTo)) -> ReplyTo {
        let mut found = ReplyTo::Nobody;
        while self.list.front().is_some_and(|front| front.id.index <= id.index)
            && let Some(waiter) = self.list.pop_front()
        {
            let mine = waiter.id == id
                || waiter.id.index == id.index && runtime::mutant!("write.wrong_entry_answers");
            if mine && found == ReplyTo::Nobody { found = waiter.to } else { lost(waiter.to) }
        }
        found
    }

    /// The state jumped to `to`: takes out those who waited for what is behind, whose fate is not known any more.
    pub(super) fn drop_to(&mut self, to: Index, mut dropped: impl FnMut(ReplyTo)) {
        while self.list.front().is_some_and(|waiter| waiter.id.index <= to)
            && let Some(waiter) = self.list.pop_front()
        {
            dropped(waiter.to);
        }
    }

    /// Takes out those whose deadline has passed: what becomes of their entries is not known.
    pub(super) fn expire(&mut self, now: Time, mut expired: impl FnMut(ReplyTo)) {
        let is_over = |waiter: &Waiter| waiter.deadline <= now;
        if self.mixed {
            self.list.retain(|waiter| {
                if is_over(waiter) {
                    expired(waiter.to);
                }
                !is_over(waiter)
            });
            self.mixed = !self.list.is_empty();
            return;
        }
        while self.list.front().is_some_and(is_over)
            && let Some(waiter) = self.list.pop_front()
        {
            expired(waiter.to);
        }
    }

    /// The newest entry that somebody waits for.
    pub(super) fn newest(&self) -> Option<EntryId> {
        self.list.iter().map(|waiter| waiter.id).max()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[cfg(feature = "simulation")]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use raft::Term;

    use super::*;

    fn waiters(of: &[(u64, u64)]) -> Waiters {
        let mut waiters = Waiters::default();
        for (call, (term, index)) in of.iter().enumerate() {
            let (to, deadline) = (ReplyTo::Handle { call: call as u64 }, Time(call as u64));
            waiters.add(Waiter { id: EntryId::new(Term(*term), Index(*index)), to, deadline });
        }
        waiters
    }

    fn call(to: ReplyTo) -> u64 {
        let ReplyTo::Handle { call } = to else { panic!("{to:?}") };
        call
    }

    /// Who is answered by the entry, and who lost.
    fn taken(waiters: &mut Waiters, term: u64, index: u64) -> (Option<u64>, Vec<u64>) {
        let mut lost = Vec::new();
        let found = waiters.take(EntryId::new(Term(term), Index(index)), |to| lost.push(call(to)));
        ((found != ReplyTo::Nobody).then(|| call(found)), lost)
    }

    #[test]
    fn who_waits_for_another_entry_at_the_place_has_lost() {
        let mut waiters = waiters(&[(2, 5), (2, 6), (2, 7)]);
        assert_eq!(taken(&mut waiters, 1, 4), (None, vec![]));
        assert_eq!(taken(&mut waiters, 2, 5), (Some(0), vec![]));
        assert_eq!(taken(&mut waiters, 3, 6), (None, vec![1]));
        assert_eq!(taken(&mut waiters, 2, 8), (None, vec![2]));
        assert!(waiters.is_empty());
    }

    #[test]
    fn entries_of_two_leaderships_are_told_apart() {
        // Two of term 3 are unknown when term 5 begins in the place of the first.
        let mut waiters = waiters(&[(3, 48), (3, 49), (5, 48), (5, 49), (5, 50)]);
        assert_eq!(waiters.newest(), Some(EntryId::new(Term(5), Index(50))));
        assert_eq!(
            taken(&mut waiters, 5, 48),
            (Some(2), vec![0]),
            "seed 310258: it was told that it had lost"
        );
        assert_eq!(taken(&mut waiters, 5, 49), (Some(3), vec![1]));
        assert_eq!(taken(&mut waiters, 5, 50), (Some(4), vec![]));
    }

    #[test]
    fn deadlines_and_jumps_take_those_they_concern() {
        let mut waiters = waiters(&[(3, 48), (3, 49), (5, 48), (5, 50)]);
        let mut expired = Vec::new();
        waiters.expire(Time(1), |to| expired.push(call(to)));
        assert_eq!(expired, [0, 1], "though 2 stands before 1");
        let mut dropped = Vec::new();
        waiters.drop_to(Index(49), |to| dropped.push(call(to)));
        assert_eq!(dropped, [2]);
        waiters.expire(Time(9), |to| dropped.push(call(to)));
        assert_eq!((dropped, waiters.is_empty()), (vec![2, 3], true));
    }
}
