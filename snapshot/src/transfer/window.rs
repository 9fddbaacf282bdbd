//! Which chunks of a file are under way: sent, and not answered.

use std::collections::VecDeque;

use super::message::{Message, TransferId};

/// How many chunks may be under way at a time. Enough that one is read and one written while others are in sockets; no more than
/// a receiver keeps waiting behind the one that it writes, since it gives up a sender that is further ahead.
pub const CHUNKS_UNDER_WAY_MAX: usize = 4;

/// The chunks of one file that are under way on the current connection.
///
/// The receiver answers each in order, by saying where it goes on: behind the chunk if it took it. If it did not, it takes none of
/// those that were sent behind it either, and answers them all the same. Taken for news, each of these answers would send the
/// sender back once more; so as many answers are ignored as chunks were under way when the first of them came.
#[derive(Debug)]
pub struct Window {
    transfer: TransferId,
    /// Where those end that count, in the order in which they were sent.
    ends: VecDeque<u64>,
    /// As many more answers are to come first, of chunks that will be sent again.
    stale: usize,
}

impl Window {
    /// Nothing of this transfer is under way.
    pub fn new(transfer: TransferId) -> Window {
        Window { transfer, ends: VecDeque::with_capacity(CHUNKS_UNDER_WAY_MAX), stale: 0 }
    }

    /// Whether no chunk may be sent before another answer. Chunks that will be sent again count, too: the receiver may have them
    /// all waiting.
    pub fn is_full(&self) -> bool {
        self.under_way() >= CHUNKS_UNDER_WAY_MAX
    }

    /// How many chunks are not answered.
    pub fn under_way(&self) -> usize {
        self.stale + self.ends.len()
    }

    /// A message was sent; only chunks count.
    pub fn sent(&mut self, message: &Message) {
        if let Message::Chunk(chunk) = message {
            self.ends.push_back(chunk.offset + u64::from(chunk.data_bytes));
        }
    }

    /// The receiver said this. It comes back if it is news to the [`Sender`](super::Sender), which does not hear that a chunk was
    /// taken.
    pub fn heard(&mut self, message: Message) -> Option<Message> {
        let Message::Resume { transfer, offset } = message else { return Some(message) };
        if transfer != self.transfer {
            return Some(message);
        }
        if self.stale > 0 {
            self.stale -= 1;
            return None;
        }
        let Some(end) = self.ends.pop_front() else { return Some(message) }; // the answer to `Begin`
        if offset >= end {
            return None;
        }
        runtime::mark!("snapshot.send.sent_back");
        self.stale = self.ends.len();
        self.ends.clear();
        Some(message)
    }

    /// The connection is gone: nobody answers what was under way on it.
    pub fn disconnected(&mut self) {
        self.ends.clear();
        self.stale = 0;
    }
}
