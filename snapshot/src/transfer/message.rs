//! The messages of a transfer and their bytes, as `FORMAT.md` has them.

use bytemuck::{Pod, Zeroable};
use raft::{EntryId, GroupId, Index, Term};

use super::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::format::{PAGE_BYTES, read_pod};
use crate::name::SnapshotName;

/// The longest `meta` of a `Begin`: room for a manifest.
pub const META_BYTES_MAX: usize = 128 * 1024;
/// The longest reason; what is longer is cut.
pub const REASON_BYTES_MAX: usize = 1024;
/// The longest encoding of a message, without a chunk's data.
pub const MESSAGE_BYTES_MAX: usize = PREFIX_BYTES + size_of::<BeginBody>() + META_BYTES_MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"RRST");
const VERSION: u8 = 0;
const PREFIX_BYTES: usize = size_of::<Prefix>();
const CHECKSUM_OFFSET: usize = std::mem::offset_of!(Prefix, checksum);

/// Tells the transfers of one sender apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The transfer.
    pub transfer: TransferId,
    /// The file's name at the sender.
    pub name: SnapshotName,
    /// The file's size.
    pub file_bytes: u64,
    /// Its footer's checksum; with the size it says which bytes these are.
    pub checksum: u32,
    /// How many bytes a chunk carries, but for the last.
    pub chunk_bytes: u32,
    /// Opaque, at most [`META_BYTES_MAX`]: the manifest that the file is part of.
    pub meta: Vec<u8>,
}

/// What precedes a chunk's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The transfer.
    pub transfer: TransferId,
    /// Where in the file the data start.
    pub offset: u64,
    /// The file's size.
    pub file_bytes: u64,
    /// Length of the data.
    pub data_bytes: u32,
    /// Checksum of the data.
    pub data_checksum: u32,
}

/// A message of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Sender: here is a file.
    Begin(Begin),
    /// Sender: a piece of it; the data follow the message.
    Chunk(ChunkHeader),
    /// Receiver: send from `offset` on.
    Resume {
        /// The transfer.
        transfer: TransferId,
        /// Everything before it is here.
        offset: u64,
    },
    /// Receiver: the file is whole and durable here, or cannot be.
    Done {
        /// The transfer.
        transfer: TransferId,
        /// Whether it is.
        ok: bool,
        /// Why not.
        reason: String,
    },
    /// Either side: forget it.
    Abort {
        /// The transfer.
        transfer: TransferId,
        /// Why.
        reason: String,
    },
}

