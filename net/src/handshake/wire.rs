//! Handshake messages as bytes: a 16-byte header, little-endian fields, zeros up to a multiple of 16.

use raft::NodeId;

use super::{Address, ClusterId, Hello, Identity, Kind, Message, Refused, Welcome};
use crate::forming::Forming;
use crate::frame::padded;

/// The first bytes behind a message's checksum.
pub const HANDSHAKE_MAGIC: [u8; 4] = *b"rrhs";
/// The version of the layout.
pub const HANDSHAKE_VERSION: u16 = 0;
/// Checksum, magic, version, kind, length.
pub const HANDSHAKE_HEADER_BYTES: usize = 16;
/// The longest message.
pub const HANDSHAKE_BYTES_MAX: usize = 8192;

/// The peer said something that is no handshake message. The connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of a handshake message: {fault}")]
pub struct HandshakeError {
    /// Position in the message.
    pub at: usize,
    /// What is wrong there.
    pub fault: HandshakeFault,
}

/// What can be wrong with a handshake message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFault {
    /// Whoever this is, it is no node.
    #[error("no node starts with '{}'", .0.escape_ascii())]
    Magic([u8; 4]),
    /// The length is below the header's, above the limit, or no multiple of 16.
    #[error("a message cannot be {0} bytes long")]
    Length(u32),
    /// Damaged on the way.
    #[error("the checksum is {stored:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// As the header says.
        stored: u32,
        /// As the bytes say.
        computed: u32,
    },
    /// A node of another build.
    #[error("handshake version {0}, this node speaks {HANDSHAKE_VERSION}")]
    Version(u16),
    /// No message of this version has this number.
    #[error("no message has the kind {0}")]
    Kind(u16),
    /// The message ends within a field.
    #[error("{0} ends early")]
    Short(&'static str),
    /// A field holds what it must not hold.
    #[error("{0} is not possible")]
    Value(&'static str),
    /// Something follows the last field.
    #[error("something follows the message")]
    Trailing,
}

const KIND_HELLO: u16 = 1;
const KIND_WELCOME: u16 = 2;
/// Its layout stays as it is in all versions, so that even a node of another version can be told why.
const KIND_REFUSED: u16 = 3;
const KIND_FORMING_FIRST: u16 = 16;

pub(super) fn encode(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HANDSHAKE_HEADER_BYTES]);
    let mut writer = Writer(out);
    let kind = match message {
        Message::Hello(hello) => {
            writer.u16(match hello.kind {
                Kind::Raft => 0,
                Kind::Snapshot => 1,
            });
            writer.u16(hello.wanted.0);
            writer.u16(hello.wanted_shard);
            identity_encode(&hello.caller, &mut writer);
            KIND_HELLO
        }
        Message::Welcome(welcome) => {
            identity_encode(&welcome.answerer, &mut writer);
            KIND_WELCOME
        }
        Message::Refused(refused) => {
            writer.u16(refused.code);
            writer.text(cut(&refused.reason, Refused::REASON_BYTES_MAX));
            writer.bytes(&refused.cluster_id.0);
            writer.u64(refused.directory_version);
            KIND_REFUSED
        }
        Message::Forming(forming) => KIND_FORMING_FIRST + forming.encode(&mut writer),
    };
    let message_bytes = padded(out.len() - start);
    assert!(message_bytes <= HANDSHAKE_BYTES_MAX, "every field of a handshake message is bounded");
    out.resize(start + message_bytes, 0);
    let bytes = &mut out[start..];
    bytes[4..8].copy_from_slice(&HANDSHAKE_MAGIC);
    bytes[8..10].copy_from_slice(&HANDSHAKE_VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&kind.to_le_bytes());
    let message_bytes = u32::try_from(message_bytes).expect("bounded by HANDSHAKE_BYTES_MAX");
    bytes[12..16].copy_from_slice(&message_bytes.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[0..4].copy_from_slice(&checksum.to_le_bytes());
}

pub(super) fn decode(input: &[u8]) -> Result<Option<(Message, usize)>, HandshakeError> {
    let fail = |at, fault| Err(HandshakeError { at, fault });
    let Some(header) = input.first_chunk::<HANDSHAKE_HEADER_BYTES>() else {
        return Ok(None);
    };
    // The magic comes before the checksum here, so that a stray browser is told at once what it reached; the
    // length needs no trust, as no message is long.
    let mut fields = Fields::new(header, 0);
    let stored = fields.u32("the checksum")?;
    let magic = fields.array("the magic")?;
    let version = fields.u16("the version")?;
    let kind = fields.u16("the kind")?;
    let message_bytes = fields.u32("the length")?;
    if magic != HANDSHAKE_MAGIC {
        return fail(4, HandshakeFault::Magic(magic));
    }
    let total = message_bytes as usize;
    if !(HANDSHAKE_HEADER_BYTES..=HANDSHAKE_BYTES_MAX).contains(&total) || padded(total) != total {
        return fail(12, HandshakeFault::Length(message_bytes));
    }
    let Some(bytes) = input.get(..total) else { return Ok(None) };
    let computed = crc32fast::hash(&bytes[4..]);
    if stored != computed {
        return fail(0, HandshakeFault::Checksum { stored, computed });
    }
    if version != HANDSHAKE_VERSION && kind != KIND_REFUSED {
        return fail(8, HandshakeFault::Version(version));
    }
    let mut fields = Fields::new(&bytes[HANDSHAKE_HEADER_BYTES..], HANDSHAKE_HEADER_BYTES);
    let message = body_decode(kind, &mut fields)?;
    fields.finish()?;
    Ok(Some((message, total)))
}

