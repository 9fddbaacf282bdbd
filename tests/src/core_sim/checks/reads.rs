//! Linearizable reads (thesis 6.4): a read is served at an index that covers all that was committed
//! anywhere when it came.

use raft::{Event, Index, NodeId, ReadId};

use super::super::disk::index_of;
use super::super::violation::require;
use super::Scene;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    node: NodeId,
    id: ReadId,
    floor: Index,
}

/// Reads in flight.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    pending: Vec<Pending>,
    /// How many were served.
    pub served: u64,
}

impl Reads {
    /// A node has stopped: its reads failed.
    pub fn stopped(&mut self, node: NodeId) {
        self.pending.retain(|read| read.node != node);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Judges the reads that a step serves. `committed` is how much is committed anywhere.
    pub fn check(&mut self, scene: &Scene, committed: usize) {
        let node = scene.machine().id;
        let failed = scene.outcome.events.iter().any(|event| matches!(event, Event::SteppedDown { .. }));
        if failed && !scene.life().node.raft.is_leader() {
            self.stopped(node);
        }
        if let Some(id) = scene.outcome.read {
            self.pending.push(Pending { node, id, floor: Index(index_of(committed)) });
        }
        let Some((upto, index)) = scene.outcome.confirmed else { return };
        let served = &mut self.served;
        self.pending.retain(|read| {
            let confirmed = read.node == node && read.id <= upto;
            require!(
                !confirmed || index >= read.floor,
                "checks::reads",
                "{node} serves a read at {index} that came when {} was committed",
                read.floor
            );
            *served += u64::from(confirmed);
            !confirmed
        });
    }
}
