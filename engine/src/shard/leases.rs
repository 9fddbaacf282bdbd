//! The last look at the clock before answers by lease leave the turn.

use runtime::Disk;

use super::Shard;
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
