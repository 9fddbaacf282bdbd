//! Reads that a leader left unanswered when it stepped down, in front of writes that it had proposed.
//!
//! One connection's requests take effect in the order sent. The writes may still be committed, by whoever leads now, and a
//! read asked elsewhere could see them, though it was sent before them. So it waits where they wait:
//! - An entry of the term in which it arrived is applied behind the state that the read may see: the read is answered just
//!   before. What was acknowledged before the read arrived is in the state, for it stands in the log before this entry,
//!   which was proposed later.
//! - Another entry takes that place: the writes are lost, so the read is refused as they are.
//!
//! Reads without writes behind them are asked elsewhere.

use std::collections::VecDeque;

use raft::{EntryId, Index, Time};

use super::answers::Answers;
use super::applying::COLD_ROUNDS_MAX;
use super::replica::Replica;
use super::request::{Outcome, ReplyTo, Request};
use crate::state_machine::StateMachine;

/// Such reads of one group by where they arrived, and there in order of arrival.
#[derive(Default)]
pub(crate) struct LeftReads(VecDeque<(EntryId, Request)>);

impl LeftReads {
    /// Keeps those of `reads` that have an entry of their term behind them, up to `newest`, which somebody waits for;
    /// returns the others. Each comes with the term and the last index when it arrived.
    fn keep(&mut self, reads: Vec<(EntryId, Request)>, newest: Option<EntryId>) -> Vec<Request> {
        let mut rest = Vec::new();
        for (at, request) in reads {
            let waits = newest.is_some_and(|newest| newest.term == at.term && newest.index > at.index);
            if waits && !runtime::mutant!("read.behind_later_writes") {
                runtime::mark!("read.left_behind");
                // Some of an earlier leadership may wait for places that were given again since.
                let place = self.0.partition_point(|(other, _)| other.index <= at.index);
                self.0.insert(place, (at, request));
            } else {
                rest.push(request);
            }
        }
        rest
    }

    /// Entry `next` is about to be applied: hands out those that are to be answered or refused (`false`) before. Ends, and
    /// returns false, as soon as `answer` does.
    fn settle(&mut self, next: EntryId, mut answer: impl FnMut(&Request, bool) -> bool) -> bool {
        while let Some((at, request)) = self.0.front().filter(|(at, _)| at.index < next.index) {
            if !answer(request, at.term == next.term) {
                return false;
            }
            self.0.pop_front();
        }
        true
    }

    /// The state jumped to `to`: what would have been seen on the way is not known.
    pub(crate) fn drop_before(&mut self, to: Index, mut dropped: impl FnMut(ReplyTo)) {
        while self.0.front().is_some_and(|(at, _)| at.index < to)
            && let Some((_, request)) = self.0.pop_front()
        {
            dropped(request.head.reply_to);
        }
    }

