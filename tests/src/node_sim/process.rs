//! The lives of nodes on their machines: started, killed, stopped, cut off from power, and given a new disk.

use ringraft::simulation::{End, Node};
use ringraft::{Fatal, StartError};

use super::machine::{Clock, Machine, Process, Slot, StopEnd, builder, factory};
use super::profile::Profile;
use super::world::{Happening, World};
use crate::core_sim::violation::{require, violated};
use crate::disk::SimDisk;

/// What a boot clock shows at most when a life begins.
const BOOT_US_MAX: u64 = 10_000_000;
/// The close of a log takes about so many writes, one after the other, or fewer.
const CLOSING_WRITES: u64 = 6;
/// More often than this a node's damage is not met before somebody takes the disk out.
const ENDS_MAX: u64 = 4;

impl Machine {
    /// A machine that nothing has run on yet.
    pub fn new(at: usize, profile: &Profile, random: &mut fastrand::Rng) -> Machine {
        let node = u16::try_from(at + 1).expect("few machines");
        let shards = usize::from(profile.shards);
        let mut machine = Machine {
            node,
            process: Process::Down,
            powered: true,
            paused_until: 0,
            stopping: None,
            starts: 0,
            lives: 0,
            clock: Clock::new(0, random.u64(1_000_000..BOOT_US_MAX), drift(profile, random)),
            disks: (0..shards).map(|_| SimDisk::new()).collect(),
            is_damaged: false,
            damaged_at_us: 0,
            was_damaged: false,
            ends: 0,
            protected_until: 0,
            slots: Vec::new(),
        };
        machine.slots.resize_with(shards, || Slot { visit_at: u64::MAX, ..Slot::default() });
        machine.time_disks(profile, random);
        machine
    }
}

fn drift(profile: &Profile, random: &mut fastrand::Rng) -> u64 {
    1_000_000 - profile.drift_ppm + random.u64(..=2 * profile.drift_ppm)
}

impl World {
    /// Starts the founders.
    pub fn begin(&mut self) {
        for machine in 0..usize::from(self.profile.founders) {
            self.plan(0, Happening::Start { machine });
        }
    }

    /// Which nodes a node is told of: the founders and itself.
    fn known(&self, machine: usize) -> Vec<(u16, usize)> {
        let founders = 0..usize::from(self.profile.founders);
        let others = (machine >= founders.end).then_some(machine);
        founders.chain(others).map(|at| (self.machines[at].node, at)).collect()
    }

    /// Starts the node of a machine, if none runs.
    pub fn start(&mut self, machine: usize) {
        if !matches!(self.machines[machine].process, Process::Down) {
            return;
        }
        let known = self.known(machine);
        let here = &mut self.machines[machine];
        (here.powered, here.paused_until, here.stopping) = (true, 0, None);
        here.starts += 1;
        self.counts.starts += 1;
        let builder = builder(&self.profile, machine, here.node, &known, self.home.dir(machine, here.lives));
        let now = here.clock.read(self.now_us);
        let mut randomness = [0; 24];
        self.random.fill(&mut randomness);
        let disks = here.disks.clone();
        let random = &mut self.random;
        let started = ringraft::simulation::open_data_dir(&builder, &mut |bytes| {
            random.fill(bytes);
            Ok(())
        })
        .and_then(|data_dir| {
            let disk = |shard: u16| disks[usize::from(shard)].clone();
            Node::start(&builder, data_dir, randomness, disk, factory(&self.profile), now)
        });
        match started {
            Ok(node) => {
                self.say(|| format!("machine {machine}: a node starts"));
                self.machines[machine].process = Process::Up(Box::new(node));
                self.wake_all(machine);
            }
            Err(error) => self.node_ended(machine, &End::NotStarted(error)),
        }
    }

    /// A node is to start with another number of shards than it was founded with: it refuses, and nothing is changed.
    pub fn reshape(&mut self, machine: usize) {
        let here = &self.machines[machine];
        let dir = self.home.dir(machine, here.lives);
        if !matches!(here.process, Process::Down) || !dir.exists() {
            return;
        }
        let mut profile = self.profile.clone();
        profile.shards += 1;
        let builder = builder(&profile, machine, here.node, &self.known(machine), dir);
        let opened = ringraft::simulation::open_data_dir(&builder, &mut |_| Ok(()));
        let refused = matches!(&opened, Err(StartError::DataDir(text)) if text.contains(": shards is "));
        let said = opened.err();
        require!(refused, "reshape", "machine {machine} with another number of shards: {said:?}");
        self.say(|| format!("machine {machine}: {} shards are refused", profile.shards));
    }

