//! One connection to one shard of a peer, as a state machine.
//!
//! The node with the lower id dials; the other one does too once it has waited long enough, for it may be one that
//! joins and nobody knows, or one that was removed and should hear of it. It waits between attempts (50 ms doubling to 2 s, with jitter), greets,
//! and judges the answer; the other end judges the greeting ([`Incoming`]) and hands the connection to the
//! [`Link`] of that peer shard, where it replaces an older one. An established link that hears nothing for a
//! while is closed: peers beat every 100 ms.
//!
//! A link neither owns sockets nor reads clocks: what happened goes in, [`Output`]s come out, to be carried
//! out in order. `S` names a socket: `runtime::SocketId`, or whatever a simulator uses. What is said about a
//! socket the link no longer has is ignored, so late events do no harm.

mod backoff;
mod connection;
mod counters;
mod incoming;
mod log_budget;
mod peer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use raft::NodeId;
use runtime::{BufferMut, Part};

pub use backoff::Backoff;
pub use counters::Counters;
pub use incoming::{Greeted, Incoming, IncomingOutput, Rejection};
pub use log_budget::LogBudget;
pub use peer::Link;

use crate::forming::Forming;
use crate::frame::{Frame, FrameError};
use crate::handshake::{Directory, HandshakeError, Identity, Kind, Refused};

/// What a link needs to know of its own end whenever it greets; the engine keeps one per shard, up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// What this end says of itself.
    pub identity: Identity,
    /// What it knows of others.
    pub directory: Directory,
}

/// How a link behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What its connections are for.
    pub kind: Kind,
    /// From dialling to the answer to the greeting.
    pub greeting_time_max: Duration,
    /// An established link is closed after hearing nothing for so long.
    pub silence_max: Duration,
    /// An established link is closed if one send takes so long.
    pub send_time_max: Duration,
    /// The first wait between attempts, at least.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// An end that is not the one to dial does so after this time without a connection; `None`: never.
    pub patience: Option<Duration>,
    /// The usual size of its receive buffer.
    pub buffer_bytes: usize,
    /// Seeds the jitter.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            kind: Kind::Raft,
            greeting_time_max: Duration::from_secs(5),
            silence_max: Duration::from_secs(3),
            send_time_max: Duration::from_secs(30),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            patience: Some(Duration::from_secs(1)),
            buffer_bytes: crate::frame::READER_BYTES,
            seed: 0,
        }
    }
}

/// A shard of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerShard {
    /// The peer.
    pub node: NodeId,
    /// Its shard.
    pub shard: u16,
}

/// What the owner of the sockets has to do, in order.
#[derive(Debug)]
pub enum Output<S> {
    /// Connect to the peer's shard and tell the socket with [`Link::dialed`].
    Dial,
    /// Send all parts, then call [`Link::sent`].
    Send {
        /// On this socket.
        socket: S,
        /// One gathered send.
        parts: Vec<Part>,
    },
    /// Receive once into `buffer[from..]`, then call [`Link::received`].
    Receive {
        /// On this socket.
        socket: S,
        /// The memory.
        buffer: BufferMut,
        /// The first byte to fill.
        from: usize,
    },
    /// Close the socket. Nothing more is said about it.
    Close {
        /// This socket.
        socket: S,
    },
    /// The link is up.
    Established {
        /// Who is at the other end.
        peer: Identity,
        /// One of the two is unformed: only messages of forming pass.
        forming: bool,
    },
    /// One end refuses the other. The link goes on trying, slowly.
    Refused {
        /// Why, and who says so.
        refused: Refused,
        /// This end refuses; otherwise the peer does.
        by_us: bool,
    },
    /// A link that was up is down: frames not wholly sent are lost, followers go back to probing.
    Lost(Lost),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The peer closed it, or the network failed.
    #[error("the connection broke")]
    Closed,
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What came is no handshake message.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A handshake message that has no place there.
    #[error("an answer came that was not asked for")]
    OutOfPlace,
    /// A frame is missing, or came twice.
    #[error("frame {expected} was due, frame {found} came")]
    Sequence {
        /// The number due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A frame between other shards than the greeting named.
    #[error("a frame from shard {from_shard} to shard {to_shard} has no place here")]
    Misrouted {
        /// As the frame says.
        from_shard: u16,
        /// As the frame says.
        to_shard: u16,
    },
    /// Nothing was heard for [`Settings::silence_max`].
    #[error("the peer is silent")]
    Silent,
    /// A send took longer than [`Settings::send_time_max`].
    #[error("the peer does not read")]
    Stuck,
    /// The members changed, and the peer is none, or another disk is.
    #[error("the peer is no member any more")]
    NoMember,
    /// The peer dialled again.
    #[error("the peer made a new connection")]
    Replaced,
    /// Both ends are formed now and greet again.
    #[error("greeting again")]
    Regreeted,
}

impl Lost {
    /// Whether the peer sent what no sound node sends.
    pub fn is_garbage(&self) -> bool {
        matches!(
            self,
            Lost::Frame(_)
                | Lost::Handshake(_)
                | Lost::OutOfPlace
                | Lost::Sequence { .. }
                | Lost::Misrouted { .. }
        )
    }
}

/// Something a peer said.
#[derive(Debug)]
pub enum Received<'a> {
    /// On a link of two members.
    Frame(Frame<'a>),
    /// On a link for forming.
    Forming(Forming),
}