/// Bytes that are not a message, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message goes on: come back with at least this many bytes in all.
    #[error("the message is cut off, {need} bytes are needed")]
    Incomplete {
        /// How many.
        need: usize,
    },
    /// Close the connection.
    #[error("not a transfer message: {0}")]
    Malformed(&'static str),
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Prefix {
    magic: u32,
    kind: u8,
    version: u8,
    zero: u16,
    body_bytes: u32,
    checksum: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BeginBody {
    transfer: u64,
    group: u32,
    build: u32,
    index: u64,
    term: u64,
    file_bytes: u64,
    checksum: u32,
    chunk_bytes: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ChunkBody {
    transfer: u64,
    offset: u64,
    file_bytes: u64,
    data_bytes: u32,
    data_checksum: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ResumeBody {
    transfer: u64,
    offset: u64,
}

const _: () = {
    assert!(PREFIX_BYTES == 16 && CHECKSUM_OFFSET == 12);
    assert!(size_of::<BeginBody>() == 48);
    assert!(size_of::<ChunkBody>() == 32);
    assert!(crate::manifest::MANIFEST_BYTES_MAX <= META_BYTES_MAX);
};

impl Message {
    /// The transfer it is about.
    pub fn transfer(&self) -> TransferId {
        match self {
            Message::Begin(begin) => begin.transfer,
            Message::Chunk(chunk) => chunk.transfer,
            Message::Resume { transfer, .. } => *transfer,
            Message::Done { transfer, .. } | Message::Abort { transfer, .. } => *transfer,
        }
    }

    /// Appends the bytes; a chunk's data are to follow.
    ///
    /// # Panics
    ///
    /// When a `Begin`'s meta is longer than [`META_BYTES_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        let kind = self.encode_body(out);
        let body_bytes = out.len() - start - PREFIX_BYTES;
        assert!(PREFIX_BYTES + body_bytes <= MESSAGE_BYTES_MAX, "a message is bounded");
        let body_bytes = u32::try_from(body_bytes).expect("bounded");
        let prefix = Prefix { magic: MAGIC, kind, version: VERSION, zero: 0, body_bytes, checksum: 0 };
        let prefix_bytes = &mut out[start..start + PREFIX_BYTES];
        prefix_bytes.copy_from_slice(bytemuck::bytes_of(&prefix));
        let sum = checksum(&out[start..]);
        out[start + CHECKSUM_OFFSET..start + PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Message::Begin(begin) => {
                let Begin { transfer, name, file_bytes, checksum, chunk_bytes, meta } = begin;
                let body = BeginBody {
                    transfer: transfer.0,
                    group: name.group.0,
                    build: name.build,
                    index: name.id.index.0,
                    term: name.id.term.0,
                    file_bytes: *file_bytes,
                    checksum: *checksum,
                    chunk_bytes: *chunk_bytes,
                };
                out.extend_from_slice(bytemuck::bytes_of(&body));
                out.extend_from_slice(meta);
                1
            }
            Message::Chunk(chunk) => {
                let ChunkHeader { transfer, offset, file_bytes, data_bytes, data_checksum } = *chunk;
                let body = ChunkBody { transfer: transfer.0, offset, file_bytes, data_bytes, data_checksum };
                out.extend_from_slice(bytemuck::bytes_of(&body));
                2
            }
            Message::Resume { transfer, offset } => {
                let body = ResumeBody { transfer: transfer.0, offset: *offset };
                out.extend_from_slice(bytemuck::bytes_of(&body));
                3
            }
            Message::Done { transfer, ok, reason } => {
                out.extend_from_slice(&transfer.0.to_le_bytes());
                out.push(u8::from(*ok));
                out.extend_from_slice(cut(reason).as_bytes());
                4
            }
            Message::Abort { transfer, reason } => {
                out.extend_from_slice(&transfer.0.to_le_bytes());
                out.extend_from_slice(cut(reason).as_bytes());
                5
            }
        }
    }

    /// Decodes the message at the front of `bytes` and says how long it is; a chunk's data start there.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<(Message, usize), DecodeError> {
        let prefix: Prefix = read_pod(bytes).ok_or(DecodeError::Incomplete { need: PREFIX_BYTES })?;
        ensure(prefix.magic == MAGIC, "the magic is wrong")?;
        let body_bytes = usize::try_from(prefix.body_bytes).unwrap_or(usize::MAX);
        ensure(body_bytes <= MESSAGE_BYTES_MAX - PREFIX_BYTES, "it is too long")?;
        let need = PREFIX_BYTES + body_bytes;
        let whole = bytes.get(..need).ok_or(DecodeError::Incomplete { need })?;
        ensure(prefix.checksum == checksum(whole), "the checksum does not match")?;
        ensure(prefix.version == VERSION, "the version is unknown")?;
        ensure(prefix.zero == 0, "reserved bytes are not zero")?;
        let message = decode_body(prefix.kind, &whole[PREFIX_BYTES..])?;
        Ok((message, need))
    }
}

/// Over all bytes of a message but the checksum's.
fn checksum(message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&message[..CHECKSUM_OFFSET]);
    hasher.update(&message[PREFIX_BYTES..]);
    hasher.finalize()
}

fn ensure(holds: bool, problem: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Malformed(problem)) }
}