    /// A node ended by itself: it refused to start, or its environment voided its promises.
    pub fn node_ended(&mut self, machine: usize, end: &End) {
        self.say(|| format!("machine {machine}: the node ended: {end:?}"));
        self.machines[machine].process = Process::Ended;
        self.cut_off(machine, true);
        self.after_end(machine, end);
    }

    /// What follows when a node ended by itself.
    fn after_end(&mut self, machine: usize, end: &End) {
        for disk in &self.machines[machine].disks {
            disk.abandon(self.random.u64(..));
        }
        let is_damaged = self.machines[machine].is_damaged;
        if self.gives_up_unsealed(machine) {
            return;
        }
        match end {
            End::NotStarted(StartError::Recovery { corrupt: true, reason, .. })
            | End::Fatal(Fatal::Corruption { reason, .. }) => {
                require!(
                    is_damaged,
                    "damage",
                    "machine {machine} finds damage where there is none: {reason}"
                );
                self.ended_for_damage(machine, end);
            }
            End::Fatal(Fatal::NoMember(_)) => {
                if self.needs_replacement(machine) {
                    self.replace_node(machine);
                }
            }
            // The disk failed: somebody mends it and starts the node again.
            End::Fatal(Fatal::Log { .. })
            | End::NotStarted(StartError::Recovery { .. } | StartError::DataDir(_)) => {
                self.machines[machine].process = Process::Down;
                let after_us = self.random.u64(100_000..2_000_000);
                self.plan(after_us, Happening::Start { machine });
            }
            other => violated("ends", format!("machine {machine} ended: {other:?}")),
        }
    }

    /// A node that met damage while it ran has set the file aside: it is started again, and heals. If that does not help, or it does
    /// not even start, somebody gives up on its disk.
    fn ended_for_damage(&mut self, machine: usize, end: &End) {
        let here = &mut self.machines[machine];
        here.ends += 1;
        if matches!(end, End::Fatal(_)) && here.ends <= ENDS_MAX {
            here.process = Process::Down;
            self.plan(1_000, Happening::Start { machine });
        } else if !self.profile.is_beyond {
            self.replace_node(machine);
        }
    }

    /// The last batch of a machine on which nothing runs may be gone, and nothing tells: beyond what is promised, so nobody
    /// starts it with this disk. Whether that is so.
    fn gives_up_unsealed(&mut self, machine: usize) -> bool {
        if !self.machines[machine].is_unsealed() {
            return false;
        }
        self.say(|| format!("machine {machine}: the end of its log is lost"));
        self.machines[machine].process = Process::Ended;
        if !self.profile.is_beyond {
            self.replace_node(machine);
        }
        true
    }

    /// SIGTERM: the node hands over, closes its logs and stops, if nothing comes between.
    pub fn stop(&mut self, machine: usize) {
        let now_us = self.now_us;
        let here = &mut self.machines[machine];
        let is_ready = here.is_awake(now_us) && here.listens();
        if !is_ready || here.is_protected(now_us) || here.stopping.is_some() {
            return;
        }
        let ends = [StopEnd::Whole, StopEnd::PowerAfter, StopEnd::Killed, StopEnd::Power];
        let end = ends[self.random.usize(..ends.len())];
        here.stopping = Some(end);
        here.running().into_iter().for_each(|node| node.shut_down());
        self.say(|| format!("machine {machine}: SIGTERM, {end:?}"));
        self.wake_all(machine);
    }

    /// A node began to close its logs: it may be cut short.
    pub fn closing(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        let start = here.starts;
        let power = match here.stopping {
            Some(StopEnd::Killed) => false,
            Some(StopEnd::Power) => true,
            Some(StopEnd::Whole | StopEnd::PowerAfter) | None => return,
        };
        here.stopping = Some(StopEnd::Whole); // unless it is in time for what is planned now
        // A close is some few writes, one after the other.
        let after_us = self.random.u64(..CLOSING_WRITES * self.profile.timing.write_us);
        self.plan(after_us, Happening::CutShort { machine, start, power });
    }

