//! Scripted tests: a cluster to which only happens what a script says.
//!
//! `machine` counts from 0, its node from 1. Whatever a script waits for must come about within half a minute of simulated time.

use raft::{GroupId, Index};
use ringraft::StateMachine;
use ringraft::kv::Command;

use super::machine::Process;
use super::operator::Errand;
use super::profile::{Links, Profile};
use super::world::{Happening, World};
use crate::client::{Value, read_reply};
use crate::core_sim::trace::Trace;
use crate::core_sim::violation::violated;

/// The group that all keys of a script are in.
pub const GROUP: GroupId = GroupId(1);
/// What is waited for comes within this.
const WAIT_US: u64 = 30_000_000;
/// Between two looks.
const LOOK_US: u64 = 20_000;
/// Nobody answers within this: well over a request's deadline.
const SILENCE_US: u64 = 4_000_000;

/// A cluster and its script.
pub struct Script {
    world: World,
}

impl Script {
    /// A cluster of so many nodes and one group, on links that `random` draws; `change` adjusts what it is like.
    pub fn begin(
        mut random: fastrand::Rng,
        trace: Trace,
        nodes: u16,
        change: impl FnOnce(&mut Profile),
    ) -> Script {
        let mut profile = Profile::plain(nodes);
        (profile.groups, profile.clients) = (1, 0);
        profile.links = Links {
            delay_us: random.u64(50..2_000),
            jitter_us: random.u64(0..3_000),
            lost_per_mille: random.u16(0..20),
            split_per_mille: random.u16(0..50),
            mangled_per_mille: 0,
        };
        change(&mut profile);
        let mut world = World::new(random, profile, trace);
        world.operator.is_scripted = true;
        world.begin();
        let mut script = Script { world };
        let nodes = usize::from(nodes);
        script.wait("every node to follow one leader", |script| {
            let leader = script.leader();
            leader.is_some() && (0..nodes).all(|machine| script.follows(machine) == leader)
        });
        script
    }

    /// Lets time pass until `is_so`.
    pub fn wait(&mut self, what: &str, is_so: impl Fn(&mut Script) -> bool) {
        let until_us = self.world.now_us + WAIT_US;
        while !is_so(self) {
            if self.world.now_us >= until_us {
                violated("script", format!("waited for {what} in vain: {}", self.look()));
            }
            self.world.run_until(self.world.now_us + LOOK_US);
        }
    }

    /// The script's own claim.
    pub fn claim(&mut self, holds: bool, what: &str) {
        if !holds {
            violated("script", format!("{what}: {}", self.look()));
        }
    }

    fn look(&mut self) -> String {
        let machines = 0..self.world.machines.len();
        let told = machines.map(|machine| {
            let node = self.world.machines[machine].running();
            let raft = node.and_then(|node| node.raft(0, GROUP).map(|raft| (raft.status(), raft.config())));
            format!("\n  machine {machine}: {raft:?}")
        });
        told.collect()
    }

    /// Sends one command through a machine. None if it is not answered in time, or by a machine that cannot.
    pub fn ask(&mut self, machine: usize, line: &str) -> Option<Value> {
        let operator = &mut self.world.operator;
        (operator.through, operator.answer) = (Some(machine), None);
        self.world.order([Errand::Tell(line.to_owned())]);
        let until_us = self.world.now_us + SILENCE_US;
        self.world.run_while(until_us, |world| world.operator.answer.is_none() && !world.operator.is_idle());
        self.world.give_up_errands();
        let operator = &mut self.world.operator;
        operator.through = None;
        operator.answer.take().filter(|answer| {
            !matches!(answer.error_code(), Some("CLUSTERDOWN" | "TIMEOUT" | "TRYAGAIN" | "MOVED"))
        })
    }

    /// Writes through a machine, until it is acknowledged.
    pub fn put(&mut self, machine: usize, key: &str, value: &str) {
        self.until_done(machine, &format!("SET {key} {value}"));
    }

    /// Deletes through a machine, until it is acknowledged.
    pub fn delete(&mut self, machine: usize, key: &str) {
        self.until_done(machine, &format!("DEL {key}"));
    }

    /// Asks until somebody answers without an error.
    fn until_done(&mut self, machine: usize, line: &str) {
        let until_us = self.world.now_us + WAIT_US;
        while self.ask(machine, line).is_none_or(|answer| answer.error_code().is_some()) {
            let is_over = self.world.now_us >= until_us;
            self.claim(!is_over, &format!("{line} through machine {machine} is not done"));
        }
    }

    /// Reads through a machine; none if it is not answered.
    pub fn get(&mut self, machine: usize, key: &str) -> Option<Option<String>> {
        text(self.ask(machine, &format!("GET {key}"))?)
    }

