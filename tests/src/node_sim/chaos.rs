//! Faults, one per step of chaos, by the weights of the life's profile.

use super::machine::{Machine, Process};
use super::operator::Errand;
use super::profile::Faults;
use super::weather::Spell;
use super::world::{Happening, World};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    Power,
    Blackout,
    Pause,
    Partition,
    Reset,
    Disk,
    Rot,
    Unreadable,
    Lose,
    Clock,
    Members,
    Transfer,
    Save,
    Backup,
    Reshape,
    Deaf,
}

fn weighted(faults: &Faults) -> [(Fault, u8); 18] {
    [
        (Fault::Kill, faults.kill),
        (Fault::Stop, faults.stop),
        (Fault::Power, faults.power),
        (Fault::Blackout, faults.blackout),
        (Fault::Pause, faults.pause),
        (Fault::Partition, faults.partition),
        (Fault::Reset, faults.reset),
        (Fault::Disk, faults.disk),
        (Fault::Rot, faults.rot),
        (Fault::Unreadable, faults.unreadable),
        (Fault::Lose, faults.lose),
        (Fault::Clock, faults.clock),
        (Fault::Members, faults.members),
        (Fault::Transfer, faults.transfer),
        (Fault::Save, faults.save),
        (Fault::Backup, faults.backup),
        (Fault::Reshape, faults.reshape),
        (Fault::Deaf, faults.deaf),
    ]
}

impl World {
    /// One step of chaos, and a plan for the next.
    pub fn chaos(&mut self) {
        if self.now_us >= self.profile.life_us {
            return;
        }
        let kinds = weighted(&self.profile.faults);
        let total: u32 = kinds.iter().map(|(_, weight)| u32::from(*weight)).sum();
        if total > 0 {
            let mut drawn = self.random.u32(..total);
            let kind = kinds.iter().find(|(_, weight)| match drawn.checked_sub(u32::from(*weight)) {
                Some(left) => {
                    drawn = left;
                    false
                }
                None => true,
            });
            let (fault, _) = kind.expect("drawn below the sum");
            self.counts.faults += 1;
            self.bring(*fault);
        }
        let chaos_us = self.profile.chaos_us;
        let after_us = self.random.u64(chaos_us / 4..=chaos_us * 2);
        self.plan(after_us, Happening::Chaos);
    }

    fn bring(&mut self, fault: Fault) {
        let machine = self.random.usize(..self.machines.len());
        match fault {
            Fault::Kill => {
                self.kill(machine);
                self.start_later(machine);
            }
            Fault::Stop => self.stop(machine),
            Fault::Power => {
                self.cut_power(machine);
                self.start_later(machine);
            }
            Fault::Blackout => {
                for machine in 0..self.machines.len() {
                    self.cut_power(machine);
                    self.start_later(machine);
                }
            }
            Fault::Pause => {
                let for_us = self.random.u64(10_000..4_000_000);
                self.pause(machine, for_us);
            }
            Fault::Partition => self.part(),
            Fault::Reset => {
                if let Some(connection) = self.connections.len().checked_sub(1) {
                    let recent = self.random.usize(connection.saturating_sub(60)..=connection);
                    self.reset(recent);
                }
            }
            Fault::Disk => self.spoil_disks(machine),
            Fault::Rot => self.rot(machine),
            Fault::Unreadable => self.refuse_reads(machine),
            Fault::Lose => self.lose_disk(machine),
            Fault::Clock => self.upset_clock(machine),
            Fault::Members => self.change_members(),
            Fault::Transfer if !self.operator.is_idle() => {}
            Fault::Transfer => {
                let group = self.random.u32(..=self.profile.groups);
                let to = self.machines[machine].node;
                self.order([Errand::Tell(format!("RINGRAFT TRANSFER {group} {to}"))]);
            }
            Fault::Save => self.save_all(machine),
            Fault::Backup => self.begin_backup(),
            Fault::Deaf => self.deafen(machine),
            Fault::Reshape => {
                self.kill(machine);
                self.reshape(machine);
                self.start_later(machine);
            }
        }
    }

    /// `ringraft snapshot take` at one node.
    pub fn save_all(&mut self, machine: usize) {
        if let Some(node) = self.machines[machine].running() {
            node.take_snapshots();
            self.wake_all(machine);
        }
    }

