//! The handle to one group.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use raft::{GroupId, Time};
use runtime::MailboxSender;

use crate::completion::{Completion, completion};
use crate::error::{ProposeError, QueryError};
use crate::shard::{CallAnswer, Kind, Outcome, ShardMessage};

/// The largest command, in bytes: what one entry holds.
pub const COMMAND_BYTES_MAX: usize = raft::COMMAND_BYTES_MAX;

/// A handle to one group of this engine: cheap to clone, usable from any thread and any executor.
///
/// It works on every node of the cluster, whichever leads the group: requests are passed on to the leader,
/// and held for up to the engine's deadline (2 s) while there is none.
#[derive(Clone)]
pub struct Group {
    id: GroupId,
    shard: Arc<MailboxSender<ShardMessage>>,
    deadline: Duration,
}

impl Group {
    pub(crate) fn new(id: GroupId, shard: Arc<MailboxSender<ShardMessage>>, deadline: Duration) -> Group {
        Group { id, shard, deadline }
    }

    /// This group's number.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Replicates `command` and applies it; the answer is what [`crate::StateMachine::apply`] replied on the
    /// leader. When it returns `Ok`, the command is on the disks of a quorum and applied.
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// See [`ProposeError`]: each says whether the command may have been applied.
    pub fn propose<C: Into<Vec<u8>>>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<Vec<u8>, ProposeError>> + Send + use<C> {
        let answer = self
            .check_command(command.into())
            .and_then(|command| self.call(Kind::Write, command).ok_or(ProposeError::Dead));
        async move { propose_result(answer?.await) }
    }

    /// [`Group::propose`] for plain threads: blocks until the answer is there.
    ///
    /// # Errors
    /// As [`Group::propose`].
    pub fn propose_blocking(&self, command: impl Into<Vec<u8>>) -> Result<Vec<u8>, ProposeError> {
        let command = self.check_command(command.into())?;
        propose_result(self.call(Kind::Write, command).ok_or(ProposeError::Dead)?.wait())
    }

    /// Asks the state machine, linearizably: the answer reflects every command acknowledged before the call.
    ///
    /// # Errors
    /// See [`QueryError`]; a query may always be repeated.
    pub fn query<Q: Into<Vec<u8>>>(
        &self,
        query: Q,
    ) -> impl Future<Output = Result<Vec<u8>, QueryError>> + Send + use<Q> {
        let answer = self.call(Kind::Read, query.into()).ok_or(QueryError::Dead);
        async move { query_result(answer?.await) }
    }

    /// [`Group::query`] for plain threads: blocks until the answer is there.
    ///
    /// # Errors
    /// As [`Group::query`].
    pub fn query_blocking(&self, query: impl Into<Vec<u8>>) -> Result<Vec<u8>, QueryError> {
        query_result(self.call(Kind::Read, query.into()).ok_or(QueryError::Dead)?.wait())
    }

    fn check_command(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: command.len(), bytes_max: COMMAND_BYTES_MAX });
        }
        Ok(command)
    }

    /// Hands a call to the owning shard. A full mailbox answers at once that nothing was applied.
    pub(crate) fn call(&self, kind: Kind, bytes: Vec<u8>) -> Option<Completion<CallAnswer>> {
        let (completer, answer) = completion();
        let now = runtime::now();
        let deadline = Time(u64::try_from((now + self.deadline).as_micros()).ok()?);
        let message = ShardMessage::Call { group: self.id, kind, deadline, bytes, completer };
        if let Err(ShardMessage::Call { completer, .. }) = self.shard.try_send(message) {
            completer.complete((Outcome::Refused, Vec::new()));
        }
        Some(answer)
    }
}

fn propose_result(answer: Option<CallAnswer>) -> Result<Vec<u8>, ProposeError> {
    match answer {
        Some((Outcome::Done, bytes)) => Ok(bytes),
        Some((Outcome::NotLeader | Outcome::Refused, _)) => Err(ProposeError::Unavailable),
        Some((Outcome::Unknown, _)) => Err(ProposeError::Unknown),
        Some((Outcome::NoSpace, _)) => Err(ProposeError::NoSpace),
        None => Err(ProposeError::Dead),
    }
}

fn query_result(answer: Option<CallAnswer>) -> Result<Vec<u8>, QueryError> {
    match answer {
        Some((Outcome::Done, bytes)) => Ok(bytes),
        Some(_) => Err(QueryError::Unavailable),
        None => Err(QueryError::Dead),
    }
}
