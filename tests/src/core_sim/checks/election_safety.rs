//! Election Safety (thesis Figure 3.2): at most one leader per term; and it leads only once its own
//! vote would survive a crash.

use std::collections::BTreeMap;

use raft::{Event, NodeId, Term};

use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::election_safety";

/// Who led which term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elections {
    leaders: BTreeMap<Term, (NodeId, u32)>,
}

impl Elections {
    /// The newest term that anybody led.
    #[must_use]
    pub fn newest(&self) -> Term {
        self.leaders.last_key_value().map_or(Term(0), |(term, _)| *term)
    }

    /// How many terms had a leader.
    #[must_use]
    pub fn count(&self) -> u64 {
        super::super::disk::index_of(self.leaders.len())
    }

    /// Judges the elections of a step.
    pub fn check(&mut self, scene: &Scene) {
        for event in &scene.outcome.events {
            let Event::BecameLeader { term, .. } = event else { continue };
            let machine = scene.machine();
            let own = (machine.id, machine.incarnation);
            let leader = *self.leaders.entry(*term).or_insert(own);
            require!(leader == own, CHECK, "{own:?} and {leader:?} lead {term:?}");
            let durable = machine.disk.hard_state;
            require!(
                (durable.term, durable.vote) == (*term, Some(machine.id)),
                CHECK,
                "{} leads {term:?} before its vote is durable: {durable:?}",
                machine.id
            );
        }
    }
}
