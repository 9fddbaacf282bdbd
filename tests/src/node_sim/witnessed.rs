//! temporary
use ringraft::*;
pub struct Witnessed<S>(pub S);
impl<S: StateMachine> Witnessed<S> {
    pub fn new(_group: GroupId, machine: S) -> Self { Witnessed(machine) }
}
impl<S: StateMachine> StateMachine for Witnessed<S> {
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied { self.0.apply(entry, command, reply) }
    fn query(&self, query: &[u8], reply: &mut Vec<u8>) { self.0.query(query, reply) }
    fn freeze(&mut self) -> Box<dyn Frozen> { self.0.freeze() }
    fn wants_thaw(&self) -> bool { self.0.wants_thaw() }
    fn thaw(&mut self, budget_bytes: usize) -> Progress { self.0.thaw(budget_bytes) }
    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> { self.0.restore_entry(key, value) }
    fn restore_end(&mut self) -> Result<(), RestoreError> { self.0.restore_end() }
    fn state_bytes(&self) -> u64 { self.0.state_bytes() }
}
