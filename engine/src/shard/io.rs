//! What goes into a turn and what comes out of it, as values: the driver gives them sockets and a disk, the
//! simulator gives them a world of its own.

use std::net::SocketAddr;

use runtime::{BufferMut, Part, ReceivedBuffer, SocketId};

/// Bytes a client sent.
pub(crate) enum ClientData {
    /// In a buffer of the ring's pool, which gets it back when the turn ends.
    Pooled(ReceivedBuffer),
    /// In memory of their own (the simulator's).
    #[allow(dead_code, reason = "the simulator's way in")]
    Owned(Vec<u8>),
}

impl std::ops::Deref for ClientData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ClientData::Pooled(buffer) => buffer,
            ClientData::Owned(bytes) => bytes,
        }
    }
}

/// Something that happened at a socket.
pub(crate) enum Input {
    ClientAccepted {
        socket: SocketId,
        /// Where it comes from; unspecified if it is gone again.
        address: SocketAddr,
        /// Where it arrived.
        local_address: SocketAddr,
    },
    PeerAccepted {
        socket: SocketId,
    },
    Connected {
        socket: SocketId,
    },
    ClientData {
        socket: SocketId,
        data: ClientData,
    },
    PeerData {
        socket: SocketId,
        buffer: BufferMut,
        filled: usize,
    },
    Sent {
        socket: SocketId,
        parts: Vec<Part>,
    },
    /// Nothing more comes on the connection. `orderly`: the other end only said that it is done sending, and
    /// may still read; otherwise the connection is gone.
    Ended {
        socket: SocketId,
        orderly: bool,
    },
}

/// Who is to be told of the socket that dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialer {
    /// The link of this number.
    Link(usize),
    /// The snapshot transfer of this number.
    Transfer(u64),
}

/// Something to do at a socket.
pub(crate) enum Action {
    Dial { dialer: Dialer, address: SocketAddr },
    Receive { socket: SocketId },
    ReceiveInto { socket: SocketId, buffer: BufferMut, from: usize },
    Pause { socket: SocketId },
    Send { socket: SocketId, parts: Vec<Part> },
    Close { socket: SocketId },
}
