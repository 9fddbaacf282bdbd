//! What goes into the ring and what comes out of it.

use std::io;

use crate::{Buffer, BufferMut, sys::ReceivedBuffer};

/// One connection of this shard. An id of a closed connection is stale for ever: no later connection gets it, and
/// whatever is asked of it is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketId {
    slot: u32,
    generation: u32,
}

impl SocketId {
    pub(super) fn from_key((slot, generation): (u32, u32)) -> SocketId {
        SocketId { slot, generation }
    }

    pub(super) fn key(self) -> (u32, u32) {
        (self.slot, self.generation)
    }

    /// An id for whoever stands in for a ring, such as a simulator: no two alive may share a slot, and no two ever both.
    pub fn simulated(slot: u32, generation: u32) -> SocketId {
        SocketId { slot, generation }
    }

    /// Its place in the shard's table of connections: small and dense, taken over by a later connection after close.
    pub fn slot(self) -> u32 {
        self.slot
    }
}

/// One listener of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId {
    slot: u32,
    generation: u32,
}

impl ListenerId {
    pub(super) fn from_key((slot, generation): (u32, u32)) -> ListenerId {
        ListenerId { slot, generation }
    }

    pub(super) fn key(self) -> (u32, u32) {
        (self.slot, self.generation)
    }
}

/// A piece of a gathered send.
#[derive(Debug)]
pub enum Part {
    /// Bytes made for this send: replies, headers.
    Bytes(Vec<u8>),
    /// Shared bytes: entries of the log, pieces of a snapshot.
    Buffer(Buffer),
}

impl Part {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Part::Bytes(bytes) => bytes,
            Part::Buffer(buffer) => buffer,
        }
    }
}

/// What happened on the shard's ring. No event ever names a socket that was closed before the event was handed out.
#[derive(Debug)]
pub enum Event {
    /// A connection came in. Nothing is received on it before [`Ring::receive`](super::Ring::receive) or
    /// [`Ring::receive_into`](super::Ring::receive_into).
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// Its id from now on.
        socket: SocketId,
    },
    /// No connection could be accepted, for instance because file descriptors ran out (EMFILE). Accepting goes on by
    /// itself a little later.
    AcceptFailed {
        /// Which listener.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// The connection is established.
    Connected {
        /// Which.
        socket: SocketId,
    },
    /// The connection could not be made. The id is stale now.
    ConnectFailed {
        /// Which.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
    /// Bytes arrived. May still come once or twice after [`Ring::pause`](super::Ring::pause).
    Received {
        /// From whom.
        socket: SocketId,
        /// The bytes, at least one.
        data: ReceivedBuffer,
    },
    /// A [`Ring::receive_into`](super::Ring::receive_into) is done.
    ReceivedInto {
        /// From whom.
        socket: SocketId,
        /// The buffer, given back.
        buffer: BufferMut,
        /// How many bytes from its start are valid: `from` and what has been added.
        filled: usize,
    },
    /// Nothing more will be received. The socket is still to be closed, and may still be sent to.
    Ended {
        /// Which.
        socket: SocketId,
        /// `None`: the other side ended in order.
        error: Option<io::Error>,
    },
    /// All parts of the send are with the kernel.
    Sent {
        /// To whom.
        socket: SocketId,
        /// The parts of the send, for reuse.
        parts: Vec<Part>,
    },
    /// The send failed; an unknown part of it has gone out. The socket is of no use but to be closed.
    SendFailed {
        /// To whom.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
}

impl Event {
    /// The socket it is about.
    pub fn socket(&self) -> Option<SocketId> {
        match self {
            Event::AcceptFailed { .. } => None,
            Event::Accepted { socket, .. }
            | Event::Connected { socket }
            | Event::ConnectFailed { socket, .. }
            | Event::Received { socket, .. }
            | Event::ReceivedInto { socket, .. }
            | Event::Ended { socket, .. }
            | Event::Sent { socket, .. }
            | Event::SendFailed { socket, .. } => Some(*socket),
        }
    }
}
