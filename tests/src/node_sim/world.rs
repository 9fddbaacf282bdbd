//! The simulated world: virtual time, machines, connections, and what happens next.
//!
//! Everything that happens is an event of one heap, ordered by time and then by the order in which it was planned, so a seed
//! makes one history. Time is in microseconds. A shard is visited when something concerns it and
//! takes some virtual time for its turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::backups::Backups;
use super::caller::Caller;
use super::checks::Checks;
use super::clients::Clients;
use super::home::Home;
use super::machine::{Machine, Process};
use super::net::{Connection, Packet};
use super::operator::Operator;
use super::profile::Profile;
use super::weather::Weather;
use crate::core_sim::trace::Trace;

/// What a turn takes at least and at most.
const TURN_US: std::ops::RangeInclusive<u64> = 5..=60;

/// Something that is going to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A shard is visited, if that is still its plan.
    Visit {
        /// The machine.
        machine: usize,
        /// The shard.
        shard: u16,
    },
    /// A packet arrives.
    Arrive {
        /// The connection.
        connection: usize,
        /// The side it arrives at.
        to: usize,
        /// Its number among those to that side.
        number: u64,
        /// What.
        packet: Packet,
    },
    /// A client goes on.
    Client(usize),
    /// The operator goes on.
    Operator,
    /// Who takes a backup goes on.
    Backup,
    /// Chaos takes its next step.
    Chaos,
    /// A machine's node is started, if none runs.
    Start {
        /// The machine.
        machine: usize,
    },
    /// A node that closes its logs, or began a segment, is cut short.
    CutShort {
        /// The machine.
        machine: usize,
        /// Which start of its node.
        start: u64,
        /// By the end of power, not of its process alone.
        power: bool,
    },
    /// A stopped node goes on.
    Resume {
        /// The machine.
        machine: usize,
    },
    /// It is seen whether a machine whose disk was damaged is whole again.
    CheckHealed {
        /// The machine.
        machine: usize,
    },
    /// A machine whose disk was damaged is looked at.
    Inspect {
        /// The machine.
        machine: usize,
    },
    /// The weather of the network and of disks changes back.
    Clear(super::weather::Spell),
}

/// An event with its time and its place among those of that time.
#[derive(PartialEq, Eq)]
struct Planned {
    at_us: u64,
    order: u64,
    what: Happening,
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Counts what happened, for those who want to know what a seed was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Visits of shards.
    pub visits: u64,
    /// Packets that arrived.
    pub packets: u64,
    /// Starts of nodes.
    pub starts: u64,
    /// Operations of clients that were answered.
    pub answered: u64,
    /// Faults of any kind.
    pub faults: u64,
}

/// All there is.
pub struct World {
    /// The time.
    pub now_us: u64,
    /// The source of all chance.
    pub random: fastrand::Rng,
    /// What this life is like.
    pub profile: Profile,
    /// What is told of it.
    pub trace: Trace,
    /// Where the nodes keep their small files.
    pub home: Home,
    /// The machines.
    pub machines: Vec<Machine>,
    /// All connections there ever were.
    pub connections: Vec<Connection>,
    /// Links and disks that misbehave now.
    pub weather: Weather,
    /// The clients.
    pub clients: Clients,
    /// Who adds and removes nodes.
    pub operator: Operator,
    /// The backups.
    pub backups: Backups,
    /// One who asks beside the clients.
    pub caller: Caller,
    /// What must never be.
    pub checks: Checks,
    /// What happened.
    pub counts: Counts,
    heap: BinaryHeap<Reverse<Planned>>,
    order: u64,
}

impl Counts {
    /// Adds another life's.
    pub fn add(&mut self, other: &Counts) {
        self.visits += other.visits;
        self.packets += other.packets;
        self.starts += other.starts;
        self.answered += other.answered;
        self.faults += other.faults;
    }
}

impl World {
    /// A world of `profile` in which nothing runs yet.
    pub fn new(mut random: fastrand::Rng, profile: Profile, trace: Trace) -> World {
        let machines = (0..usize::from(profile.founders + profile.spares))
            .map(|at| Machine::new(at, &profile, &mut random))
            .collect();
        let home = Home::new();
        trace.hide(home.prefix());
        World {
            now_us: 0,
            home,
            weather: Weather::new(&profile),
            clients: Clients::new(&profile),
            operator: Operator::default(),
            backups: Backups::default(),
            caller: Caller::default(),
            checks: Checks::default(),
            counts: Counts::default(),
            machines,
            connections: Vec::new(),
            heap: BinaryHeap::new(),
            order: 0,
            random,
            profile,
            trace,
        }
    }

    /// Says what happens, for whoever listens.
    pub fn say(&self, what: impl FnOnce() -> String) {
        self.trace.say(|| format!("{:>10.6} {}", self.now_us as f64 / 1e6, what()));
    }

    /// Plans `what` in `after_us`.
    pub fn plan(&mut self, after_us: u64, what: Happening) {
        self.plan_at(self.now_us + after_us, what);
    }

    /// Plans `what` at a time, which is not over.
    pub fn plan_at(&mut self, at_us: u64, what: Happening) {
        self.order += 1;
        self.heap.push(Reverse(Planned { at_us: at_us.max(self.now_us), order: self.order, what }));
    }