    /// Has a machine's node started after a while, if it is one that is started and none runs.
    pub fn start_later(&mut self, machine: usize) {
        let after_us =
            if self.random.bool() { self.random.u64(..100_000) } else { self.random.u64(..4_000_000) };
        if matches!(self.machines[machine].process, Process::Down) && self.has_begun(machine) {
            self.plan(after_us, Happening::Start { machine });
        }
    }

    /// Whether a machine's node runs and belongs to the cluster.
    fn has_joined(&self, machine: usize) -> bool {
        match &self.machines[machine].process {
            Process::Up(node) => node.raft(0, raft::GroupId(0)).is_some(),
            Process::Down | Process::Ended => false,
        }
    }

    /// Whether a node was ever meant to run on a machine.
    fn has_begun(&self, machine: usize) -> bool {
        machine < usize::from(self.profile.founders) || self.machines[machine].starts > 0
    }

    /// A clock jumps forward. Where leases are on the machine sleeps for as long instead, and its clock counts that: leases
    /// promise nothing for clocks that gain seconds on others in no time.
    fn upset_clock(&mut self, machine: usize) {
        let by_us = self.random.u64(1_000..3_000_000);
        if self.profile.lease_reads {
            return self.pause(machine, by_us);
        }
        self.say(|| format!("machine {machine}: the clock jumps by {} ms", by_us / 1000));
        let now_us = self.now_us;
        self.machines[machine].clock.jump(now_us, by_us);
        self.wake_all(machine);
    }

    /// A leader is not heard any more, and hears late: the others have a new one before it gives up.
    fn deafen(&mut self, from: usize) {
        if self.now_us < self.weather.deaf_until {
            return;
        }
        let leading = self.leading_machine(from);
        let (slow_us, for_us) = (self.random.u64(400_000..1_200_000), self.random.u64(1_500_000..3_000_000));
        self.say(|| format!("machine {leading}: is heard no more, and hears {} ms late", slow_us / 1000));
        self.weather.cut(|from, _| from == leading);
        self.weather.slow(|_, to| if to == leading { slow_us } else { 0 });
        self.weather.deaf_until = self.now_us + for_us;
        self.weather.partition += 1;
        let spell = Spell::Partition(self.weather.partition);
        self.plan(for_us, Happening::Clear(spell));
    }

    /// A partition of some shape, for a while.
    fn part(&mut self) {
        if self.now_us < self.weather.deaf_until {
            return;
        }
        let count = self.machines.len();
        let side: Vec<bool> = (0..count).map(|_| self.random.bool()).collect();
        let (one, other) = (self.random.usize(..count), self.random.usize(..count));
        let shape = self.random.u8(..6);
        let slow_us = self.random.u64(1_000..300_000);
        match shape {
            0 => self.weather.cut(|from, to| side[from] != side[to]),
            1 => self.weather.cut(|from, to| from == one || to == one),
            2 => self.weather.cut(|from, _| from == one),
            3 => self.weather.cut(|_, to| to == one),
            4 => self.weather.cut(|from, to| (from, to) == (one, other) || (to, from) == (one, other)),
            _ => self.weather.slow(|from, to| if from == one || to == one { slow_us } else { 0 }),
        }
        self.say(|| format!("partition of shape {shape}: {side:?}, {one}, {other}, {slow_us} us"));
        self.weather.partition += 1;
        let spell = Spell::Partition(self.weather.partition);
        let for_us = self.random.u64(50_000..6_000_000);
        self.plan(for_us, Happening::Clear(spell));
    }

    /// The first machine from `from` on that leads some group; `from` itself if none does.
    fn leading_machine(&self, from: usize) -> usize {
        let count = self.machines.len();
        let leads = |machine: &usize| match &self.machines[*machine].process {
            Process::Up(node) => (0..=self.profile.groups).any(|group| {
                let raft = (0..node.shards()).find_map(|shard| node.raft(shard, raft::GroupId(group)));
                raft.is_some_and(raft::Raft::is_leader)
            }),
            Process::Down | Process::Ended => false,
        };
        (0..count).map(|step| (from + step) % count).find(leads).unwrap_or(from)
    }

