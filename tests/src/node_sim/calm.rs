//! The end of a life: faults end, and then everything must come right by itself, without new writes.

use ringraft::Redirect;
use ringraft::simulation::Node;

use super::machine::{Process, Replicated};
use super::operator::Errand;
use super::world::{Happening, World};
use crate::core_sim::violation::require;
use crate::disk::SimDisk;

/// Within this a healed cluster serves again, all requests are answered, and all replicas are alike.
const CALM_US: u64 = 60_000_000;
/// A life beyond the fault atlas goes on for so long without faults.
const BEYOND_US: u64 = 10_000_000;
/// All states are saved within this.
const SAVES_US: u64 = 5_000_000;
/// Between two looks.
const LOOK_US: u64 = 500_000;

type Running = Node<Replicated, SimDisk>;

impl World {
    /// Ends all faults and sees to it that the cluster comes right.
    pub fn calm_down(&mut self) {
        self.say(|| "faults end".into());
        self.profile.life_us = self.now_us;
        self.weather.clear();
        for machine in 0..self.machines.len() {
            self.heal_disks(machine);
            self.disarm(machine);
            self.machines[machine].paused_until = self.now_us;
            self.resume(machine);
            if matches!(self.machines[machine].process, Process::Down) && self.machines[machine].starts > 0 {
                self.plan(0, Happening::Start { machine });
            }
        }
        self.profile.links.mangled_per_mille = 0;
        self.clients.rest();
        if self.profile.is_beyond {
            // Halt, never lie: what still answers is judged, and nobody has to.
            self.run_until(self.now_us + BEYOND_US);
            return self.check_end();
        }
        self.wait_for_rest("the last fault");
        let running: Vec<usize> = (0..self.machines.len())
            .filter(|at| matches!(self.machines[*at].process, Process::Up(_)))
            .collect();
        match self.profile.redirect {
            Redirect::Proxy => self.clients.read_back(&running),
            Redirect::Moved => self.clients.read_back(&running[..1]),
        }
        self.begin_clients();
        self.wait_for_rest("the last reads began");
        // States are compared as they are saved.
        for machine in running {
            self.save_all(machine);
        }
        self.run_until(self.now_us + SAVES_US);
        self.check_end();
    }

    fn wait_for_rest(&mut self, after: &str) {
        let until_us = self.now_us + CALM_US;
        while let Some(why) = self.unrest() {
            require!(self.now_us < until_us, "liveness", "{} s after {after}: {why}", CALM_US / 1_000_000);
            self.run_until(self.now_us + LOOK_US);
            self.replace_ended();
            if self.now_us + CALM_US / 2 > until_us && self.operator.is_idle() {
                self.add_forgotten();
            }
        }
    }

    /// Nodes that ended by themselves come back with empty disks.
    fn replace_ended(&mut self) {
        for machine in 0..self.machines.len() {
            if self.needs_replacement(machine) {
                self.replace_node(machine);
            }
        }
    }

    /// A node that was removed before it had joined does not hear of it, and waits for ever: it is added once more.
    fn add_forgotten(&mut self) {
        for machine in 0..self.machines.len() {
            let node = self.machines[machine].node;
            let waits =
                |running: &mut Running| running.is_ready() && running.raft(0, raft::GroupId(0)).is_none();
            if self.machines[machine].running().is_some_and(waits) {
                self.order([Errand::Add { node, machine }]);
            }
        }
    }

    /// What is not yet as it must be in the end.
    fn unrest(&mut self) -> Option<String> {
        if !self.operator.is_idle() {
            let directory = self.group_unrest(raft::GroupId(0));
            let errands: Vec<_> = self.operator.errands().collect();
            return Some(format!("the operator waits: {errands:?}, {directory:?}"));
        }
        if !self.clients.are_idle() {
            return Some("clients wait for answers".into());
        }
        if !self.backups.are_idle() {
            return Some("a backup is being taken".into());
        }
        if self.awaits_starts() {
            return Some("a machine is to be started".into());
        }
        for group in 0..=self.profile.groups {
            if let Some(why) = self.group_unrest(raft::GroupId(group)) {
                return Some(why);
            }
        }
        None
    }

    /// What is wrong with a group: it must have one leader, whom all follow, and the same applied entries everywhere.
    fn group_unrest(&mut self, group: raft::GroupId) -> Option<String> {
        let (mut leaders, mut followers, mut cursors) = (Vec::new(), Vec::new(), Vec::new());
        for (at, machine) in self.machines.iter_mut().enumerate() {
            let (node, starts) = (machine.node, machine.starts);
            let Some(running) = machine.running() else {
                if starts > 0 && self.operator.is_idle() {
                    return Some(format!("no node runs on machine {at}"));
                }
                continue;
            };
            let replica = (0..running.shards()).find_map(|shard| running.raft(shard, group));
            let Some(replica) = replica else {
                if self.operator.is_idle() {
                    return Some(format!("machine {at} has no replica of {group}"));
                }
                continue;
            };
            if replica.is_leader() {
                leaders.push((node, replica.status()));
            } else if !self.operator.is_idle() {
                followers.push((node, replica.config()));
            }
            cursors.push((at, replica.leader(), replica.applied_index(), replica.last(), replica.standing()));
        }
        let first = cursors.first()?;
        let alike = cursors.iter().all(|cursor| {
            (cursor.1, cursor.2) == (first.1, first.2)
                && cursor.1.is_some()
                && cursor.2 == cursor.3
                && cursor.4 == raft::Standing::Normal
        });
        (leaders.len() != 1 || !alike)
            .then(|| format!("group {group}: leaders {leaders:?}, {followers:?}, {cursors:?}"))
    }
}