    /// Removes and names those whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Time, mut expired: impl FnMut(ReplyTo)) {
        self.0.retain(|(_, request)| {
            let is_over = request.head.deadline <= now;
            if is_over {
                expired(request.head.reply_to);
            }
            !is_over
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: StateMachine> Replica<S> {
    /// This replica no longer leads. Writers keep waiting: their entries may still commit, and applying tells which did.
    /// Reads in front of writes wait with them; the others can be asked elsewhere.
    pub(crate) fn stepped_down(&mut self) {
        self.disks.clear();
        let reads = self.left.keep(self.reads.take_all(), self.waiters.newest());
        self.route.hold_in_front(reads);
    }

    /// Answers or refuses the reads that were left in front of `next`, which is about to be applied. False: the turn is
    /// full, some must wait, and so must the entry.
    pub(super) fn serve_left(&mut self, next: EntryId, answers: &mut Answers) -> bool {
        let (machine, cold_rounds, is_cold) = (&self.machine, &mut self.cold_rounds, &mut self.is_cold);
        self.left.settle(next, |request, ours| {
            let (to, full) = (request.head.reply_to, answers.are_full());
            if !ours {
                answers.fail(to, Outcome::Refused);
                return true;
            }
            if full {
                return false;
            }
            let waits = *cold_rounds >= COLD_ROUNDS_MAX;
            let is_answered = answers.ask(to, waits, |out| machine.query(&request.bytes, out)).is_some();
            *is_cold |= !is_answered;
            *cold_rounds = if is_answered { 0 } else { *cold_rounds + 1 };
            is_answered
        })
    }
}

#[cfg(test)]
mod tests {
    use raft::{GroupId, Term};

    use super::super::request::{Kind, RequestHead};
    use super::*;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    /// Reads that arrived at these places, by number.
    fn reads(places: &[EntryId]) -> Vec<(EntryId, Request)> {
        let request = |call: usize| {
            let (reply_to, deadline) = (ReplyTo::Handle { call: call as u64 }, Time(call as u64));
            let head =
                RequestHead { group: GroupId(1), kind: Kind::Read, reply_to, deadline, proxied: false };
            Request { head, bytes: Vec::new() }
        };
        places.iter().enumerate().map(|(call, at)| (*at, request(call))).collect()
    }

    fn call(to: ReplyTo) -> u64 {
        let ReplyTo::Handle { call } = to else { panic!("{to:?}") };
        call
    }

    fn settled(left: &mut LeftReads, next: EntryId) -> Vec<(u64, bool)> {
        let mut settled = Vec::new();
        assert!(left.settle(next, |request, ours| {
            settled.push((call(request.head.reply_to), ours));
            true
        }));
        settled
    }

    #[test]
    fn a_read_in_front_of_writes_waits_for_them_and_the_others_are_asked_elsewhere() {
        let mut left = LeftReads::default();
        let rest = left.keep(reads(&[id(2, 5), id(2, 5), id(2, 7), id(2, 8)]), Some(id(2, 8)));
        assert_eq!(rest.iter().map(|read| call(read.head.reply_to)).collect::<Vec<_>>(), [3]);
        assert_eq!(settled(&mut left, id(1, 5)), [], "they have to see this");
        assert_eq!(settled(&mut left, id(2, 6)), [(0, true), (1, true)]);
        assert_eq!(settled(&mut left, id(2, 7)), []);
        assert_eq!(settled(&mut left, id(3, 8)), [(2, false)], "the write is lost, and the read with it");
        assert!(left.is_empty());
    }

    #[test]
    fn writes_of_an_earlier_term_keep_no_read() {
        let mut left = LeftReads::default();
        assert_eq!(left.keep(reads(&[id(2, 5)]), Some(id(1, 9))).len(), 1);
        assert_eq!(left.keep(reads(&[id(2, 5)]), None).len(), 1);
        assert!(left.is_empty());
    }

    #[test]
    fn reads_of_two_leaderships_are_told_apart() {
        let mut left = LeftReads::default();
        let _ = left.keep(reads(&[id(3, 48)]), Some(id(3, 49)));
        let _ = left.keep(reads(&[id(5, 46), id(5, 47)]), Some(id(5, 48)));
        assert_eq!(settled(&mut left, id(5, 47)), [(0, true)], "it came later and stands before");
        assert_eq!(settled(&mut left, id(5, 48)), [(1, true)]);
        assert_eq!(settled(&mut left, id(5, 49)), [(0, false)]);
    }

    #[test]
    fn a_full_turn_keeps_the_rest_and_jumps_and_deadlines_drop_them() {
        let mut left = LeftReads::default();
        let _ = left.keep(reads(&[id(2, 5), id(2, 5), id(2, 7), id(2, 9)]), Some(id(2, 10)));
        let mut room = 1;
        assert!(!left.settle(id(2, 6), |_, _| {
            room -= 1;
            room >= 0
        }));
        assert_eq!(left.0.len(), 3);
        let mut dropped = Vec::new();
        left.drop_before(Index(7), |to| dropped.push(call(to)));
        left.expire(Time(2), |to| dropped.push(call(to)));
        assert_eq!((dropped, left.0.len()), (vec![1, 2], 1));
    }
}
