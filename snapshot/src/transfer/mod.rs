//! Moving a snapshot file to a peer.
//!
//! Sans-io towards the network: [`Sender`] and [`Receiver`] take and give [`Message`]s, whoever carries them.
//!
//! ```text
//! sender                       receiver
//! Begin   ------------------>
//!         <------------------  Resume{offset}       0, or behind the last good chunk of a broken transfer
//! Chunk.. ------------------>                       in order, several before the first is answered
//!         <------------------  Resume{offset}..      one for each: behind the chunk, or where it is still to be sent from
//!         <------------------  Done{ok}             after the file was synced, verified as it came, and renamed
//! ```
//!
//! A transfer moves one file. A snapshot of several runs is several transfers, whose `Begin`s carry the same manifest
//! in `meta`; it is installed when all its runs are here. Either side may say `Abort` at any time.

mod message;
mod receiver;
mod sender;
mod window;

pub use message::{
    Begin, ChunkHeader, DecodeError, MESSAGE_BYTES_MAX, META_BYTES_MAX, Message, REASON_BYTES_MAX, TransferId,
};
pub use receiver::{Progress, ReceiveError, Received, Receiver};
pub use sender::{Offer, SendError, Sender, Step};
pub use window::{CHUNKS_UNDER_WAY_MAX, Window};

/// The smallest data a chunk carries, but for the last of a file.
pub const CHUNK_BYTES_MIN: u32 = 256 * 1024;
/// The largest data a chunk carries.
pub const CHUNK_BYTES_MAX: u32 = 1024 * 1024;
