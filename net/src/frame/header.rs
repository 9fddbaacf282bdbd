//! The header: its layout, how it is made, and what is checked before a length in it is believed.

use bytemuck::{Pod, Zeroable};
use crc32fast::Hasher;

use super::{
    BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameFault, FrameSpec, TAIL_BYTES_MAX, padded,
};

/// The first bytes behind a frame's checksum.
pub const FRAME_MAGIC: [u8; 4] = *b"rrfr";
/// The version of the layout.
pub const FRAME_VERSION: u16 = 0;

/// The header as it stands on the wire, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FrameHeader {
    /// CRC-32 of the header's other 60 bytes.
    pub header_checksum: u32,
    /// [`FRAME_MAGIC`]
    pub magic: [u8; 4],
    /// [`FRAME_VERSION`]
    pub version: u16,
    /// Zero.
    pub flags: u16,
    /// The whole frame: header, body and tail with their padding.
    pub frame_bytes: u32,
    /// The body without padding.
    pub body_bytes: u32,
    /// The tail without padding.
    pub tail_bytes: u32,
    /// CRC-32 of everything behind the header, padding included.
    pub payload_checksum: u32,
    /// The sender's shard.
    pub from_shard: u16,
    /// The receiver's shard.
    pub to_shard: u16,
    /// Counts the frames of this connection from 0.
    pub sequence: u64,
    /// The newest log batch of the sender's shard that is on its disk.
    pub durable_batch: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

const _: () = assert!(core::mem::offset_of!(FrameHeader, version) == 8);
const _: () = assert!(core::mem::offset_of!(FrameHeader, frame_bytes) == 12);
const _: () = assert!(core::mem::offset_of!(FrameHeader, payload_checksum) == 24);
const _: () = assert!(core::mem::offset_of!(FrameHeader, sequence) == 32);
const _: () = assert!(core::mem::offset_of!(FrameHeader, reserved) == 48);

const CHECKSUM_BYTES: usize = 4;
const PADDING: [u8; super::FRAME_ALIGN] = [0; super::FRAME_ALIGN];

/// Makes the header of a frame with this body and the tail that these pieces make.
pub(super) fn encode<'a>(
    spec: FrameSpec,
    body: &[u8],
    tail: impl Iterator<Item = &'a [u8]>,
) -> [u8; FRAME_HEADER_BYTES] {
    assert!(body.len() <= BODY_BYTES_MAX, "a frame's body of {} bytes", body.len());
    let mut payload = Hasher::new();
    payload.update(body);
    payload.update(&PADDING[..padded(body.len()) - body.len()]);
    let mut tail_bytes = 0;
    for piece in tail {
        payload.update(piece);
        tail_bytes += piece.len();
    }
    assert!(tail_bytes <= TAIL_BYTES_MAX, "a frame's tail of {tail_bytes} bytes");
    payload.update(&PADDING[..padded(tail_bytes) - tail_bytes]);

    let frame_bytes = FRAME_HEADER_BYTES + padded(body.len()) + padded(tail_bytes);
    let short = |bytes: usize| u32::try_from(bytes).expect("bounded by FRAME_BYTES_MAX");
    let mut header = FrameHeader {
        header_checksum: 0,
        magic: FRAME_MAGIC,
        version: FRAME_VERSION,
        flags: 0,
        frame_bytes: short(frame_bytes),
        body_bytes: short(body.len()),
        tail_bytes: short(tail_bytes),
        payload_checksum: payload.finalize(),
        from_shard: spec.from_shard,
        to_shard: spec.to_shard,
        sequence: spec.sequence,
        durable_batch: spec.durable_batch,
        reserved: [0; 2],
    };
    header.header_checksum = crc32fast::hash(&bytemuck::bytes_of(&header)[CHECKSUM_BYTES..]);
    bytemuck::cast(header)
}

impl FrameHeader {
    /// Reads a header. What it says about lengths is true once this returns: the checksum comes first.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader, FrameFault> {
        let header: FrameHeader = bytemuck::cast(*bytes);
        let (stored, computed) = (header.header_checksum, crc32fast::hash(&bytes[CHECKSUM_BYTES..]));
        if stored != computed {
            return Err(FrameFault::HeaderChecksum { stored, computed });
        }
        let FrameHeader { frame_bytes, body_bytes, tail_bytes, .. } = header;
        if header.magic != FRAME_MAGIC {
            return Err(FrameFault::Magic(header.magic));
        }
        if header.version != FRAME_VERSION {
            return Err(FrameFault::Version(header.version));
        }
        if header.flags != 0 || header.reserved != [0; 2] {
            return Err(FrameFault::Reserved);
        }
        if header.body_bytes() > BODY_BYTES_MAX || header.tail_bytes() > TAIL_BYTES_MAX {
            return Err(FrameFault::TooLong { body_bytes, tail_bytes });
        }
        let wanted = FRAME_HEADER_BYTES + padded(header.body_bytes()) + padded(header.tail_bytes());
        if header.frame_bytes() != wanted {
            return Err(FrameFault::Lengths { frame_bytes, body_bytes, tail_bytes });
        }
        debug_assert!(header.frame_bytes() <= FRAME_BYTES_MAX);
        Ok(header)
    }

    /// Checks everything behind the header of one whole frame.
    pub(super) fn check_payload(&self, payload: &[u8]) -> Result<(), FrameFault> {
        let (stored, computed) = (self.payload_checksum, crc32fast::hash(payload));
        if stored != computed {
            return Err(FrameFault::PayloadChecksum { stored, computed });
        }
        let tail_start = padded(self.body_bytes());
        let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if !zero(&payload[self.body_bytes()..tail_start]) || !zero(&payload[tail_start + self.tail_bytes()..])
        {
            return Err(FrameFault::Padding);
        }
        Ok(())
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes as usize
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }

    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes as usize
    }
}