    /// Somebody asks for votes in `term`: whoever leads the group until now may be cut off before it hears of that.
    pub fn keep_from_leader(&mut self, group: raft::GroupId, term: raft::Term) {
        let chance = self.profile.faults.unheard;
        let is_over = self.now_us >= self.profile.life_us;
        if chance == 0 || is_over || self.now_us < self.weather.deaf_until {
            return;
        }
        let leads = |machine: &Machine| {
            let Process::Up(node) = &machine.process else { return false };
            let raft = (0..node.shards()).find_map(|shard| node.raft(shard, group));
            raft.is_some_and(|raft| raft.is_leader() && raft.term() < term)
        };
        let Some(leader) = self.machines.iter().position(leads) else { return };
        if self.weather.deposed.insert((group, term)) && self.random.u8(..100) < chance {
            self.say(|| format!("machine {leader}: does not hear that it is deposed in {group}"));
            self.weather.cut(|_, to| to == leader);
            self.weather.partition += 1;
            let spell = Spell::Partition(self.weather.partition);
            let for_us = self.random.u64(50_000..3_000_000);
            self.plan(for_us, Happening::Clear(spell));
        }
    }

    /// A node comes or goes.
    fn change_members(&mut self) {
        // While some disk is damaged, a vote less may be one too many.
        if !self.operator.is_idle() || self.machines.iter().any(|machine| machine.is_damaged) {
            return;
        }
        let machine = self.random.usize(..self.machines.len());
        let node = self.machines[machine].node;
        if !self.has_begun(machine) {
            self.order([Errand::Start(machine), Errand::Add { node, machine }]);
        } else if self.random.u8(..3) == 0 && self.has_joined(machine) {
            self.order([Errand::Remove(node)]); // it ends by itself and comes back with an empty disk
        }
    }

    /// A disk is gone for good.
    fn lose_disk(&mut self, machine: usize) {
        // At most a minority loses its data (the fault atlas), and somebody must be able to replace it.
        if !self.has_begun(machine) || !self.operator.is_idle() || !self.is_whole() {
            return;
        }
        self.kill(machine);
        self.say(|| format!("machine {machine}: the disk is lost"));
        self.machines[machine].process = Process::Ended;
        self.replace_node(machine);
    }

    /// Whether every node that was ever started is a voter of every group, and none lacks anything for good. Only then a disk
    /// may be lost or rot: a replica that still has to catch up may be needed for a majority.
    pub fn is_whole(&self) -> bool {
        let begun: Vec<&Machine> = self.machines.iter().filter(|machine| machine.starts > 0).collect();
        let nodes: Vec<raft::NodeId> = begun.iter().map(|machine| raft::NodeId(machine.node)).collect();
        let is_whole = |machine: &&Machine| {
            let Process::Up(node) = &machine.process else { return false };
            !machine.is_damaged
                && (0..=self.profile.groups).all(|group| {
                    let replica = (0..node.shards()).find_map(|shard| node.raft(shard, raft::GroupId(group)));
                    replica.is_some_and(|replica| {
                        let config = replica.config();
                        let settled = replica.is_config_committed() && config.outgoing.is_empty();
                        settled && replica.standing() == raft::Standing::Normal && config.voters == nodes
                    })
                })
        };
        begun.iter().all(is_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Profile;
    use super::*;
    use crate::core_sim::trace::Trace;

    /// What the clocks of a life with `lease_reads` gain on the world's in five seconds of nothing but upset clocks, at most.
    fn gained_us(lease_reads: bool) -> u64 {
        let (chaos_us, life_us) = (100_000, 5_000_000);
        let mut profile = Profile { lease_reads, chaos_us, life_us, drift_ppm: 50_000, ..Profile::plain(3) };
        profile.faults.clock = 100;
        let mut world = World::new(fastrand::Rng::with_seed(1), profile, Trace::silent());
        let shown = |world: &World| -> Vec<u64> {
            world.machines.iter().map(|machine| machine.clock.read(world.now_us).0).collect()
        };
        let before = shown(&world);
        world.begin();
        world.plan(chaos_us, Happening::Chaos);
        world.run_until(life_us);
        assert!(world.counts.faults > 20, "{:?}", world.counts);
        let passed = before.iter().zip(shown(&world)).map(|(before, after)| after - before);
        passed.map(|passed| passed.saturating_sub(life_us)).max().expect("there are machines")
    }

    #[test]
    fn where_leases_are_on_no_clock_runs_faster_than_they_allow() {
        assert!(gained_us(false) > 2_000_000, "elsewhere clocks jump");
        assert!(gained_us(true) <= 250_000, "5 % of five seconds");
    }
}
