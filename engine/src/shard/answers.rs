//! The answers of a turn, gathered while replicas apply and handed out once at its end.

use super::request::{Outcome, ReplyTo};

/// The answers of one turn: one arena of bytes, one list of places. Reused from turn to turn.
#[derive(Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
    list: Vec<Answer>,
}

struct Answer {
    to: ReplyTo,
    outcome: Outcome,
    start: usize,
    end: usize,
}

impl Answers {
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
