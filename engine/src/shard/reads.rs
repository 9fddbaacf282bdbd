//! Reads that wait: for proof that we still lead, and for the writes before them to be applied.
//!
//! A read is linearizable when it sees the state at some index that was committed no earlier than the read
//! arrived, from a leader that still led then (Raft thesis 6.4). Three proofs serve:
//! - a round of the leader's, begun after the read arrived, that a quorum acknowledged ([`ReadId`]), or
//! - the commit of an entry that this leader proposed after the read arrived: its quorum acknowledged this
//!   leader later still. So a read is answered at the latest just before the entry behind it is applied,
//!   which also keeps it from seeing its own connection's later writes, or
//! - a lease, if lease reads are on: the clock says that nobody else can lead. Such an answer is tentative until the
//!   clock has been read again after the read ran, and taken back if the lease had ended by then.

use std::collections::VecDeque;

use raft::{EntryId, Index, ReadId, Time};

use super::request::{ReplyTo, Request, RequestHead};

/// The reads of one group that wait, in order of arrival.
#[derive(Default)]
pub(crate) struct ReadQueue {
    /// The encoded queries, one after the other; emptied when the queue is.
    bytes: Vec<u8>,
    queue: VecDeque<WaitingRead>,
    /// Answered by lease in this turn, with the places of the answers.
    tentative: Vec<(usize, WaitingRead)>,
    /// Reads up to this one are confirmed by a round.
    confirmed: Option<ReadId>,
}

struct WaitingRead {
    head: RequestHead,
    id: ReadId,
    /// A lease held when it was registered.
    by_lease: bool,
    /// The leader's term, and the last index proposed when the read arrived: it sees at least this and, from this
    /// term, nothing later than what is applied when it is answered.
    at: EntryId,
    start: usize,
    end: usize,
}

impl ReadQueue {
    /// Adds a read that arrived after `at` was proposed, in the term of `at`; `fill` appends the encoded query.
    pub(crate) fn push(
        &mut self,
        head: RequestHead,
        (id, by_lease): (ReadId, bool),
        at: EntryId,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        fill(&mut self.bytes);
        self.queue.push_back(WaitingRead { head, id, by_lease, at, start, end: self.bytes.len() });
    }

    /// All reads up to and with `id` are confirmed by a round.
    pub(crate) fn confirm(&mut self, id: ReadId) {
        self.confirmed = self.confirmed.max(Some(id));
    }

    /// Answers the reads that may be answered in the state at `applied`. `next_commits` says that the entry
    /// after `applied` is committed in this leader's term and about to be applied: the second proof. `answer` says
    /// where the answer stands; `None`: not in this turn. False if reads are left for that reason: then the next entry
    /// must wait, too.
    pub(crate) fn serve(
        &mut self,
        applied: Index,
        next_commits: bool,
        mut answer: impl FnMut(ReplyTo, &[u8]) -> Option<usize>,
    ) -> bool {
        while let Some(read) = self.queue.front() {
            let proven =
                self.confirmed >= Some(read.id) || next_commits || runtime::mutant!("read.without_round");
            if read.at.index > applied || !proven {
                break; // who is behind arrived later, or waits for less; each connection's come in order
            }
            let Some(place) = answer(read.head.reply_to, &self.bytes[read.start..read.end]) else {
                return false;
            };
            let read = self.queue.pop_front().expect("just seen");
            if read.by_lease && !next_commits {
                self.tentative.push((place, read));
            }
        }
        self.tidy();
        true
    }

