//! The directory as a state machine.

use raft::EntryId;

use super::command::{Ask, Command};
use super::state::Members;
use crate::state_machine::{Applied, Frozen, Progress, RestoreError, SaveSink, StateMachine};

/// A save is one entry under this key.
const KEY: &[u8] = b"members";

impl StateMachine for Members {
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        let Ok(command) = Command::decode(command) else { return Applied::Unknown };
        tracing::debug!(?command, %entry, "the directory changes");
        reply.push(self.carry_out(entry.index.0, command) as u8);
        Applied::Done
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        // A question of a newer version is answered with nothing, which is no state.
        if let Ok(Ask::List) = Ask::decode(query) {
            reply.extend_from_slice(&self.encode());
        }
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenMembers(self.encode()))
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        if key != KEY {
            return Err(RestoreError::new("not an entry of the node directory"));
        }
        *self = Members::decode(value)
            .ok_or_else(|| RestoreError::new("a node directory that this version cannot read"))?;
        Ok(())
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        if self.is_unfounded() { Err(RestoreError::new("a node directory without nodes")) } else { Ok(()) }
    }

    fn state_bytes(&self) -> u64 {
        self.encode().len() as u64
    }
}

/// The directory at the moment of a save.
struct FrozenMembers(Vec<u8>);

impl Frozen for FrozenMembers {
    fn write(&mut self, sink: &mut dyn SaveSink, _budget_bytes: usize) -> Progress {
        sink.entry(KEY, &self.0);
        Progress::Done
    }
}

#[cfg(test)]
mod tests;
