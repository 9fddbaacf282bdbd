//! The people around the cluster: who is added, promoted, demoted, removed, replaced; who is wiped and
//! comes back; whose old disk image is put back. They make mistakes, but not all: nobody is wiped that
//! may still be counted on, and no majority loses its disks.

use raft::{Change, Config, NodeId};

use super::input::Input;
use super::world::World;

impl World {
    /// One to three random changes, asked of whoever `at` is.
    pub fn change_members(&mut self, at: usize) {
        if self.machines.iter().any(|machine| machine.is_unsound()) {
            return;
        }
        let Some(status) = self.machines[at].node().map(|node| node.raft.status()) else { return };
        let config = status.config;
        let stands = |follower: &raft::FollowerStatus| follower.stands;
        let stand: Vec<NodeId> = status
            .followers
            .iter()
            .filter(|follower| stands(follower))
            .map(|follower| follower.node)
            .collect();
        let mut changes = Vec::new();
        for _ in 0..self.random.u8(1..=3) {
            let seat = self.random.usize(..self.nodes());
            let named = |change: &Change| {
                let (Change::Voter(node) | Change::Learner(node) | Change::Remove(node)) = change;
                *node == self.machines[seat].id
            };
            if !changes.iter().any(named) {
                changes.extend(self.draw_change(&config, &stand, seat));
            }
        }
        if changes.is_empty() {
            return;
        }
        let outcome = self.act(at, Input::Change(changes.clone()));
        if outcome.is_some_and(|outcome| outcome.refused.is_none()) {
            for machine in &mut self.machines {
                let added = |change: &Change| matches!(change, Change::Voter(node) | Change::Learner(node) if *node == machine.id);
                machine.fresh &= !changes.iter().any(added);
            }
        }
    }

    /// Only who has caught up gets a vote, as the leader knows it: the engine does no other.
    fn draw_change(&mut self, config: &Config, stand: &[NodeId], seat: usize) -> Option<Change> {
        let node = self.machines[seat].id;
        if config.contains(node) {
            let choices = [Change::Learner(node), Change::Remove(node), Change::Voter(node)];
            let may_vote = config.is_voter(node) || stand.contains(&node);
            return Some(choices[self.random.usize(..if may_vote { 3 } else { 2 })]);
        }
        if !self.machines[seat].fresh {
            if !self.is_forgotten(seat) {
                return None;
            }
            self.reincarnate(seat);
        }
        Some(Change::Learner(node))
    }

    /// Whether the removal of a node is committed, and no log anywhere has a later configuration with
    /// it: only then is it safe to wipe it.
    fn is_forgotten(&self, seat: usize) -> bool {
        let node = self.machines[seat].id;
        let (committed, newest) = self.committed_roster();
        let absent = |config: &Config| !config.contains(node);
        let committed = super::disk::index_of(committed);
        let later = |log: &super::disk::Log| {
            log.rosters().filter(|(index, _)| index.0 > committed).all(|(_, roster)| absent(&roster.config))
        };
        absent(&newest.config) && self.machines.iter().flat_map(|machine| machine.logs()).all(later)
    }

    /// Keeps a copy of a disk, or crashes the node and puts an older copy back, if all that counts on
    /// this disk can do without it.
    pub fn mishandle_disk(&mut self, at: usize) {
        if !self.profile.lossy {
            return;
        }
        if self.machines[at].image.is_none() {
            self.machines[at].image = Some(self.machines[at].disk.clone());
            return;
        }
        if self.machines.iter().any(|machine| machine.is_unsound()) || !self.can_do_without(at) {
            return;
        }
        let survive = self.random.usize(..3);
        self.crash(at, survive);
        self.lose(at);
    }

    /// Whether one disk is a minority in every configuration that may still decide anything.
    pub(super) fn can_do_without(&self, seat: usize) -> bool {
        let node = self.machines[seat].id;
        let (committed, newest) = self.committed_roster();
        let committed = super::disk::index_of(committed);
        let spare = |config: &Config| {
            let half = |half: &[raft::NodeId]| half.len() > 2 || !half.contains(&node);
            half(&config.voters) && half(&config.outgoing)
        };
        let in_log = |log: &super::disk::Log| {
            let later = log.rosters().filter(|(index, _)| index.0 > committed);
            later.into_iter().all(|(_, roster)| spare(&roster.config)) && spare(&log.base.config)
        };
        spare(&newest.config) && self.machines.iter().flat_map(|machine| machine.logs()).all(in_log)
    }
}
