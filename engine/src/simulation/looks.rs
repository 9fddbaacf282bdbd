//! What the checks see of a node's shards.

use runtime::Disk;

use super::{Bound, Node, Said, SnapshotLook, Stage};
use crate::shard::Shard;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Node<S, D> {
    /// What the replicas of `shard` said since this was last asked, in order; appends are not among it.
    pub fn said(&mut self, shard: u16) -> Vec<Said> {
        match &mut self.shards[usize::from(shard)].stage {
            Stage::Running(running) => running.take_said(),
            Stage::Opening(..) | Stage::Closing(_) | Stage::Over => Vec::new(),
        }
    }

    /// What the start of `shard` could not read of its log.
    pub fn losses(&self, shard: u16) -> &[raftlog::Loss] {
        &self.shards[usize::from(shard)].losses
    }

    /// Whether a snapshot's record is on its way to the disk of `shard`.
    pub fn has_pending_records(&self, shard: u16) -> bool {
        self.running(shard).is_some_and(Shard::has_pending_records)
    }

    /// Which snapshot files the records of each group of `shard` name.
    pub fn snapshots(&self, shard: u16) -> Vec<SnapshotLook> {
        self.running(shard).map_or_else(Vec::new, Shard::snapshots)
    }

    /// The queues of `shard` that have limits, and how full they are.
    pub fn bounds(&self, shard: u16) -> Vec<Bound> {
        self.running(shard).map_or_else(Vec::new, Shard::bounds)
    }

    /// What is somewhere in `shard` although nobody waits for anything: all of it must be zero then.
    pub fn leftovers(&self, shard: u16) -> Vec<(&'static str, usize)> {
        self.running(shard).map_or_else(Vec::new, Shard::leftovers)
    }
}
