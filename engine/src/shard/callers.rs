//! The connections that senders of snapshots made: what is said on them, and how long they stay.

use std::time::Duration;

use raft::Time;
use runtime::Disk;
use snapshot::transfer::{Message, TransferId};

use super::Shard;
use super::io::Action;
use super::transfers::Caller;
use crate::state_machine::StateMachine;

/// A sender that has heard the end of its transfer hangs up; one that does not is cut off after so long.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

impl<S: StateMachine, D: Disk> Shard<S, D> {
    fn caller(&mut self, number: u64) -> Option<&mut Caller> {
        self.transfers.callers.iter_mut().find(|caller| caller.number == number)
    }

    pub(super) fn say(&mut self, caller: u64, message: Message) {
        self.say_all(caller, Some(message));
    }

    pub(super) fn say_all(&mut self, caller: u64, messages: impl IntoIterator<Item = Message>) {
        if let Some(caller) = self.caller(caller) {
            caller.outbox.extend(messages);
        }
    }

    /// The connection is of use until its transfer ends.
    pub(super) fn stay(&mut self, number: u64) {
        if let Some(caller) = self.caller(number) {
            caller.closes_at = Time::NEVER;
        }
    }

    /// Everything is said: the sender is to hang up.
    pub(super) fn leave(&mut self, number: u64) {
        let closes_at = self.now + LEAVE_WITHIN;
        if let Some(caller) = self.caller(number) {
            caller.closes_at = closes_at;
        }
    }

    pub(super) fn turn_away(&mut self, caller: u64, transfer: TransferId, reason: String) {
        self.say(caller, Message::Abort { transfer, reason });
        self.leave(caller);
    }

    /// Says what is to be said to senders and forgets connections that are over.
    pub(super) fn flush_callers(&mut self) {
        let (now, durable) = (self.now, self.durable.0);
        let mut at = 0;
        while at < self.transfers.callers.len() {
            let caller = &mut self.transfers.callers[at];
            if caller.line.link.can_send() {
                if caller.outbox.is_empty() {
                    caller.line.beat(now, durable);
                } else {
                    let message = caller.outbox.remove(0);
                    caller.line.send(now, durable, &message, None);
                }
            }
            let lost =
                caller.line.carry_out(now, None, &mut self.actions) || caller.line.link.socket().is_none();
            let number = caller.number;
            let receive = self.transfers.receives.iter_mut().find(|receive| receive.caller == Some(number));
            if lost || now >= caller.closes_at {
                if let Some(socket) = caller.line.link.socket() {
                    self.actions.push(Action::Close { socket });
                }
                if let Some(receive) = receive {
                    (receive.caller, receive.connected) = (None, now);
                }
                self.transfers.callers.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }
}
