//! The answers of a turn, gathered while replicas apply and handed out once at its end.

use super::request::{Outcome, ReplyTo};
use crate::state_machine::Lookups;

/// A walk over files asks for so many blocks at a time: a quarter of a megabyte. Most walks are short.
const WALK_BLOCKS: usize = 16;

/// The answers of one turn: one arena of bytes, one list of places. Reused from turn to turn.
#[derive(Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
    list: Vec<Answer>,
    lookups: Lookups,
}

struct Answer {
    to: ReplyTo,
    outcome: Outcome,
    start: usize,
    end: usize,
}

impl Answers {
    /// Answers of machines that look into their files so.
    pub(crate) fn new(lookups: Lookups) -> Answers {
        Answers { lookups, ..Answers::default() }
    }

    /// How machines look into their files.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Adds a machine's answer and says where it stands. `None`: what it looked at is not in memory, and is asked for now. With
    /// `waits` it is waited for instead.
    pub(crate) fn ask(
        &mut self,
        to: ReplyTo,
        waits: bool,
        query: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let (start, place) = (self.bytes.len(), self.next());
        let bytes = &mut self.bytes;
        if waits {
            let _waited = self.lookups.noting(|| query(bytes));
        } else if self.lookups.at_hand(WALK_BLOCKS, || query(bytes)).is_err()
            && !runtime::mutant!("read.answers_what_it_missed")
        {
            self.bytes.truncate(start);
            return None;
        }
        self.push_written(to, Outcome::Done, start);
        Some(place)
    }

    /// Has asked for what a machine looks at that is not in memory, and no more than that.
    pub(crate) fn probe(&mut self, query: impl FnOnce(&mut Vec<u8>)) {
        let (start, bytes) = (self.bytes.len(), &mut self.bytes);
        let _asked_for = self.lookups.at_hand(WALK_BLOCKS, || query(bytes));
        self.bytes.truncate(start);
    }

    /// Where the next answer will stand in this turn, to take it back before it leaves.
    pub(crate) fn next(&self) -> usize {
        self.list.len()
    }

    /// Takes an answer back: its request will be answered later.
    pub(crate) fn take_back(&mut self, place: usize) {
        if let Some(answer) = self.list.get_mut(place) {
            answer.to = ReplyTo::Nobody;
        }
    }

    /// Adds an answer whose bytes `fill` appends. Nobody's answer is written and forgotten, as a state
    /// machine's reply is part of applying.
    pub(crate) fn push(&mut self, to: ReplyTo, outcome: Outcome, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        fill(&mut self.bytes);
        self.push_written(to, outcome, start);
    }

    fn push_written(&mut self, to: ReplyTo, outcome: Outcome, start: usize) {
        if to == ReplyTo::Nobody {
            self.bytes.truncate(start);
        } else {
            self.list.push(Answer { to, outcome, start, end: self.bytes.len() });
        }
    }

    /// Whether reads are to wait for the next turn: this one has answered enough.
    pub(crate) fn are_full(&self) -> bool {
        self.bytes.len() >= BYTES_PER_TURN_MAX
    }

    /// Adds an answer without bytes: the reader words the error.
    pub(crate) fn fail(&mut self, to: ReplyTo, outcome: Outcome) {
        self.push(to, outcome, |_| {});
    }

    /// Hands every answer out, in the order given, and empties the list.
    pub(crate) fn drain(&mut self, mut deliver: impl FnMut(ReplyTo, Outcome, &[u8])) {
        for answer in self.list.drain(..) {
            deliver(answer.to, answer.outcome, &self.bytes[answer.start..answer.end]);
        }
        self.bytes.clear();
        // A turn that answered huge values must not pin their memory for ever.
        self.bytes.shrink_to(ARENA_BYTES_KEPT_MAX);
    }
}

/// Reads are answered in one turn up to so many bytes: a few milliseconds' copying, above one largest value.
const BYTES_PER_TURN_MAX: usize = 17 << 20;

/// What the arena keeps between turns: an ordinary turn's replies, not its largest.
const ARENA_BYTES_KEPT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_out_in_order_with_their_bytes() {
        let mut answers = Answers::default();
        answers.push(ReplyTo::Handle { call: 1 }, Outcome::Done, |out| out.extend_from_slice(b"one"));
        answers.push(ReplyTo::Nobody, Outcome::Done, |out| out.extend_from_slice(b"dropped"));
        answers.fail(ReplyTo::Handle { call: 2 }, Outcome::Unknown);
        let mut seen = Vec::new();
        answers.drain(|to, outcome, bytes| seen.push((to, outcome, bytes.to_vec())));
        assert_eq!(
            seen,
            [
                (ReplyTo::Handle { call: 1 }, Outcome::Done, b"one".to_vec()),
                (ReplyTo::Handle { call: 2 }, Outcome::Unknown, Vec::new()),
            ]
        );
        answers.drain(|_, _, _| panic!("drained once"));
        answers.fail(ReplyTo::Handle { call: 3 }, Outcome::Done);
        let place = answers.next();
        answers.fail(ReplyTo::Handle { call: 4 }, Outcome::Done);
        answers.take_back(place);
        let mut seen = Vec::new();
        answers.drain(|to, _, _| seen.push(to));
        assert_eq!(seen, [ReplyTo::Handle { call: 3 }, ReplyTo::Nobody]);
    }
}
