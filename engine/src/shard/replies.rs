//! One connection's replies: they leave in the order of its commands, whenever they become known.

use std::collections::VecDeque;

use smallvec::SmallVec;

/// A reply that waits for those before it. Most are a few bytes (`+OK`, an integer).
type Waiting = SmallVec<[u8; 32]>;

enum Slot {
    /// Asked, not answered.
    Open,
    /// Answered, waiting for an older one.
    Ready(Waiting),
}

/// The replies a connection is owed.
#[derive(Default)]
pub(crate) struct ReplyQueue {
    /// The number of the front slot; numbers never repeat on a connection.
    first: u64,
    slots: VecDeque<Slot>,
    /// Bytes in `Ready` slots: they count against the connection's bound.
    waiting_bytes: usize,
}

impl ReplyQueue {
    /// Reserves the next reply and names it.
    pub(crate) fn open(&mut self) -> u64 {
        self.slots.push_back(Slot::Open);
        self.first + self.slots.len() as u64 - 1
    }

    /// Adds a reply that is known at once.
    pub(crate) fn push(&mut self, reply: &[u8], out: &mut Vec<u8>) {
        if self.slots.is_empty() {
            self.first += 1;
            out.extend_from_slice(reply);
        } else {
            self.waiting_bytes += reply.len();
            self.slots.push_back(Slot::Ready(Waiting::from_slice(reply)));
        }
    }

    /// Fills slot `slot` with what `write` appends; what can leave now is appended to `out`. An unknown or
    /// already filled slot is ignored: its answer came twice, by deadline and late.
    pub(crate) fn fill_with(&mut self, slot: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(place) = slot.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        match self.slots.get_mut(place) {
            Some(open @ Slot::Open) if place > 0 => {
                let start = out.len();
                write(out);
                let reply = Waiting::from_slice(&out[start..]);
                out.truncate(start);
                self.waiting_bytes += reply.len();
                *open = Slot::Ready(reply);
            }
            Some(Slot::Open) => {
                write(out);
                self.slots.pop_front();
                self.first += 1;
                self.release(out);
            }
            Some(Slot::Ready(_)) | None => {}
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        while let Some(Slot::Ready(reply)) = self.slots.front() {
            out.extend_from_slice(reply);
            self.waiting_bytes -= reply.len();
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Commands not answered yet, and answered ones that wait behind them.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of replies that wait for older ones.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_the_order_of_commands() {
        let (mut queue, mut out) = (ReplyQueue::default(), Vec::new());
        queue.push(b"now;", &mut out);
        let (first, second) = (queue.open(), queue.open());
        queue.push(b"local;", &mut out);
        let fill = |queue: &mut ReplyQueue, slot, reply: &[u8], out: &mut Vec<u8>| {
            queue.fill_with(slot, out, |out| out.extend_from_slice(reply));
        };
        fill(&mut queue, second, b"second;", &mut out);
        assert_eq!(out, b"now;");
        assert_eq!(queue.waiting_bytes(), 13);
        fill(&mut queue, first, b"first;", &mut out);
        assert_eq!(out, b"now;first;second;local;");
        assert!(queue.is_empty());
        assert_eq!(queue.waiting_bytes(), 0);
        let third = queue.open();
        fill(&mut queue, first, b"late", &mut out);
        fill(&mut queue, third, b"third", &mut out);
        fill(&mut queue, third, b"again", &mut out);
        assert_eq!(out, b"now;first;second;local;third");
    }
}
