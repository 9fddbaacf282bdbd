//! What a connection between nodes starts with: the caller's [`Hello`], the answer [`Welcome`] or
//! [`Refused`], and, while one of the two is not yet part of a cluster, the messages of [`crate::forming`].
//!
//! Messages are bounded, checksummed and a multiple of 16 bytes long, so the frames behind them are aligned.
//! The layout stands in `net/FORMAT.md`.

mod address;
mod judge;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use raft::NodeId;

pub use address::{Address, AddressError, HOST_BYTES_MAX};
pub use judge::{Directory, KnownNode, Refusal, judge, judge_answer};
pub(crate) use wire::{Fields, Writer};
pub use wire::{
    HANDSHAKE_BYTES_MAX, HANDSHAKE_HEADER_BYTES, HANDSHAKE_MAGIC, HANDSHAKE_VERSION, HandshakeError,
    HandshakeFault,
};

use crate::forming::Forming;

/// The version of everything nodes say to each other: frames, the archives in them, and log entries.
pub const FORMAT_VERSION: u16 = 0;

/// The name of a cluster: random, given when it forms. All zeros: not yet part of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Not yet part of a cluster.
    pub const UNFORMED: ClusterId = ClusterId([0; 16]);

    /// Whether this names a cluster.
    pub fn is_formed(self) -> bool {
        self != ClusterId::UNFORMED
    }
}

impl fmt::Display for ClusterId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Raft messages and entries, between two shards; the node with the lower id calls (a node that is to join a
    /// cluster calls whom it can).
    Raft,
    /// One snapshot; the sender calls.
    Snapshot,
}

/// Who one end of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to, or [`ClusterId::UNFORMED`].
    pub cluster_id: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// Drawn when its data directory was born: another disk, another incarnation.
    pub incarnation: u64,
    /// Counts its starts: durable, one higher at each.
    pub boot: u64,
    /// The shard at this end.
    pub shard: u16,
    /// How many shards it has, fixed for ever when its directory was born.
    pub shard_count: u16,
    /// How many groups its cluster has, or, before forming, should have.
    pub group_count: u32,
    /// [`FORMAT_VERSION`] of its build.
    pub format_version: u16,
    /// How recent its knowledge of the members is: the index in group 0 of the newest change it has applied.
    pub directory_version: u64,
    /// Where clients reach its shard 0.
    pub client_address: Address,
}

/// The caller's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the connection is for.
    pub kind: Kind,
    /// Who calls.
    pub caller: Identity,
    /// The node the caller believes it has reached.
    pub wanted: NodeId,
    /// The shard the caller believes it has reached.
    pub wanted_shard: u16,
}

/// The answer to a welcome caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Who answers.
    pub answerer: Identity,
}

/// The answer to an unwelcome caller; the connection is closed behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// [`Refusal::code`] of the reason; a newer node may have reasons this one does not know.
    pub code: u16,
    /// The reason as a sentence, for an operator: at most [`Refused::REASON_BYTES_MAX`] bytes, no control
    /// characters.
    pub reason: String,
    /// The cluster of who refuses, or [`ClusterId::UNFORMED`].
    pub cluster_id: ClusterId,
    /// How recent its knowledge of the members is.
    pub directory_version: u64,
}

impl Refused {
    /// The longest reason, in bytes.
    pub const REASON_BYTES_MAX: usize = 1024;

    /// What `ours`, who refuses, says.
    pub fn new(refusal: &Refusal, ours: &Identity) -> Refused {
        Refused {
            code: refusal.code(),
            reason: refusal.to_string(),
            cluster_id: ours.cluster_id,
            directory_version: ours.directory_version,
        }
    }

    /// Whether `ours`, who is refused, must take it that it belongs to its cluster no more: said by a node of the same
    /// cluster that knows at least as much of the members. Anybody else may err, or be of another cluster.
    pub fn ends_membership(&self, ours: &Identity) -> bool {
        Refusal::is_of_former_member(self.code)
            && ours.cluster_id.is_formed()
            && self.cluster_id == ours.cluster_id
            && self.directory_version >= ours.directory_version
    }
}

/// Everything that is said before frames flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The caller's first message.
    Hello(Hello),
    /// The answer to a welcome caller.
    Welcome(Welcome),
    /// The answer to an unwelcome one.
    Refused(Refused),
    /// Between two welcome ends of which at least one is unformed.
    Forming(Forming),
}

impl Message {
    /// Appends the message's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::encode(self, out);
    }

    /// Reads the message at the front of `input`: the message and its bytes, a multiple of 16, or `None` if
    /// more bytes are needed, which are never more than [`HANDSHAKE_BYTES_MAX`] in all.
    pub fn decode(input: &[u8]) -> Result<Option<(Message, usize)>, HandshakeError> {
        wire::decode(input)
    }
}
