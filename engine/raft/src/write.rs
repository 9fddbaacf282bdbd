//! What must become durable, and which of it is.
//!
//! A replica's writes are one ordered stream. Everything it promises (a vote, an ack, its own place
//! in a commit quorum) is computed here from what of that stream came back durable.

use core::time::Duration;

use crate::id::{EntryId, GroupId, Index, NodeId, Term, Time};
use crate::settings::{HardState, Standing};

/// What a hard state promises.
type Promise = (Term, Option<NodeId>, Standing);

/// What a replica wants on disk since the last time it was asked: its hard state, its newest
/// entries, or both. Votes and acks that depend on it stay inside until it is handed back to
/// [`crate::Raft::persisted`]; dropping it promises nothing.
#[derive(Clone, Debug)]
#[must_use = "votes and acks wait until the write is handed back to Raft::persisted"]
pub struct Write {
    owner: (NodeId, GroupId),
    sequence: u64,
    /// The hard state and the end of the log as of this write, whether or not they are part of it.
    /// So the newest write speaks for all before it.
    hard_state: HardState,
    last: EntryId,
    has_hard_state: bool,
    has_entries: bool,
    must_sync: bool,
}

impl Write {
    /// The hard state to record, if it is part of this write.
    #[must_use]
    pub fn hard_state(&self) -> Option<HardState> {
        self.has_hard_state.then_some(self.hard_state)
    }

    /// The newest entry this write covers, if it covers entries: those proposed or accepted since
    /// the write before it.
    #[must_use]
    pub fn last(&self) -> Option<EntryId> {
        self.has_entries.then_some(self.last)
    }

    /// Whether anything waits for it. False for a commit index alone, which may be lost.
    #[must_use]
    pub fn must_sync(&self) -> bool {
        self.must_sync
    }
}

fn promise_of(hard_state: HardState) -> Promise {
    (hard_state.term, hard_state.vote, hard_state.standing)
}

/// The replica's end of its ordered stream of writes.
#[derive(Clone, Debug)]
pub(crate) struct Durability {
    owner: (NodeId, GroupId),
    /// Of the newest write handed out; 0 before the first.
    issued: u64,
    /// Of the newest write known durable.
    done: u64,
    /// The term, vote and standing that are durable.
    promise: Promise,
    /// Those of the newest write handed out.
    promise_issued: Promise,
    /// When it was first seen that a write is out, after the last one came back; `NEVER` while none is.
    waiting_since: Time,
    /// The commit index of the newest hard state handed out.
    commit_issued: Index,
    /// All entries up to here are durable as they now are in the log.
    persisted: Index,
    log_dirty: bool,
    hard_state_due: bool,
    seldom: Option<Box<Seldom>>,
}

/// What only cut logs and snapshots need: there while there is any of it.
#[derive(Clone, Debug, Default)]
struct Seldom {
    /// Where the log was cut: writes before the named one know of no valid entry beyond the index.
    /// Without it the late end of a write of A's entries could ack C's that replaced them, or a
    /// third writing that looks like the first (the ABA race).
    cuts: Vec<Cut>,
    /// A snapshot's installation counts as durable with this write.
    installed: Option<(u64, EntryId)>,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    first_valid_write: u64,
    kept: Index,
}

impl Durability {
    /// Everything restored from disk is durable.
    pub(crate) fn restored(owner: (NodeId, GroupId), hard_state: HardState, last: Index) -> Durability {
        let promise = promise_of(hard_state);
        Durability {
            owner,
            issued: 0,
            done: 0,
            promise,
            promise_issued: promise,
            waiting_since: Time::NEVER,
            commit_issued: hard_state.commit,
            persisted: last,
            log_dirty: false,
            hard_state_due: false,
            seldom: None,
        }
    }

    pub(crate) fn persisted(&self) -> Index {
        self.persisted
    }