fn body_decode(kind: u16, fields: &mut Fields<'_>) -> Result<Message, HandshakeError> {
    Ok(match kind {
        KIND_HELLO => Message::Hello(Hello {
            kind: match fields.u16("the purpose")? {
                0 => Kind::Raft,
                1 => Kind::Snapshot,
                _ => return Err(fields.wrong("the purpose")),
            },
            wanted: NodeId(fields.u16("the wanted node")?),
            wanted_shard: fields.u16("the wanted shard")?,
            caller: identity_decode(fields)?,
        }),
        KIND_WELCOME => Message::Welcome(Welcome { answerer: identity_decode(fields)? }),
        KIND_REFUSED => {
            let code = fields.u16("the code")?;
            let reason = fields.text("the reason", Refused::REASON_BYTES_MAX)?;
            // It ends up in logs and on terminals.
            let shown = |c: char| if c.is_control() { ' ' } else { c };
            let reason = reason.chars().map(shown).collect();
            let cluster_id = ClusterId(fields.array("the cluster id")?);
            let directory_version = fields.u64("the directory version")?;
            Message::Refused(Refused { code, reason, cluster_id, directory_version })
        }
        KIND_FORMING_FIRST.. => match Forming::decode(kind - KIND_FORMING_FIRST, fields)? {
            Some(forming) => Message::Forming(forming),
            None => return Err(HandshakeError { at: 10, fault: HandshakeFault::Kind(kind) }),
        },
        _ => return Err(HandshakeError { at: 10, fault: HandshakeFault::Kind(kind) }),
    })
}

fn identity_encode(identity: &Identity, writer: &mut Writer<'_>) {
    writer.bytes(&identity.cluster_id.0);
    writer.u64(identity.incarnation);
    writer.u64(identity.boot);
    writer.u64(identity.directory_version);
    writer.u32(identity.group_count);
    writer.u16(identity.node.0);
    writer.u16(identity.shard);
    writer.u16(identity.shard_count);
    writer.u16(identity.format_version);
    writer.address(&identity.client_address);
}

fn identity_decode(fields: &mut Fields<'_>) -> Result<Identity, HandshakeError> {
    Ok(Identity {
        cluster_id: ClusterId(fields.array("the cluster id")?),
        incarnation: fields.u64("the incarnation")?,
        boot: fields.u64("the boot number")?,
        directory_version: fields.u64("the directory version")?,
        group_count: fields.u32("the group count")?,
        node: NodeId(fields.u16("the node")?),
        shard: fields.u16("the shard")?,
        shard_count: fields.u16("the shard count")?,
        format_version: fields.u16("the format version")?,
        client_address: fields.address("the client address")?,
    })
}

/// The longest prefix of whole characters within `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Writes little-endian fields, one behind the other.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A 16-bit length, then the text.
    pub(crate) fn text(&mut self, text: &str) {
        self.u16(u16::try_from(text.len()).expect("texts in messages are bounded"));
        self.bytes(text.as_bytes());
    }

    pub(crate) fn address(&mut self, address: &Address) {
        self.u16(address.port());
        self.text(address.host());
    }
}

/// Reads the same fields back; every error names the field and its place.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    at: usize,
    field_at: usize,
}

impl<'a> Fields<'a> {
    /// Fields that start at position `at` of what errors count from.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Fields<'a> {
        Fields { rest: bytes, at, field_at: at }
    }

    /// The error that the field read last holds what it must not hold.
    pub(crate) fn wrong(&self, field: &'static str) -> HandshakeError {
        HandshakeError { at: self.field_at, fault: HandshakeFault::Value(field) }
    }

    pub(crate) fn slice(&mut self, field: &'static str, bytes: usize) -> Result<&'a [u8], HandshakeError> {
        self.field_at = self.at;
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            return Err(HandshakeError { at: self.at, fault: HandshakeFault::Short(field) });
        };
        self.rest = rest;
        self.at += bytes;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], HandshakeError> {
        let bytes = self.slice(field, N)?;
        Ok(bytes.try_into().expect("a slice of N bytes is an array of N"))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, HandshakeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, HandshakeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, HandshakeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, field: &'static str, bytes_max: usize) -> Result<&'a str, HandshakeError> {
        let bytes = usize::from(self.u16(field)?);
        if bytes > bytes_max {
            return Err(self.wrong(field));
        }
        let bytes = self.slice(field, bytes)?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong(field))
    }

    pub(crate) fn address(&mut self, field: &'static str) -> Result<Address, HandshakeError> {
        let port = self.u16(field)?;
        let host = self.text(field, super::HOST_BYTES_MAX)?;
        Address::new(host, port).map_err(|_| self.wrong(field))
    }

    /// Nothing but less than 16 zeros may follow the last field.
    pub(crate) fn finish(self) -> Result<(), HandshakeError> {
        if self.rest.len() < 16 && self.rest.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(HandshakeError { at: self.at, fault: HandshakeFault::Trailing })
        }
    }
}
