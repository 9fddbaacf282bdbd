//! While a leader's lease holds, by its own clock, nobody leads a newer term, whatever the clocks of
//! the others say.

use super::super::machine::Machine;
use super::super::violation::require;
use super::election_safety::Elections;

/// Judges all leases after a step.
pub fn check(machines: &mut [Machine], now_us: u64, elections: &Elections) {
    let newest = elections.newest();
    for machine in machines.iter_mut().filter(|machine| machine.settings.lease.is_some()) {
        let now = machine.clock.read(now_us);
        let Some(life) = machine.life.as_deref_mut() else { continue };
        if !life.node.raft.is_leader() || life.node.raft.term() == newest {
            continue;
        }
        require!(
            !life.node.raft.lease_holds(now),
            "checks::leases",
            "{} holds a lease in term {} while {newest:?} is led",
            machine.id,
            life.node.raft.term()
        );
    }
}
