//! What is asked of a group's leader itself, outside its log. The bytes are `[version 1][1 transfer][node 2]`; the
//! answer is one byte, a [`Handover`].

use raft::{NodeId, TransferError};
use runtime::Disk;

use super::Shard;
use super::request::{Encode, Outcome, RequestHead};
use crate::state_machine::StateMachine;

const VERSION: u8 = 1;
const TRANSFER: u8 = 1;

/// What came of a transfer. As a byte it is below 32, so that none looks like an error of RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Handover {
    /// Under way, or that node leads already.
    Begun = 0,
    /// That node is no voter of the group.
    NotAVoter = 1,
    /// The question is of another version.
    NotUnderstood = 2,
}

impl Handover {
    pub(crate) fn from_byte(byte: u8) -> Handover {
        match byte {
            0 => Handover::Begun,
            1 => Handover::NotAVoter,
            _ => Handover::NotUnderstood,
        }
    }
}

/// Asks a group's leader to hand over to `to`.
pub(crate) fn transfer_request(to: NodeId) -> Vec<u8> {
    let [low, high] = to.0.to_le_bytes();
    vec![VERSION, TRANSFER, low, high]
}

fn transfer_target(bytes: &[u8]) -> Option<NodeId> {
    match bytes {
        [VERSION, TRANSFER, low, high] => Some(NodeId(u16::from_le_bytes([*low, *high]))),
        _ => None,
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Does what is asked of `replica`, which leads.
    pub(super) fn control(&mut self, replica: usize, head: RequestHead, body: &dyn Encode) {
        let mut bytes = vec![0; body.encoded_bytes()];
        body.encode(&mut bytes);
        let raft = &mut self.replicas[replica].raft;
        let handover = match transfer_target(&bytes) {
            None => Handover::NotUnderstood,
            Some(to) if to == self.directory.node => Handover::Begun,
            Some(to) => match raft.transfer(self.now, to) {
                Ok(()) => Handover::Begun,
                Err(TransferError::NotAVoter { .. }) => Handover::NotAVoter,
                Err(_) => return self.answers.fail(head.reply_to, Outcome::Refused),
            },
        };
        self.answers.push(head.reply_to, Outcome::Done, |out| out.push(handover as u8));
        self.mark_dirty(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_understood_and_nothing_else() {
        assert_eq!(transfer_target(&transfer_request(NodeId(0x0102))), Some(NodeId(0x0102)));
        for bytes in
            [&b""[..], b"\x01\x01\x02", b"\x02\x01\x02\x01", b"\x01\x02\x02\x01", b"\x01\x01\x02\x01\x00"]
        {
            assert_eq!(transfer_target(bytes), None);
        }
        for handover in [Handover::Begun, Handover::NotAVoter, Handover::NotUnderstood] {
            assert_eq!(Handover::from_byte(handover as u8), handover);
        }
    }
}
