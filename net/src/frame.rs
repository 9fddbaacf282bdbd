//! What peers exchange: frames of a checksummed header, an archived body, and a tail of log entries exactly
//! as they stand on disk.
//!
//! All messages of one turn to one peer shard are one frame. The receiver checks the header by a checksum of
//! its own before it believes any length, waits for the whole frame, checks the payload's checksum, and only
//! then shows body and tail, in place and 16-aligned, to whoever reads the archive (a checked rkyv access
//! accepts most flipped bits: the checksum comes first, always). The layout stands in `net/FORMAT.md`.

mod header;
mod reader;
#[cfg(test)]
mod tests;

use raft::{COMMAND_BYTES_MAX, entry_bytes};
use runtime::Part;

pub use header::{FRAME_MAGIC, FRAME_VERSION, FrameHeader};
pub use reader::{Frame, FrameReader, READER_BYTES};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// Every frame, body and tail starts at a multiple of so many bytes, counted from the connection's start.
pub const FRAME_ALIGN: usize = 16;
/// A sender ends a frame at this size, unless one entry alone is larger.
pub const FRAME_BYTES_SOFT_MAX: usize = 1 << 20;
/// The longest body: it fits a frame of the soft limit.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_SOFT_MAX - FRAME_HEADER_BYTES;
/// The longest tail: one entry of the longest command.
pub const TAIL_BYTES_MAX: usize = entry_bytes(COMMAND_BYTES_MAX);
/// The longest frame a receiver accepts.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + padded(BODY_BYTES_MAX) + padded(TAIL_BYTES_MAX);

const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_BYTES);
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(FRAME_BYTES_MAX >= FRAME_HEADER_BYTES + entry_bytes(COMMAND_BYTES_MAX));
const _: () = assert!(FRAME_BYTES_MAX <= 64 << 20, "an entry limit this high needs a thought about memory");

/// A length with its padding.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(FRAME_ALIGN)
}

/// What a frame's sender says in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameSpec {
    /// The sender's shard.
    pub from_shard: u16,
    /// The receiver's shard.
    pub to_shard: u16,
    /// Counts the frames of this connection from 0.
    pub sequence: u64,
    /// The newest log batch of the sender's shard that is on its disk.
    pub durable_batch: u64,
}

/// The header of the frame made of `body` and `tail`.
///
/// # Panics
/// If `body` is longer than [`BODY_BYTES_MAX`] or `tail` than [`TAIL_BYTES_MAX`]: the sender packs by them.
pub fn frame_header(spec: FrameSpec, body: &[u8], tail: &[Part]) -> [u8; FRAME_HEADER_BYTES] {
    header::encode(spec, body, tail.iter().map(Part::bytes))
}

/// The frame made of `body` and `tail`, ready for one gathered send. The tail's parts are not copied.
///
/// # Panics
/// As [`frame_header`].
pub fn frame_parts(spec: FrameSpec, mut body: Vec<u8>, tail: Vec<Part>) -> Vec<Part> {
    let header = frame_header(spec, &body, &tail);
    body.resize(padded(body.len()), 0);
    let tail_bytes: usize = tail.iter().map(|part| part.bytes().len()).sum();
    let padding = padded(tail_bytes) - tail_bytes;

    let mut parts = Vec::with_capacity(3 + tail.len());
    parts.push(Part::Bytes(header.to_vec()));
    if !body.is_empty() {
        parts.push(Part::Bytes(body));
    }
    parts.extend(tail.into_iter().filter(|part| !part.bytes().is_empty()));
    if padding > 0 {
        parts.push(Part::Bytes(vec![0; padding]));
    }
    parts
}

/// A connection carries something that is no frame. It is closed: nothing tells where the next one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the connection: {fault}")]
pub struct FrameError {
    /// Where the frame starts, counted from the connection's first byte.
    pub at: u64,
    /// What is wrong with it.
    pub fault: FrameFault,
}

/// What can be wrong with a frame, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The header is damaged, or is none.
    #[error("the frame header's checksum is {stored:08x}, its bytes give {computed:08x}")]
    HeaderChecksum {
        /// As the header says.
        stored: u32,
        /// As its bytes say.
        computed: u32,
    },
    /// Not the start of a frame.
    #[error("no frame starts with {0:02x?}")]
    Magic([u8; 4]),
    /// The peer speaks another version.
    #[error("frame version {0}, this node speaks {FRAME_VERSION}")]
    Version(u16),
    /// Something that must be zero in this version is not.
    #[error("flags or reserved bytes are set")]
    Reserved,
    /// Longer than any sender may make it.
    #[error("a frame of {body_bytes} + {tail_bytes} bytes is too long")]
    TooLong {
        /// Bytes of the body.
        body_bytes: u32,
        /// Bytes of the tail.
        tail_bytes: u32,
    },
    /// The lengths contradict each other.
    #[error("{frame_bytes} bytes are not a header, {body_bytes} and {tail_bytes} bytes")]
    Lengths {
        /// Bytes of the frame, as the header says.
        frame_bytes: u32,
        /// Bytes of the body.
        body_bytes: u32,
        /// Bytes of the tail.
        tail_bytes: u32,
    },
    /// Body or tail are damaged.
    #[error("the payload's checksum is {stored:08x}, its bytes give {computed:08x}")]
    PayloadChecksum {
        /// As the header says.
        stored: u32,
        /// As the bytes say.
        computed: u32,
    },
    /// The bytes between body, tail and the next frame are not zero.
    #[error("padding is not zero")]
    Padding,
}
