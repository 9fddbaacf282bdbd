//! What the checks are shown, and when.

use raft::NodeId;

use super::checks::{BoundsLook, Look, check_losses, check_queues, check_rest};
use super::machine::Process;
use super::world::World;
use crate::workload::judge;

/// The log's own bound on what is not synced (8 MiB, or a segment), and a turn's worth above it.
const UNSYNCED_BYTES_MAX: u64 = 16 << 20;

/// Queues are looked at once in so many turns: what is in one stays for several.
const QUEUES_EVERY: u64 = 8;

impl World {
    /// A shard had a turn.
    pub fn check_visit(&mut self, machine: usize, shard: u16) {
        let here = &mut self.machines[machine];
        let (node_id, life, start) = (NodeId(here.node), here.lives, here.starts);
        let Process::Up(node) = &mut here.process else { return };
        let place = (node_id, life, shard);
        self.checks.files.removed(place, start, &here.disks[usize::from(shard)].take_removed());
        if node.log(shard).is_some() {
            check_losses(here.was_damaged, node.losses(shard));
            let is_pending = node.has_pending_records(shard);
            self.checks.files.check(place, start, is_pending, || node.snapshots(shard));
        }
        self.checks.said((node_id, life), &node.said(shard));
        let mut touched = node.touched(shard);
        touched.sort_unstable();
        touched.dedup();
        let mut asks_for_votes = None;
        for group in touched {
            let Some(raft) = node.raft(shard, group) else { continue };
            if raft.role() == raft::Role::Candidate {
                asks_for_votes = Some((group, raft.term()));
            }
            let look = Look {
                node: node_id,
                life,
                start,
                group,
                role: raft.role(),
                term: raft.term(),
                last: raft::EntryId::new(raft.last_term(), raft.last()),
                persisted: raft.persisted_index(),
                committed: raft.committed(),
                applied: raft.applied_index(),
                compacted: raft.compacted(),
                standing: raft.standing(),
                may_forget: here.is_damaged && raft.standing() == raft::Standing::Recovering,
                config: raft.config(),
                config_index: raft.config_index(),
            };
            let last = look.last.index;
            self.checks.touched(
                look,
                |index| raft.term_at(index),
                |first| node.entries(shard, group, first, last),
            );
        }
        if self.counts.visits.is_multiple_of(QUEUES_EVERY) {
            check_queues(&node.bounds(shard));
        }
        if let Some(log) = node.log(shard) {
            let stats = log.stats();
            self.checks.bounds(&BoundsLook {
                log_file_bytes: stats.file_bytes,
                // A start may need one segment more than there may be.
                log_file_bytes_max: self.profile.log_bytes_max + self.profile.segment_bytes,
                unsynced_bytes: stats.unsynced_bytes,
                unsynced_bytes_max: UNSYNCED_BYTES_MAX,
                inputs: here.slots[usize::from(shard)].inputs.len(),
            });
        }
        if let Some((group, term)) = asks_for_votes {
            self.keep_from_leader(group, term);
        }
    }

    /// The life is over, and all is calm.
    pub fn check_end(&mut self) {
        // Beyond the fault atlas requests may wait for leaders that will never be.
        for here in self.machines.iter_mut().filter(|_| !self.profile.is_beyond) {
            let node_id = NodeId(here.node);
            let Some(node) = here.running() else { continue };
            (0..node.shards()).for_each(|shard| check_rest(node_id, &node.leftovers(shard)));
        }
        let (operations, durable) = self.clients.take_recorded();
        // A script has no clients that record: its operator writes what the witness could not place.
        if self.profile.clients > 0 {
            self.check_by_index(&operations);
        }
        let judgement = judge(operations, &durable, Vec::new());
        let is_wrong = !judgement.faults.is_empty() || !judgement.report.violations.is_empty();
        super::violated_if(is_wrong, "histories", || format!("{judgement}"));
        self.restore_last_backup();
    }
}
