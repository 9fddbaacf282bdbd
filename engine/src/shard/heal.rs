//! Entries on this disk that turn out not to be what was written. Those that are applied are in the state machine: a snapshot
//! of it takes their place. Those that are not must come from the group's leader once more.

use raft::{GroupId, Index, Standing};
use raftlog::{ReadError, Relocation, ScrubJob, Scrubbed};
use runtime::Disk;

use super::Shard;
use super::background::Finished;
use crate::fatal::Fatal;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// The entry at `index` of a replica is damaged, as `error` says.
    pub(super) fn heal(&mut self, number: usize, index: Index, error: &ReadError) {
        let replica = &mut self.replicas[number];
        self.log.damaged(replica.group, index);
        let raft = &mut replica.raft;
        if index <= raft.compacted().index || index > raft.last() || raft.standing() == Standing::Faulted {
            return; // nobody needs it any more
        }
        let group = replica.group;
        if index <= raft.applied_index() {
            if replica.damaged_to < index {
                runtime::mark!("heal.by_snapshot");
                tracing::error!(%group, %index, %error, "damaged; a snapshot takes the place of the log up to there");
            }
            replica.damaged_to = replica.damaged_to.max(index);
            self.saves.healing.push(number);
            self.save_soon(number);
        } else if raft.is_alone() {
            let (shard, reason) = (self.shard, error.to_string());
            self.ended = Some(Fatal::Corruption { shard, reason });
        } else {
            runtime::mark!("heal.by_peers");
            tracing::error!(%group, %index, %error, "damaged; what the log holds from there on must come from its leader again");
            raft.lose_from(self.now, index);
            self.log.lose(group, index);
            self.mark_dirty(number);
        }
    }

    /// Replicas that wait for a snapshot to take the place of damaged entries are saved, until it has.
    pub(super) fn save_damaged(&mut self) {
        let replicas = &self.replicas;
        self.saves.healing.sort_unstable();
        self.saves.healing.dedup();
        self.saves.healing.retain(|number| replicas[*number].needs_snapshot());
        for number in self.saves.healing.clone() {
            self.save_soon(number);
        }
    }

    /// Has a piece of the log looked at, if it is time to.
    pub(super) fn scrub(&mut self) {
        if let Some(job) = self.log.scrub(self.now) {
            self.background.spawn(async move { Finished::Scrubbed(ScrubJob::run(job).await) });
        }
    }

    pub(super) fn take_scrubbed(&mut self, scrubbed: Scrubbed) {
        if let Some((group, error @ ReadError::Damaged { index, .. })) = self.log.scrubbed(self.now, scrubbed)
        {
            self.heal_group(group, index, &error);
        }
    }

    pub(super) fn take_relocated(&mut self, relocation: Relocation) {
        if let Some((group, error @ ReadError::Damaged { index, .. })) = self.log.relocated(relocation) {
            self.heal_group(group, index, &error);
        }
    }

    pub(super) fn heal_group(&mut self, group: GroupId, index: Index, error: &ReadError) {
        if let Some(number) = self.local(group) {
            self.heal(number, index, error);
        }
    }
}
