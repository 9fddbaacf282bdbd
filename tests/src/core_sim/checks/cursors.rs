//! The order of the cursors: compacted <= applied <= committed <= last, persisted <= last, and what a
//! restart will be told is committed is on the disk.

use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::cursors";

/// Judges the cursors after a step.
pub fn check(scene: &Scene) {
    let machine = scene.machine();
    let node = &scene.life().node;
    let raft = &node.raft;
    let (last, committed, applied) = (raft.last(), raft.committed(), raft.applied_index());
    let compacted = raft.compacted();
    require!(
        compacted.index <= applied && applied <= committed && committed <= last,
        CHECK,
        "{}: compacted {compacted}, applied {applied}, committed {committed}, last {last}",
        machine.id
    );
    require!(raft.persisted_index() <= last, CHECK, "{}: more is durable than there is", machine.id);
    require!(
        node.log.last_id() == raft::EntryId::new(raft.last_term(), last) && node.log.compacted == compacted,
        CHECK,
        "{}: the log is {}..{}, the core has {compacted}..{last}",
        machine.id,
        node.log.compacted,
        node.log.last_id()
    );
    let promised = machine.disk.hard_state;
    require!(
        promised.commit <= machine.disk.log.last(),
        CHECK,
        "{}: {promised:?} on a disk that ends at {}",
        machine.id,
        machine.disk.log.last()
    );
    require!(
        machine.disk.log.last_id().term <= promised.term,
        CHECK,
        "{}: a log of {} outlives the term it was accepted in, {promised:?}",
        machine.id,
        machine.disk.log.last_id()
    );
}