    /// Whether this term, and this vote in it, survive a crash.
    pub(crate) fn holds(&self, term: Term, vote: Option<NodeId>) -> bool {
        (self.promise.0, self.promise.1) == (term, vote)
    }

    /// Whether `term` survives a crash, whatever the vote in it.
    pub(crate) fn holds_term(&self, term: Term) -> bool {
        self.promise.0 == term
    }

    /// The standing that survives a crash.
    pub(crate) fn standing(&self) -> Standing {
        self.promise.2
    }

    /// The standing of the newest write handed out.
    pub(crate) fn standing_issued(&self) -> Standing {
        self.promise_issued.2
    }

    /// How long a write has been out without any having come back, as far as whoever asks at every beat can tell. A
    /// write does not know when it was taken: a replica at rest has heard no clock for long, and no disk hangs because
    /// of that.
    pub(crate) fn waiting(&mut self, now: Time) -> Duration {
        if self.issued > self.done && self.waiting_since == Time::NEVER {
            self.waiting_since = now;
        }
        now.saturating_sub(self.waiting_since)
    }

    /// The snapshot whose installation has become durable, once.
    pub(crate) fn take_installed(&mut self) -> Option<EntryId> {
        let seldom = self.seldom.as_mut()?;
        let (_, id) = seldom.installed.take_if(|(write, _)| *write <= self.done)?;
        self.tidy();
        Some(id)
    }

    /// Entries were added to the log.
    pub(crate) fn appended(&mut self) {
        self.log_dirty = true;
    }

    /// The entries after `kept` left the log; others may take their places.
    pub(crate) fn truncated(&mut self, kept: Index) {
        self.persisted = self.persisted.min(kept);
        let cuts = &mut self.seldom.get_or_insert_default().cuts;
        cuts.retain(|cut| cut.kept < kept);
        if mutant!(CutsForgotten) {
            return;
        }
        cuts.push(Cut { first_valid_write: self.issued + 1, kept });
    }

    /// The log starts anew after `id`, which counts as durable with the next write.
    pub(crate) fn reset(&mut self, id: EntryId) {
        let cuts = &mut self.seldom.get_or_insert_default().cuts;
        *cuts = vec![Cut { first_valid_write: self.issued + 1, kept: Index::ZERO }];
        self.persisted = Index::ZERO;
        self.log_dirty = true;
        self.install(id);
    }

    /// The snapshot at `id` counts as installed with the next write.
    pub(crate) fn install(&mut self, id: EntryId) {
        self.hard_state_due = true;
        self.seldom.get_or_insert_default().installed = Some((self.issued + 1, id));
    }

    /// The next hard state is wanted for its commit index alone.
    pub(crate) fn record_commit(&mut self) {
        self.hard_state_due = true;
    }

    pub(crate) fn commit_issued(&self) -> Index {
        self.commit_issued
    }

    /// The write that brings the disk to `now`, the replica's state; `None` if nothing changed.
    #[inline]
    pub(crate) fn take(&mut self, now: HardState, last: EntryId) -> Option<Write> {
        let promise = promise_of(now);
        let promise_dirty = promise != self.promise_issued;
        let installed = self.seldom.as_ref().and_then(|seldom| seldom.installed);
        let must_sync = promise_dirty || self.log_dirty || installed.is_some_and(|(at, _)| at > self.issued);
        if !must_sync && !self.hard_state_due {
            return None;
        }
        self.issued += 1;
        self.promise_issued = promise;
        let late = mutant!(LogBeforeTerm) && self.log_dirty;
        let has_hard_state = (promise_dirty || core::mem::take(&mut self.hard_state_due)) && !late;
        if has_hard_state {
            self.hard_state_due = false;
            self.commit_issued = now.commit;
        }
        Some(Write {
            owner: self.owner,
            sequence: self.issued,
            hard_state: now,
            last,
            has_hard_state,
            has_entries: core::mem::take(&mut self.log_dirty),
            must_sync,
        })
    }

