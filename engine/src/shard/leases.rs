//! The last look at the clock before answers by lease leave the turn.

use raft::{ReadId, Time};
use runtime::Disk;

use super::Shard;
use super::answers::Answers;
use super::replica::Replica;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// The thread may have been stopped since the turn's time was read, longer than a lease: answers that were given by
    /// lease since then stand only if it still holds.
    pub(super) fn check_leases(&mut self) {
        if self.leased.is_empty() {
            return;
        }
        let now = (self.clock)();
        for number in std::mem::take(&mut self.leased) {
            if !self.replicas[number].check_lease(now, &mut self.answers) {
                self.mark_dirty(number);
                self.more = true;
            }
        }
    }
}

impl<S: StateMachine> Replica<S> {
    /// Answers were given by lease in this turn: do they stand at `now`, which is after? If not, the reads are asked
    /// again, here or wherever the leader is now: false.
    fn check_lease(&mut self, now: Time, answers: &mut Answers) -> bool {
        if self.raft.lease_holds(now) {
            self.reads.settle();
            return true;
        }
        let asked = self.raft.read(now);
        self.reads.ask_again(*asked.as_ref().unwrap_or(&ReadId(0)), |place| answers.take_back(place));
        if asked.is_err() {
            self.stepped_down();
        }
        false
    }
}
