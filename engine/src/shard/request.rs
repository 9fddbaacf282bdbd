//! What asks a group for something, and where the answer goes.

use raft::{GroupId, NodeId, Time};
use runtime::SocketId;

use crate::kv::Command;

/// Where an answer goes. A plain value: it also crosses the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// A reply slot of a client's connection on this shard; `part` numbers the pieces of a scattered command.
    Client { socket: SocketId, slot: u64, part: u32 },
    /// A slot of a client's connection on another shard of this node.
    Mesh { shard: u16, socket: SocketId, slot: u64, part: u32 },
    /// Another node's request `sequence`, proxied to us.
    Peer { node: NodeId, shard: u16, sequence: u64 },
    /// A call through the library, by its number on this shard.
    Handle { call: u64 },
    /// Nobody waits (the connection closed, or the entry is our own).
    Nobody,
}

impl ReplyTo {
    /// The `part` of an answer that is not gathered with others.
    pub(crate) const WHOLE: u32 = u32::MAX;
}

/// Whether a request changes the group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A command: becomes an entry.
    Write = 0,
    /// A query: answered from the state, linearizably.
    Read,
    /// Something for the group's leader itself, outside its log: [`super::control`].
    Control,
}

impl Kind {
    /// The kind a peer's byte names.
    pub(crate) fn from_wire(byte: u8) -> Option<Kind> {
        [Kind::Write, Kind::Read, Kind::Control].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A request without its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead {
    pub(crate) group: GroupId,
    pub(crate) kind: Kind,
    pub(crate) reply_to: ReplyTo,
    /// When it is answered with an error, whatever happens to it.
    pub(crate) deadline: Time,
    /// True once another node has passed it on: it is answered here or refused, never passed on again.
    pub(crate) proxied: bool,
}

impl RequestHead {
    /// How it ends when it cannot be taken. `no_room`: the group is led here and the log takes no entries.
    pub(crate) fn refusal(&self, no_room: bool) -> Outcome {
        if no_room && self.kind == Kind::Write { Outcome::NoSpace } else { Outcome::Refused }
    }
}

/// A request that had to be kept: its head and the encoded command or query.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) bytes: Vec<u8>,
}

/// How a request ended, as it travels between shards and nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Applied (a write) or answered (a read); the bytes are the state machine's reply.
    Done = 0,
    /// Surely not applied: this node does not lead the group. May be asked again elsewhere.
    NotLeader = 1,
    /// Surely not applied: a bound was reached or no leader was found in time.
    Refused = 2,
    /// May or may not be applied.
    Unknown = 3,
    /// Surely not applied: a write for which the leader's disk or log has no room. Peers that do not know it take it for
    /// unknown.
    NoSpace = 4,
}

impl Outcome {
    /// The outcome a peer's byte names; what we do not know counts as unknown.
    pub(crate) fn from_wire(byte: u8) -> Outcome {
        match byte {
            0 => Outcome::Done,
            1 => Outcome::NotLeader,
            2 => Outcome::Refused,
            4 => Outcome::NoSpace,
            _ => Outcome::Unknown,
        }
    }
}

/// A command or query that can write itself down once, straight into its final place.
pub(crate) trait Encode {
    /// The length of the encoding in bytes.
    fn encoded_bytes(&self) -> usize;
    /// Fills `out`, which is exactly `encoded_bytes()` long.
    fn encode(&self, out: &mut [u8]);
}

/// What a request of this turn asks, borrowed from the turn's inputs.
pub(crate) enum RequestBody<'t> {
    /// A command as it was planned: written down once, where it goes.
    Command(Command<'t>),
    /// A question to group 0 or to a leader, made from a client's words.
    Owned(Vec<u8>),
    /// Encoded already: from another shard, another node, or the library.
    Bytes(&'t [u8]),
}

impl Encode for RequestBody<'_> {
    fn encoded_bytes(&self) -> usize {
        match self {
            RequestBody::Command(command) => command.encoded_bytes(),
            RequestBody::Owned(bytes) => bytes.len(),
            RequestBody::Bytes(bytes) => bytes.len(),
        }
    }

    fn encode(&self, out: &mut [u8]) {
        match self {
            RequestBody::Command(command) => command.encode(out),
            RequestBody::Owned(bytes) => out.copy_from_slice(bytes),
            RequestBody::Bytes(bytes) => out.copy_from_slice(bytes),
        }
    }
}

impl Encode for Vec<u8> {
    fn encoded_bytes(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
}
