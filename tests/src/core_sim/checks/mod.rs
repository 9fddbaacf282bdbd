//! What must hold at every moment, whatever happens: judged from outside, by what replicas say and by
//! what is really on the disks. One file per promise; each is asked after every step.

pub mod committed;
pub mod cursors;
pub mod durable_quorum;
pub mod election_safety;
pub mod leader_completeness;
pub mod leases;
pub mod log_matching;
pub mod monotone;
pub mod one_vote;
pub mod progress;
pub mod promises;
pub mod protocol;
pub mod reads;
pub mod recovery;
pub mod rest;

use raft::Term;

use super::disk::Entry;
use super::input::{Input, Outcome};
use super::machine::{Life, Machine};

/// One step: what happened to which machine, and what became of it.
pub struct Scene<'a> {
    /// Which machine.
    pub at: usize,
    /// All machines, after the step.
    pub machines: &'a [Machine],
    /// What happened.
    pub input: &'a Input,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// True time.
    pub now_us: u64,
}

impl Scene<'_> {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machines[self.at]
    }

    /// What runs on it: only what runs has steps.
    #[must_use]
    pub fn life(&self) -> &Life {
        self.machine().life.as_ref().expect("a step of a node that runs")
    }
}

/// What the checks remember.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// All that was ever committed, from entry 1.
    pub history: Vec<Entry>,
    /// The term of the leader that committed each.
    pub committed_in: Vec<Term>,
    /// Election safety.
    pub elections: election_safety::Elections,
    /// One vote per term.
    pub votes: one_vote::Votes,
    /// Log matching.
    pub entries: log_matching::Entries,
    /// What only grows.
    pub marks: monotone::Marks,
    /// Reads in flight.
    pub reads: reads::Reads,
}

impl Ledger {
    /// Judges one step.
    pub fn check(&mut self, scene: &Scene) {
        protocol::check(scene);
        self.elections.check(scene);
        leader_completeness::check(scene, &self.history, &self.committed_in);
        self.votes.check(scene);
        self.entries.check(scene);
        self.commit(scene);
        self.marks.check(scene);
        cursors::check(scene);
        promises::check(scene);
        progress::check(scene);
        self.reads.check(scene, self.history.len());
        rest::check(scene);
        recovery::check(scene, &self.history);
    }
}
