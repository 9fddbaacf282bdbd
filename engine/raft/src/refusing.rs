//! Appends that come when the log has no room for more.

use crate::id::{EntryId, Index, NodeId, Time};
use crate::message::{Body, Message, TermRun};
use crate::replica::Raft;
use crate::terms;

impl Raft {
    /// Takes an append that the shard has no room for: as if it ended before the first entry that is not here yet, and is
    /// answered `AppendBusy` besides if there is one. So a follower whose log is full still learns what is committed, which
    /// lets it save its state and make room. Any other message is stepped as usual.
    pub fn refuse(&mut self, now: Time, from: NodeId, mut message: Message) {
        let mut cut = false;
        // What no append can bring is left as it is, to be refused for that: cut, it might look like one.
        if let Body::Append { prev, last, runs, .. } = &mut message.body
            && terms::runs_describe(*prev, *last, runs)
        {
            let known = self.known_until(*prev, *last, runs);
            cut = known < *last;
            *last = known;
            runs.retain(|run| run.first <= known);
        }
        let accepted = self.step(now, from, message, &[]);
        debug_assert!(accepted.is_none(), "what is new was cut off");
        if cut && self.leader == Some(from) {
            self.owed.busy = true;
        }
    }

    /// The last of the entries `prev.index + 1 ..= last`, of the terms `runs`, up to which this log has the same.
    fn known_until(&self, prev: EntryId, last: Index, runs: &[TermRun]) -> Index {
        let compacted = self.log.compacted();
        let same = self.log.term_at(prev.index) == Some(prev.term);
        if last < compacted.index {
            return last;
        }
        if prev.index >= compacted.index && !same {
            return prev.index;
        }
        let first = prev.index.max(compacted.index).next();
        self.log.first_difference(first, last, runs).map_or(last, Index::previous)
    }
}
