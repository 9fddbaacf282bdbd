//! What a node has still to apply after its start. Who leads answers nothing before it has applied what was committed
//! before its time, so a node with much to apply lets others lead: it does not hurry to its first elections, and its beats
//! tell the leaders not to hand over to it.

use raft::{Index, Raft};
use raftlog::RecoveredGroup;
use runtime::Disk;

use super::Shard;
use crate::state_machine::StateMachine;

/// A shard with more entries than this to apply lets others lead. It reads and applies a million small ones a second on a
/// core of its own, and a tenth of that on one shared by many: about as long as others take to notice that a leader is gone.
const BACKLOG_ENTRIES_MAX: u64 = 100_000;

/// What a shard had to apply when it started.
#[derive(Default)]
pub(super) struct Backlog {
    /// Replicas with something to apply, and the ends of their logs at the start.
    groups: Vec<(usize, Index)>,
    /// More than [`BACKLOG_ENTRIES_MAX`] are left.
    is_large: bool,
}

impl Backlog {
    /// The backlog of all that was recovered. The replicas follow as they start.
    pub(super) fn of<'a>(recovered: impl Iterator<Item = &'a RecoveredGroup>) -> Backlog {
        let to_apply = |known: &RecoveredGroup| known.last.0.saturating_sub(known.snapshot_id.index.0);
        Backlog { groups: Vec::new(), is_large: recovered.map(to_apply).sum::<u64>() > BACKLOG_ENTRIES_MAX }
    }

    /// The replica `number` starts.
    pub(super) fn is_in(&mut self, number: usize, raft: &Raft) {
        if self.is_large && raft.last() > raft.applied_index() {
            self.groups.push((number, raft.last()));
        }
    }

    /// Whether others should lead.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// Looks how much is left; `cursors` are the applied and the last entry of a replica. What a leader took away again
    /// need not be applied.
    fn look(&mut self, cursors: impl Fn(usize) -> (Index, Index)) {
        let mut left = 0;
        self.groups.retain(|(number, end)| {
            let (applied, last) = cursors(*number);
            let missing = end.0.min(last.0).saturating_sub(applied.0);
            left += missing;
            missing > 0
        });
        self.is_large = left > BACKLOG_ENTRIES_MAX;
        if !self.is_large {
            self.groups = Vec::new(); // and never again: what comes from now on comes through a leader
        }
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Looks whether the backlog of the start is worked off.
    pub(super) fn look_at_backlog(&mut self) {
        if !self.backlog.is_large {
            return;
        }
        let replicas = &self.replicas;
        let cursors = |number: usize| (replicas[number].raft.applied_index(), replicas[number].raft.last());
        self.backlog.look(cursors);
        if !self.backlog.is_large {
            tracing::info!(
                "what was in the log at the start is applied: this node leads again where it should"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::{EntryId, Term};

    use super::*;

    const MAX: u64 = BACKLOG_ENTRIES_MAX;

    #[test]
    fn a_backlog_is_large_until_little_is_left() {
        let id = |index| EntryId { term: Term(1), index: Index(index) };
        let known = |snapshot, last| RecoveredGroup {
            snapshot_id: id(snapshot),
            last: Index(last),
            ..RecoveredGroup::default()
        };
        assert!(!Backlog::of([known(7, MAX), known(0, 7)].iter()).is_large());
        let mut backlog = Backlog::of([known(0, MAX), known(100, 101)].iter());
        assert!(backlog.is_large());
        backlog.groups = vec![(0, Index(MAX)), (3, Index(50))];
        let look = |backlog: &mut Backlog, applied: [u64; 2], last: u64| {
            backlog.look(|number| {
                if number == 0 { (Index(applied[0]), Index(last)) } else { (Index(applied[1]), Index(50)) }
            });
            backlog.is_large()
        };
        assert!(look(&mut backlog, [10, 0], MAX));
        assert!(look(&mut backlog, [10, 0], 2 * MAX), "what comes later is no backlog");
        assert!(!look(&mut backlog, [50, 0], MAX));
        assert!(!look(&mut backlog, [0, 0], MAX), "never again");
        let mut backlog = Backlog { groups: vec![(0, Index(2 * MAX))], is_large: true };
        assert!(!look(&mut backlog, [0, 0], MAX), "the rest was taken away");
    }
}
