//! What a replica applies to: the user's machine, or in group 0 the node directory.

use raft::{EntryId, GroupId};

use crate::members::Members;
use crate::state_machine::{Applied, CheckEntry, Frozen, Progress, RestoreError, Saved, StateMachine};

/// The machine of one replica.
pub(crate) enum Machine<S> {
    /// A group that holds the user's state.
    User(S),
    /// Group 0.
    Members(Members),
}

impl<S> Machine<S> {
    /// A fresh machine for `group`. The directory's is filled when it is known how the cluster formed.
    pub(crate) fn new(group: GroupId, user: impl FnOnce(GroupId) -> S) -> Machine<S> {
        if group == GroupId(0) { Machine::Members(Members::default()) } else { Machine::User(user(group)) }
    }

    /// The user's machine, in all other groups.
    #[cfg(feature = "simulation")]
    pub(crate) fn user(&mut self) -> Option<&mut S> {
        match self {
            Machine::User(machine) => Some(machine),
            Machine::Members(_) => None,
        }
    }

    /// The node directory, in group 0.
    pub(crate) fn members(&self) -> Option<&Members> {
        match self {
            Machine::Members(members) => Some(members),
            Machine::User(_) => None,
        }
    }
}

impl<S: StateMachine> StateMachine for Machine<S> {
    fn apply(&mut self, entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        match self {
            Machine::User(machine) => machine.apply(entry, command, reply),
            Machine::Members(members) => members.apply(entry, command, reply),
        }
    }

    fn look_ahead(&self, command: &[u8]) {
        match self {
            Machine::User(machine) => machine.look_ahead(command),
            Machine::Members(members) => members.look_ahead(command),
        }
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        match self {
            Machine::User(machine) => machine.query(query, reply),
            Machine::Members(members) => members.query(query, reply),
        }
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        match self {
            Machine::User(machine) => machine.freeze(),
            Machine::Members(members) => members.freeze(),
        }
    }

    fn saved(&mut self, kept: bool) {
        match self {
            Machine::User(machine) => machine.saved(kept),
            Machine::Members(members) => members.saved(kept),
        }
    }

    fn forget_saved(&mut self) {
        match self {
            Machine::User(machine) => machine.forget_saved(),
            Machine::Members(members) => members.forget_saved(),
        }
    }

    fn serves(&self) -> Option<CheckEntry> {
        match self {
            Machine::User(machine) => machine.serves(),
            Machine::Members(members) => members.serves(),
        }
    }

    fn serve(&mut self, saved: Saved) -> bool {
        match self {
            Machine::User(machine) => machine.serve(saved),
            Machine::Members(members) => members.serve(saved),
        }
    }

    fn wants_thaw(&self) -> bool {
        match self {
            Machine::User(machine) => machine.wants_thaw(),
            Machine::Members(members) => members.wants_thaw(),
        }
    }

    fn thaw(&mut self, budget_bytes: usize) -> Progress {
        match self {
            Machine::User(machine) => machine.thaw(budget_bytes),
            Machine::Members(members) => members.thaw(budget_bytes),
        }
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match self {
            Machine::User(machine) => machine.restore_entry(key, value),
            Machine::Members(members) => members.restore_entry(key, value),
        }
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        match self {
            Machine::User(machine) => machine.restore_end(),
            Machine::Members(members) => members.restore_end(),
        }
    }

    fn state_bytes(&self) -> u64 {
        match self {
            Machine::User(machine) => machine.state_bytes(),
            Machine::Members(members) => members.state_bytes(),
        }
    }
}
