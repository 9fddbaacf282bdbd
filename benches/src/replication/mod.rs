//! Our Raft core beside the crate `raft` (raft-rs): the same operations on the same groups, in one process.
//!
//! What counts and what does not, on every side alike: three replicas of each group, all in this thread.
//! Messages are handed over as values, so neither encoding nor a network is in it. What is to be persisted
//! counts as persisted at once, and commands of 128 bytes are known by reference only: no side copies them,
//! no side has a log below it.

pub mod bare;
pub mod compare;
pub mod ours;
pub mod raw_node;
pub mod storage;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The size of an entry's command.
pub const COMMAND_BYTES: usize = 128;
/// Replicas of each group. The first leads.
pub const NODES: usize = 3;
/// Appends sent ahead of their acks, at most: as many as one pass of [`Side::steps`] sends.
pub const WINDOW: usize = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// One entry's whole way: proposed, persisted on the leader, appended to and persisted on two followers,
    /// both acks taken, committed and known as applied on the leader.
    ReplicatedEntry,
    /// A proposal, and the two appends that the leader makes of it.
    Propose,
    /// A follower's part: it takes an append, persists it, and makes the ack.
    Append,
    /// The leader takes an ack; every other one commits.
    Ack,
    /// A round of beats: the leader's tick makes two, the followers take and answer them, the leader takes
    /// the answers.
    Beat,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 5] =
        [Operation::ReplicatedEntry, Operation::Propose, Operation::Append, Operation::Ack, Operation::Beat];

    /// As it stands in tables and result lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::ReplicatedEntry => "replicated_entry",
            Operation::Propose => "propose",
            Operation::Append => "append",
            Operation::Ack => "ack",
            Operation::Beat => "beat",
        }
    }

    /// How often one pass over all groups does it.
    #[must_use]
    pub fn count(self, groups: usize, pass: Pass) -> u64 {
        let once = groups as u64 * pass.repeat;
        match self {
            Operation::ReplicatedEntry => once * pass.batch,
            Operation::Propose | Operation::Beat => once,
            Operation::Append | Operation::Ack => once * (NODES as u64 - 1),
        }
    }
}

/// One pass over all groups.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// What each group does before the next group's turn; at most [`WINDOW`].
    pub repeat: u64,
    /// Entries of one proposal.
    pub batch: u64,
}

impl Pass {
    /// One group alone repeats itself in its cache; many groups take turns, once each.
    #[must_use]
    pub fn for_groups(groups: usize, batch: u64) -> Pass {
        Pass { repeat: if groups == 1 { WINDOW as u64 } else { 1 }, batch }
    }
}

/// The CPU time of this thread: what other processes use of the machine does not count.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Sums up the nanoseconds, or the allocations, of the sections of a pass that are measured.
pub struct Meter {
    allocations: bool,
    sums: [u64; Operation::ALL.len()],
}

impl Meter {
    /// A meter of time.
    #[must_use]
    pub fn of_time() -> Meter {
        Meter { allocations: false, sums: [0; _] }
    }

    /// A meter of allocations.
    #[must_use]
    pub fn of_allocations() -> Meter {
        Meter { allocations: true, sums: [0; _] }
    }

    /// Runs a section.
    pub fn section(&mut self, operation: Operation, run: impl FnOnce()) {
        let sum = &mut self.sums[operation as usize];
        if self.allocations {
            *sum += allocation_counter::measure(run).count_total;
            return;
        }
        // Counting costs a little too, and only one side allocates.
        allocation_counter::opt_out(|| {
            let start = cpu_time();
            run();
            *sum += u64::try_from((cpu_time() - start).as_nanos()).unwrap_or(u64::MAX);
        });
    }

    /// Nanoseconds or allocations of all sections of `operation`.
    #[must_use]
    pub fn sum(&self, operation: Operation) -> u64 {
        self.sums[operation as usize]
    }
}

/// Three nodes' replicas of a number of groups, all led by the first node.
pub trait Side {
    /// Who this is.
    fn name(&self) -> &'static str;

    /// Entries on their whole way, one proposal at a time in each group.
    fn replicate(&mut self, meter: &mut Meter, pass: Pass);

    /// The steps of that way measured by themselves: all proposals first, then all appends, then all acks.
    fn steps(&mut self, meter: &mut Meter, pass: Pass);

    /// Rounds of beats.
    fn beat(&mut self, meter: &mut Meter, pass: Pass);

    /// The sums of the commit indexes of all groups, per node. A round of beats tells followers the newest.
    fn commits(&self) -> [u64; NODES];

    /// One pass of what belongs to `operation`.
    fn run(&mut self, operation: Operation, meter: &mut Meter, pass: Pass) {
        match operation {
            Operation::ReplicatedEntry => self.replicate(meter, pass),
            Operation::Propose | Operation::Append | Operation::Ack => self.steps(meter, pass),
            Operation::Beat => self.beat(meter, pass),
        }
    }
}