    /// What the replica on a machine has under a key, asked past the cluster.
    pub fn holds(&mut self, machine: usize, key: &str) -> Option<String> {
        let replica = self.world.machines[machine].running()?.machine(0, GROUP)?;
        let mut reply = Vec::new();
        replica.query(&Command::Get { key: key.as_bytes() }.to_vec(), &mut reply);
        text(read_reply(&mut reply.as_slice()).expect("a machine answers in RESP")).flatten()
    }

    /// Waits until the replica on a machine has `value` under a key, or nothing.
    pub fn wait_holds(&mut self, machine: usize, key: &str, value: Option<&str>) {
        self.wait(&format!("{key} = {value:?} on machine {machine}"), |script| {
            script.holds(machine, key).as_deref() == value
        });
    }

    /// The machine that leads, if exactly one says so.
    pub fn leader(&mut self) -> Option<usize> {
        let all = self.world.machines.iter_mut().enumerate();
        let mut leaders = all.filter_map(|(at, machine)| {
            let raft = machine.running().and_then(|node| node.raft(0, GROUP));
            raft.is_some_and(raft::Raft::is_leader).then_some(at)
        });
        let leader = leaders.next();
        leader.filter(|_| leaders.next().is_none())
    }

    /// The machine whose node a replica takes for the leader.
    fn follows(&mut self, machine: usize) -> Option<usize> {
        let leader = self.world.machines[machine].running()?.raft(0, GROUP)?.leader()?;
        self.world.machines.iter().position(|machine| machine.node == leader.0)
    }

    /// Where the log of a replica begins, after what its snapshot holds, and what it has applied.
    pub fn log(&mut self, machine: usize) -> (Index, Index) {
        let node = self.world.machines[machine].running();
        let raft = node.and_then(|node| node.raft(0, GROUP));
        raft.map_or((Index(0), Index(0)), |raft| (raft.compacted().index, raft.applied_index()))
    }

    /// Cuts some machines off the others.
    pub fn cut(&mut self, apart: &[usize]) {
        self.world.weather.cut(|from, to| apart.contains(&from) != apart.contains(&to));
    }

    /// Ends all cuts.
    pub fn heal(&mut self) {
        self.world.weather.clear();
    }

    /// Has a machine lead the group.
    pub fn lead(&mut self, machine: usize) {
        let node = self.world.machines[machine].node;
        let until_us = self.world.now_us + WAIT_US;
        while self.leader() != Some(machine) {
            let is_over = self.world.now_us >= until_us;
            self.claim(!is_over, &format!("machine {machine} does not get to lead"));
            let _asked_again = self.ask(machine, &format!("RINGRAFT TRANSFER {GROUP} {node}"));
            self.world.run_until(self.world.now_us + 10 * LOOK_US);
        }
    }

    /// A node leaves the cluster: done when it has ended and the directory has forgotten it.
    pub fn remove(&mut self, machine: usize) {
        let node = self.world.machines[machine].node;
        self.world.order([Errand::Remove(node)]);
        self.wait(&format!("machine {machine} to leave"), |script| {
            let has_ended = matches!(script.world.machines[machine].process, Process::Ended);
            has_ended && script.world.operator.is_idle()
        });
    }

    /// A node that left comes back with an empty disk: done when it has a vote.
    pub fn add(&mut self, machine: usize) {
        let node = self.world.machines[machine].node;
        self.world.order([
            Errand::ReplaceDisk(machine),
            Errand::Start(machine),
            Errand::Add { node, machine },
        ]);
        self.wait(&format!("machine {machine} to become a voter"), |script| {
            let own = script.world.machines[machine].running();
            let own = own.and_then(|own| own.raft(0, GROUP));
            own.is_some_and(|raft| raft.config().voters.contains(&raft::NodeId(node)))
        });
    }

    /// `kill -9`, and a start.
    pub fn restart(&mut self, machine: usize) {
        self.world.kill(machine);
        self.world.plan(1_000, Happening::Start { machine });
        self.wait(&format!("machine {machine} to be up"), |script| script.world.machines[machine].listens());
    }

    /// How many voters the group has, as its leader sees it.
    pub fn voters(&mut self) -> usize {
        let Some(leader) = self.leader() else { return 0 };
        let node = self.world.machines[leader].running();
        node.and_then(|node| node.raft(0, GROUP)).map_or(0, |raft| raft.config().voters.len())
    }

    /// The script is over: nodes that left come back, and everything must be alike.
    pub fn end(mut self) {
        self.world.operator.is_scripted = false;
        self.world.calm_down();
    }
}

fn text(value: Value) -> Option<Option<String>> {
    match value {
        Value::Bulk(bytes) => Some(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Value::Null => Some(None),
        _ => None,
    }
}
