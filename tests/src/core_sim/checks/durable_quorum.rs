//! What is committed is on the disks of a quorum of the configuration in force (thesis 3.6.2, 4.3,
//! 10.2.1), or was, on a disk that has failed since.

use raft::{Index, NodeId};

use super::super::disk::Entry;
use super::super::spec::is_quorum;
use super::super::violation::require;
use super::Scene;

/// Judges an entry that is committed for the first time.
pub fn check(scene: &Scene, index: Index, entry: &Entry) {
    let roster = scene.life().node.roster();
    let holds = |node: NodeId| {
        let machine = scene.machines.iter().find(|machine| machine.id == node);
        machine.is_some_and(|machine| {
            roster.incarnation(node) == Some(machine.incarnation) && machine.holds(index, entry)
        })
    };
    require!(
        is_quorum(&roster.config, holds),
        "checks::durable_quorum",
        "{} commits {index}, which is durable on {:?} of {:?}",
        scene.machine().id,
        roster.config.members().into_iter().filter(|node| holds(*node)).collect::<Vec<_>>(),
        roster.config
    );
}
