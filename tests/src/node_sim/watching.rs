//! What the checks are shown, and when.

use ringraft::simulation::End;

use super::world::World;
use crate::workload::judge;

impl World {
    /// A shard had a turn.
    pub fn check_visit(&mut self, _machine: usize, _shard: u16) {}

    /// A node started.
    pub fn checks_started(&mut self, _machine: usize) {}

    /// A node ended by itself.
    pub fn checks_ended(&mut self, _machine: usize, _end: &End) {}

    /// A client was answered.
    pub fn check_answered(&mut self, _operation: usize) {}

    /// The life is over, and all is calm.
    pub fn check_end(&mut self) {
        let (operations, durable) = self.clients.take_recorded();
        let judgement = judge(operations, &durable, Vec::new());
        let undecided_only = judgement.faults.is_empty() && judgement.report.violations.is_empty();
        super::violated_if(!undecided_only, "histories", || format!("{judgement}"));
    }
}