fn decode_body(kind: u8, body: &[u8]) -> Result<Message, DecodeError> {
    match kind {
        1 => decode_begin(body),
        2 => {
            let (chunk, rest): (ChunkBody, _) = split(body)?;
            ensure(rest.is_empty(), "a chunk's body is too long")?;
            ensure((1..=CHUNK_BYTES_MAX).contains(&chunk.data_bytes), "a chunk's length is out of bounds")?;
            let end = chunk.offset.checked_add(u64::from(chunk.data_bytes));
            ensure(end.is_some_and(|end| end <= chunk.file_bytes), "a chunk reaches behind its file")?;
            let ChunkBody { transfer, offset, file_bytes, data_bytes, data_checksum } = chunk;
            let transfer = TransferId(transfer);
            Ok(Message::Chunk(ChunkHeader { transfer, offset, file_bytes, data_bytes, data_checksum }))
        }
        3 => {
            let (ResumeBody { transfer, offset }, rest) = split(body)?;
            ensure(rest.is_empty(), "a resume's body is too long")?;
            Ok(Message::Resume { transfer: TransferId(transfer), offset })
        }
        4 => {
            let (transfer, rest): (u64, _) = split(body)?;
            let (ok, reason): (u8, _) = split(rest)?;
            ensure(ok <= 1, "a done is neither ok nor not")?;
            Ok(Message::Done { transfer: TransferId(transfer), ok: ok == 1, reason: text(reason)? })
        }
        5 => {
            let (transfer, reason): (u64, _) = split(body)?;
            Ok(Message::Abort { transfer: TransferId(transfer), reason: text(reason)? })
        }
        _ => Err(DecodeError::Malformed("the kind is unknown")),
    }
}

fn decode_begin(body: &[u8]) -> Result<Message, DecodeError> {
    let (begin, meta): (BeginBody, _) = split(body)?;
    let page = PAGE_BYTES as u64;
    ensure(begin.file_bytes > 0 && begin.file_bytes.is_multiple_of(page), "the file is not whole pages")?;
    let chunk_bytes = CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX;
    let fits = chunk_bytes.contains(&begin.chunk_bytes) && u64::from(begin.chunk_bytes).is_multiple_of(page);
    ensure(fits, "the length of chunks is out of bounds")?;
    let id = EntryId { term: Term(begin.term), index: Index(begin.index) };
    Ok(Message::Begin(Begin {
        transfer: TransferId(begin.transfer),
        name: SnapshotName { group: GroupId(begin.group), id, build: begin.build },
        file_bytes: begin.file_bytes,
        checksum: begin.checksum,
        chunk_bytes: begin.chunk_bytes,
        meta: meta.to_vec(),
    }))
}

fn split<T: Pod>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let value = read_pod(bytes).ok_or(DecodeError::Malformed("the body is too short"))?;
    Ok((value, &bytes[size_of::<T>()..]))
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    ensure(bytes.len() <= REASON_BYTES_MAX, "a reason is too long")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Malformed("a reason is not text"))
}

/// The longest prefix of whole characters within the bound.
fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let transfer = TransferId(0x0102_0304_0506_0708);
        let id = EntryId { term: Term(7), index: Index(42) };
        let begin = Begin {
            transfer,
            name: SnapshotName { group: GroupId(3), id, build: 1 },
            file_bytes: 12_288,
            checksum: 0xfeed_f00d,
            chunk_bytes: CHUNK_BYTES_MIN,
            meta: b"manifest".to_vec(),
        };
        let chunk =
            ChunkHeader { transfer, offset: 4096, file_bytes: 12_288, data_bytes: 8192, data_checksum: 99 };
        vec![
            Message::Begin(begin),
            Message::Chunk(chunk),
            Message::Resume { transfer, offset: 4096 },
            Message::Done { transfer, ok: true, reason: String::new() },
            Message::Done { transfer, ok: false, reason: "disk full".to_string() },
            Message::Abort { transfer, reason: "superseded".to_string() },
        ]
    }

    #[test]
    fn messages_survive_a_round_trip() {
        let mut stream = Vec::new();
        for message in messages() {
            message.encode(&mut stream);
        }
        let mut rest = &stream[..];
        for message in messages() {
            let (decoded, bytes) = Message::decode(rest).unwrap();
            assert_eq!(decoded, message);
            rest = &rest[bytes..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn every_bit_flip_is_found_and_every_cut_asks_for_the_rest() {
        for message in messages() {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Message::decode(&damaged).is_err(), "bit {bit} of {message:?}");
            }
            for end in 0..bytes.len() {
                let need = if end < PREFIX_BYTES { PREFIX_BYTES } else { bytes.len() };
                assert_eq!(Message::decode(&bytes[..end]), Err(DecodeError::Incomplete { need }));
            }
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let transfer = TransferId(1);
        let message = Message::Abort { transfer, reason: format!("x{}", "é".repeat(REASON_BYTES_MAX)) };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (Message::Abort { reason, .. }, _) = Message::decode(&bytes).unwrap() else { panic!("an abort") };
        assert_eq!(reason.len(), REASON_BYTES_MAX - 1);
    }
}