    /// `write`, and so all before it, is durable. One that comes after a newer one says nothing new.
    #[inline]
    pub(crate) fn complete(&mut self, write: &Write) {
        assert_eq!(write.owner, self.owner, "a write goes back to the replica that made it");
        if write.sequence <= self.done {
            return;
        }
        self.done = write.sequence;
        self.waiting_since = Time::NEVER;
        self.promise = promise_of(write.hard_state);
        let mut valid = write.last.index;
        if let Some(seldom) = &mut self.seldom {
            seldom.cuts.retain(|cut| cut.first_valid_write > write.sequence);
            valid = seldom.cuts.iter().map(|cut| cut.kept).fold(valid, Index::min);
            self.tidy();
        }
        self.persisted = self.persisted.max(valid);
    }

    fn tidy(&mut self) {
        self.seldom.take_if(|seldom| seldom.cuts.is_empty() && seldom.installed.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Durability {
        Durability::restored((NodeId(1), GroupId(1)), HardState::default(), Index::ZERO)
    }

    fn write(stream: &mut Durability, term: u64, last: u64) -> Write {
        stream.appended();
        let id = EntryId::new(Term(term), Index(last));
        stream.take(HardState { term: Term(term), ..HardState::default() }, id).expect("the log is dirty")
    }

    #[test]
    fn the_late_end_of_a_replaced_write_persists_only_what_was_kept() {
        let mut stream = stream();
        let first = write(&mut stream, 1, 5);
        stream.truncated(Index(2));
        let second = write(&mut stream, 2, 4);
        stream.truncated(Index(2));
        let third = write(&mut stream, 3, 5);
        stream.complete(&first);
        assert_eq!(stream.persisted(), Index(2), "5 looks like what A wrote, but is C's");
        stream.complete(&second);
        assert_eq!(stream.persisted(), Index(2));
        stream.complete(&third);
        assert_eq!(stream.persisted(), Index(5));
        assert!(stream.holds_term(Term(3)));
    }

    #[test]
    fn a_cut_that_was_not_yet_written_binds_the_writes_before_it() {
        let mut stream = stream();
        let first = write(&mut stream, 1, 9);
        stream.truncated(Index(7));
        stream.truncated(Index(3));
        stream.truncated(Index(5));
        stream.complete(&first);
        assert_eq!(stream.persisted(), Index(3));
    }

    #[test]
    fn the_newest_write_speaks_for_all_before_it() {
        let mut stream = stream();
        let _lost = write(&mut stream, 1, 3);
        let newest = write(&mut stream, 1, 6);
        stream.complete(&newest);
        assert_eq!(stream.persisted(), Index(6));
        stream.complete(&_lost);
        assert_eq!(stream.persisted(), Index(6));
    }

    #[test]
    fn a_reset_log_is_durable_only_with_the_write_of_its_snapshot() {
        let mut stream = stream();
        let before = write(&mut stream, 1, 9);
        let id = EntryId::new(Term(2), Index(5));
        stream.reset(id);
        let reset = stream.take(HardState { term: Term(2), ..HardState::default() }, id).expect("a reset");
        assert!(reset.must_sync() && reset.hard_state().is_some());
        stream.complete(&before);
        assert_eq!((stream.persisted(), stream.take_installed()), (Index(0), None));
        stream.complete(&reset);
        assert_eq!((stream.persisted(), stream.take_installed()), (Index(5), Some(id)));
        assert_eq!(stream.take_installed(), None, "told once");
    }

    #[test]
    fn a_commit_index_alone_needs_no_sync() {
        let mut stream = stream();
        let hard_state = HardState { commit: Index(4), ..HardState::default() };
        assert!(stream.take(hard_state, EntryId::ZERO).is_none(), "recorded lazily");
        stream.record_commit();
        let write = stream.take(hard_state, EntryId::ZERO).expect("due");
        assert!(!write.must_sync());
        assert_eq!(write.hard_state(), Some(hard_state));
        assert_eq!(write.last(), None);
    }
}
