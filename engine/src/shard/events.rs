//! What the cores report, and what the shard does about it.

use raft::Event;
use runtime::Disk;

use super::Shard;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Acts on what a core reports, which must be before anything else is put into its log: a new leader's no-op
    /// comes first.
    pub(super) fn take_events(&mut self, number: usize) {
        while let Some(event) = self.replicas[number].raft.take_event() {
            self.take_event(number, event);
        }
    }

    fn take_event(&mut self, number: usize, event: Event) {
        let replica = &mut self.replicas[number];
        match event {
            Event::BecameLeader { term, noop } => {
                tracing::info!(group = %replica.group, %term, "leads");
                replica.append_noop(&mut self.log, noop);
                self.preferences.leads(number);
                self.membership.look_soon(self.now);
            }
            Event::SteppedDown { term } => {
                tracing::info!(group = %replica.group, %term, "stepped down");
                replica.stepped_down();
            }
            Event::LeaderChanged { .. } => {}
            Event::ConfigAppended { id, config } => {
                tracing::info!(group = %replica.group, %id, ?config, "changes its configuration");
                replica.append_config(&mut self.log, id, &config);
            }
            Event::ConfigCommitted { index, config } => {
                tracing::debug!(group = %replica.group, %index, ?config, "has a new configuration");
                self.membership.look_soon(self.now);
            }
            Event::Recovered => tracing::info!(group = %replica.group, "has healed from its peers"),
            Event::NeedsSnapshot { to } => self.send_snapshot(number, to),
            Event::SnapshotOffered { from, id } => self.expect_snapshot(number, from, id),
            Event::Protocol { from, problem } => {
                tracing::warn!(group = %replica.group, %from, ?problem, "dropped a message that makes no sense");
            }
            Event::Faulted { fault } => {
                tracing::error!(group = %replica.group, ?fault, "contradictory history: this replica stops taking part");
                // It may have led a group at rest, whose members rely on this shard: they must look again.
                self.faults += 1;
            }
            other => tracing::warn!(group = %replica.group, ?other, "an event of a newer core"),
        }
    }
}
