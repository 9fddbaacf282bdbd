//! What goes into a turn and what comes out of it, as values: the driver gives them sockets and a disk, the
//! simulator gives them a world of its own.

use std::net::SocketAddr;

use runtime::{BufferMut, Part, ReceivedBuffer, SocketId};

/// Bytes a client sent.
pub enum ClientData {
    /// In a buffer of the ring's pool, which gets it back when the turn ends.
    Pooled(ReceivedBuffer),
    /// In memory of their own: the simulator's way in.
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "made by the simulator alone"))]
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
pub enum Input {
    /// A client connected.
    ClientAccepted {
        /// Its connection.
        socket: SocketId,
        /// Where it comes from; unspecified if it is gone again.
        address: SocketAddr,
        /// Where it arrived.
        local_address: SocketAddr,
    },
    /// Another node connected.
    PeerAccepted {
        /// Its connection.
        socket: SocketId,
    },
    /// A connection that this shard dialed is established.
    Connected {
        /// Which.
        socket: SocketId,
    },
    /// Bytes of a client.
    ClientData {
        /// Whose.
        socket: SocketId,
        /// At least one.
        data: ClientData,
    },
    /// An [`Action::ReceiveInto`] is done.
    PeerData {
        /// Whose.
        socket: SocketId,
        /// The buffer, given back.
        buffer: BufferMut,
        /// How many of its bytes are valid.
        filled: usize,
    },
    /// An [`Action::Send`] is done.
    Sent {
        /// To whom.
        socket: SocketId,
        /// The parts, for reuse.
        parts: Vec<Part>,
    },
    /// Nothing more comes on the connection.
    Ended {
        /// Which.
        socket: SocketId,
        /// The other end only said that it is done sending, and may still read; otherwise the connection is gone.
        orderly: bool,
    },
}

/// Who is to be told of the socket that dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialer {
    /// The link of this number.
    Link(usize),
    /// The snapshot transfer of this number.
    Transfer(u64),
}

/// Something to do at a socket.
pub enum Action {
    /// Connect to `address`, and tell the dialer which socket it is at once.
    Dial {
        /// Who wants it.
        dialer: Dialer,
        /// Where to.
        address: SocketAddr,
    },
    /// Receive from a client, until paused.
    Receive {
        /// From whom.
        socket: SocketId,
    },
    /// Receive once, into `buffer` from byte `from` on.
    ReceiveInto {
        /// From whom.
        socket: SocketId,
        /// Given back by [`Input::PeerData`].
        buffer: BufferMut,
        /// The bytes before it are valid already.
        from: usize,
    },
    /// Receive no more from a client for now.
    Pause {
        /// From whom.
        socket: SocketId,
    },
    /// Send all parts, in order. One send per socket is under way at a time.
    Send {
        /// To whom.
        socket: SocketId,
        /// What.
        parts: Vec<Part>,
    },
    /// Close the connection, whatever is under way on it.
    Close {
        /// Which.
        socket: SocketId,
    },
}