    /// A shard had a turn. If its log began a segment, the node may be cut short before the checkpoint behind that is durable.
    pub fn segment_may_have_begun(&mut self, machine: usize, shard: u16) {
        let chance = self.profile.faults.roll;
        if chance == 0 || self.now_us >= self.profile.life_us {
            return;
        }
        let here = &mut self.machines[machine];
        let Process::Up(node) = &here.process else { return };
        let rolls = node.log(shard).map_or(0, |log| log.stats().rolls);
        let before = std::mem::replace(&mut here.slots[usize::from(shard)].rolls, rolls);
        if rolls > before && before > 0 && self.random.u8(..100) < chance {
            let (start, power) = (here.starts, self.random.bool());
            let after_us = self.random.u64(..2 * self.profile.timing.write_us);
            self.plan(after_us, Happening::CutShort { machine, start, power });
        }
    }

    /// The start number `start` of a machine's node ends now, if it still runs.
    pub fn cut_short(&mut self, machine: usize, start: u64, power: bool) {
        let here = &self.machines[machine];
        if here.starts == start && matches!(here.process, Process::Up(_)) {
            if power {
                self.cut_power(machine)
            } else {
                self.kill(machine)
            }
            self.start_later(machine);
        }
    }

    /// A node handed over, closed its logs and stopped, as it was asked to.
    pub fn node_stopped(&mut self, machine: usize) {
        self.say(|| format!("machine {machine}: the node stopped"));
        let here = &mut self.machines[machine];
        here.process = Process::Down;
        let end = here.stopping.take();
        self.cut_off(machine, true);
        // What ran beside the turns ends anywhere.
        for disk in &self.machines[machine].disks {
            disk.abandon(self.random.u64(..));
        }
        if self.gives_up_unsealed(machine) {
            return;
        }
        if end == Some(StopEnd::PowerAfter) {
            self.cut_power(machine);
        }
        self.start_later(machine);
    }

    /// `kill -9`: what was written is not lost, connections end at once.
    pub fn kill(&mut self, machine: usize) {
        let here = &self.machines[machine];
        if !matches!(here.process, Process::Up(_)) || here.is_protected(self.now_us) {
            return;
        }
        self.say(|| format!("machine {machine}: kill -9"));
        self.machines[machine].process = Process::Down;
        self.cut_off(machine, true);
        for disk in &self.machines[machine].disks {
            disk.abandon(self.random.u64(..));
        }
    }

    /// The power goes: what was not synced is lost or torn, and nobody is told.
    pub fn cut_power(&mut self, machine: usize) {
        if self.machines[machine].is_protected(self.now_us) {
            return;
        }
        self.say(|| format!("machine {machine}: power cut"));
        if matches!(self.machines[machine].process, Process::Up(_)) {
            self.machines[machine].process = Process::Down;
        }
        self.cut_off(machine, false);
        let here = &mut self.machines[machine];
        here.powered = false;
        for disk in &here.disks {
            disk.crash(self.random.u64(..));
        }
        let base_us = self.random.u64(1_000_000..BOOT_US_MAX);
        here.clock = Clock::new(self.now_us, base_us, drift(&self.profile, &mut self.random));
    }

    /// SIGSTOP, and SIGCONT after `for_us`.
    pub fn pause(&mut self, machine: usize, for_us: u64) {
        if !self.machines[machine].is_awake(self.now_us) {
            return;
        }
        self.say(|| format!("machine {machine}: SIGSTOP for {} ms", for_us / 1000));
        self.machines[machine].paused_until = self.now_us + for_us;
        self.plan(for_us, Happening::Resume { machine });
    }

    /// SIGCONT.
    pub fn resume(&mut self, machine: usize) {
        if self.machines[machine].is_awake(self.now_us) {
            self.say(|| format!("machine {machine}: goes on"));
            self.wake_all(machine);
        }
    }

    /// Somebody puts an empty disk into a machine on which nothing runs.
    pub fn replace_disk(&mut self, machine: usize) {
        self.say(|| format!("machine {machine}: a new disk"));
        let here = &mut self.machines[machine];
        here.process = Process::Down;
        here.lives += 1;
        here.disks = (0..self.profile.shards).map(|_| SimDisk::new()).collect();
        (here.is_damaged, here.was_damaged, here.ends) = (false, false, 0);
        here.time_disks(&self.profile, &mut self.random);
    }
}