    /// The queries that wait, in order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        self.queue.iter().map(|read| &self.bytes[read.start..read.end])
    }

    /// Whether answers of this turn hang on a lease.
    pub(crate) fn has_tentative(&self) -> bool {
        !self.tentative.is_empty()
    }

    /// The lease still held after they were given: they may go.
    pub(crate) fn settle(&mut self) {
        self.tentative.clear();
        self.tidy();
    }

    /// The lease had ended: takes the answers back. The reads wait again, before all others, for a round that confirms
    /// `id`, which was registered just now.
    pub(crate) fn ask_again(&mut self, id: ReadId, mut take_back: impl FnMut(usize)) {
        for (place, read) in self.tentative.drain(..).rev() {
            take_back(place);
            self.queue.push_front(WaitingRead { id, by_lease: false, ..read });
        }
    }

    fn tidy(&mut self) {
        if self.queue.is_empty() && self.tentative.is_empty() {
            self.bytes.clear();
        }
    }

    /// Takes every waiting read out, with the term and the index that it arrived at: nothing has been answered.
    pub(crate) fn take_all(&mut self) -> Vec<(EntryId, Request)> {
        let bytes = &self.bytes;
        let all = self
            .queue
            .drain(..)
            .map(|read| (read.at, Request { head: read.head, bytes: bytes[read.start..read.end].to_vec() }));
        let all = all.collect();
        self.bytes.clear();
        self.confirmed = None;
        all
    }

    /// Removes and names the reads at the front whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Time, mut expired: impl FnMut(ReplyTo)) {
        while self.queue.front().is_some_and(|read| read.head.deadline <= now) {
            let read = self.queue.pop_front().expect("just seen");
            expired(read.head.reply_to);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use raft::{GroupId, Term};

    use super::super::request::Kind;
    use super::*;

    fn push(reads: &mut ReadQueue, call: u64, by_lease: bool, at: u64) {
        let reply_to = ReplyTo::Handle { call };
        let head =
            RequestHead { group: GroupId(1), kind: Kind::Read, reply_to, deadline: Time(9), proxied: false };
        let at = EntryId::new(Term(1), Index(at));
        reads.push(head, (ReadId(call), by_lease), at, |out| out.push(u8::try_from(call).unwrap()));
    }

    fn served(reads: &mut ReadQueue, applied: u64, next_commits: bool) -> Vec<u8> {
        let mut seen = Vec::new();
        reads.serve(Index(applied), next_commits, |_, query| {
            seen.push(query[0]);
            Some(seen.len() - 1)
        });
        seen
    }

    const NONE: [u8; 0] = [];

    #[test]
    fn reads_wait_for_their_proof_and_for_the_writes_before_them() {
        let mut reads = ReadQueue::default();
        push(&mut reads, 1, false, 5);
        push(&mut reads, 2, false, 7);
        assert_eq!(served(&mut reads, 7, false), NONE, "no round yet");
        reads.confirm(ReadId(2));
        assert_eq!(served(&mut reads, 4, false), NONE);
        assert_eq!(served(&mut reads, 6, false), [1]);
        push(&mut reads, 3, false, 8);
        assert_eq!(served(&mut reads, 8, true), [2, 3], "the next entry commits: proof enough");
        assert!(reads.is_empty() && !reads.has_tentative() && reads.bytes.is_empty());
    }

    #[test]
    fn what_is_too_much_for_one_turn_is_answered_in_the_next() {
        let mut reads = ReadQueue::default();
        (1..=3).for_each(|call| push(&mut reads, call, false, 0));
        let mut room = 2;
        let all = reads.serve(Index(0), true, |_, _| {
            room -= 1;
            (room >= 0).then_some(0)
        });
        assert!(!all);
        assert_eq!(served(&mut reads, 0, true), [3]);
    }

    #[test]
    fn an_answer_by_lease_is_taken_back_when_the_lease_had_ended() {
        let mut reads = ReadQueue::default();
        push(&mut reads, 1, true, 0);
        push(&mut reads, 2, true, 0);
        push(&mut reads, 3, true, 9);
        reads.confirm(ReadId(3));
        assert_eq!(served(&mut reads, 3, false), [1, 2]);
        assert!(reads.has_tentative());
        let mut taken_back = Vec::new();
        reads.ask_again(ReadId(4), |place| taken_back.push(place));
        taken_back.sort_unstable();
        assert_eq!((taken_back, reads.has_tentative()), (vec![0, 1], false));
        assert_eq!(served(&mut reads, 9, false), NONE, "they wait for a round, and those behind them too");
        reads.confirm(ReadId(4));
        assert_eq!(served(&mut reads, 9, false), [1, 2, 3], "in their order");
        assert!(reads.has_tentative(), "the third is by lease");
        reads.settle();
        assert!(!reads.has_tentative() && reads.bytes.is_empty());
    }

    #[test]
    fn a_read_before_an_entry_that_commits_needs_no_lease() {
        let mut reads = ReadQueue::default();
        push(&mut reads, 1, true, 0);
        assert_eq!(served(&mut reads, 0, true), [1]);
        assert!(!reads.has_tentative());
    }
}