    /// Lets things happen until `until_us`.
    pub fn run_until(&mut self, until_us: u64) {
        self.run_while(until_us, |_| true);
    }

    /// Lets things happen until `until_us` or until `goes_on` says no, which is asked after each. Whether time is up.
    pub fn run_while(&mut self, until_us: u64, goes_on: impl Fn(&World) -> bool) -> bool {
        while let Some(Reverse(next)) = self.heap.peek()
            && next.at_us <= until_us
        {
            let Some(Reverse(next)) = self.heap.pop() else { break };
            self.now_us = next.at_us;
            self.happen(next.what);
            if !goes_on(self) {
                return false;
            }
        }
        self.now_us = until_us;
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Visit { machine, shard } => self.visit_if_planned(machine, shard),
            Happening::Arrive { connection, to, number, packet } => {
                self.arrive(connection, to, number, packet);
            }
            Happening::Client(number) => self.client_goes_on(number),
            Happening::Operator => self.operator_goes_on(),
            Happening::Backup => self.backup_goes_on(),
            Happening::Chaos => self.chaos(),
            Happening::Start { machine } => self.start(machine),
            Happening::CutShort { machine, start, power } => self.cut_short(machine, start, power),
            Happening::Resume { machine } => self.resume(machine),
            Happening::Inspect { machine } => self.inspect(machine),
            Happening::CheckHealed { machine } => self.check_healed(machine),
            Happening::Clear(spell) => self.clear(spell),
        }
    }

    /// Whether a machine will be started, or restarted because its disk was damaged: its node may then have to be replaced.
    pub fn awaits_starts(&self) -> bool {
        self.heap.iter().any(|Reverse(next)| match next.what {
            Happening::Inspect { .. } => true,
            Happening::Start { machine } => matches!(self.machines[machine].process, Process::Down),
            _ => false,
        })
    }

    /// Has a shard visited in `after_us`, unless that happens earlier anyway.
    pub fn wake(&mut self, machine: usize, shard: u16, after_us: u64) {
        let slot = &mut self.machines[machine].slots[usize::from(shard)];
        let at_us = (self.now_us + after_us).max(slot.busy_until);
        if at_us < slot.visit_at {
            slot.visit_at = at_us;
            self.plan_at(at_us, Happening::Visit { machine, shard });
        }
    }

    /// Has all shards of a machine visited.
    pub fn wake_all(&mut self, machine: usize) {
        for shard in 0..self.profile.shards {
            self.wake(machine, shard, 0);
        }
    }

    fn visit_if_planned(&mut self, machine: usize, shard: u16) {
        let now_us = self.now_us;
        let here = &mut self.machines[machine];
        let slot = &mut here.slots[usize::from(shard)];
        if slot.visit_at != now_us {
            return; // the plan was changed
        }
        slot.visit_at = u64::MAX;
        if here.is_awake(now_us) {
            self.visit(machine, shard);
            self.plan_next(machine, shard);
        }
    }

    /// One visit of a shard: its turn, what it does at its sockets, and what the checks say.
    fn visit(&mut self, machine: usize, shard: u16) {
        let now_us = self.now_us;
        self.counts.visits += 1;
        let here = &mut self.machines[machine];
        let now = here.clock.read(now_us);
        here.disks[usize::from(shard)].advance(now_us);
        let slot = &mut here.slots[usize::from(shard)];
        slot.busy_until = now_us + self.random.u64(TURN_US);
        let mut inputs = std::mem::take(&mut slot.inputs);
        let Process::Up(node) = &mut here.process else { return };
        super::told::turn_of(now_us, machine);
        let mut actions = Vec::new();
        let was_ready = node.is_ready();
        let end = node.visit(shard, now, &mut inputs, &mut actions);
        if let Err(end) = end {
            return self.node_ended(machine, &end);
        }
        let (ready, closing, over) = (node.is_ready() && !was_ready, node.is_closing(), node.is_over());
        if ready {
            self.say(|| format!("machine {machine}: ready"));
        }
        self.note_damage(machine, shard);
        self.segment_may_have_begun(machine, shard);
        self.check_visit(machine, shard);
        for action in actions {
            self.carry_out(machine, shard, action);
        }
        if closing {
            self.closing(machine);
        }
        if over {
            self.node_stopped(machine);
        } else {
            // The mesh: other shards of this node may have mail.
            for other in 0..self.profile.shards {
                if self.machines[machine].running().is_some_and(|node| node.wants_visit(other)) {
                    self.wake(machine, other, 1);
                }
            }
        }
    }

    /// Plans a shard's next visit: by its deadline or its disk.
    fn plan_next(&mut self, machine: usize, shard: u16) {
        let now_us = self.now_us;
        let here = &mut self.machines[machine];
        let Process::Up(node) = &here.process else { return };
        let due_us = match node.wants_visit(shard) {
            true => now_us,
            false => here.disks[usize::from(shard)].next_due().unwrap_or(u64::MAX),
        };
        let at_us = here.clock.when(node.deadline(shard)).min(due_us);
        if at_us != u64::MAX {
            self.wake(machine, shard, at_us.saturating_sub(now_us));
        }
    }
}
