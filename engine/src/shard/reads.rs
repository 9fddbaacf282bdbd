//! Reads that wait: for proof that we still lead, and for the writes before them to be applied.
//!
//! A read is linearizable when it sees the state at some index that was committed no earlier than the read
//! arrived, from a leader that still led then (Raft thesis 6.4). Two proofs serve:
//! - a round of the leader's, begun after the read arrived, that a quorum acknowledged ([`ReadId`]), or
//! - the commit of an entry that this leader proposed after the read arrived: its quorum acknowledged this
//!   leader later still. So a read is answered at the latest just before the entry behind it is applied,
//!   which also keeps it from seeing its own connection's later writes.

use std::collections::VecDeque;

use raft::{Index, ReadId, Time};

use super::request::{ReplyTo, Request, RequestHead};

/// The reads of one group that wait, in order of arrival.
#[derive(Default)]
pub(crate) struct ReadQueue {
    /// The encoded queries, one after the other; emptied when the queue is.
    bytes: Vec<u8>,
    queue: VecDeque<WaitingRead>,
    /// Reads up to this one are confirmed by a round.
    confirmed: Option<ReadId>,
}

struct WaitingRead {
    head: RequestHead,
    id: ReadId,
    /// The last index proposed when the read arrived: it sees at least this and, from this leader's term,
    /// nothing later than what is applied when it is answered.
    at: Index,
    start: usize,
    end: usize,
}

impl ReadQueue {
    /// Adds a read that arrived after `at` was proposed; `fill` appends the encoded query.
    pub(crate) fn push(&mut self, head: RequestHead, id: ReadId, at: Index, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        fill(&mut self.bytes);
        self.queue.push_back(WaitingRead { head, id, at, start, end: self.bytes.len() });
    }

    /// All reads up to and with `id` are confirmed by a round.
    pub(crate) fn confirm(&mut self, id: ReadId) {
        self.confirmed = self.confirmed.max(Some(id));
    }

    /// Answers the reads that may be answered in the state at `applied`. `next_commits` says that the entry
    /// after `applied` is committed in this leader's term and about to be applied: the second proof.
    pub(crate) fn serve(
        &mut self,
        applied: Index,
        next_commits: bool,
        mut answer: impl FnMut(ReplyTo, &[u8]),
    ) {
        while let Some(read) = self.queue.front() {
            let proven = self.confirmed >= Some(read.id) || next_commits;
            if read.at > applied || !proven {
                break; // `at` and `id` never fall along the queue, so no later one may go either
            }
            answer(read.head.reply_to, &self.bytes[read.start..read.end]);
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.bytes.clear();
        }
    }

    /// Takes every waiting read out, to be asked again elsewhere: nothing has been answered.
    pub(crate) fn take_all(&mut self) -> Vec<Request> {
        let bytes = &self.bytes;
        let all = self
            .queue
            .drain(..)
            .map(|read| Request { head: read.head, bytes: bytes[read.start..read.end].to_vec() });
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
