//! The bytes of one entry: the same on every disk, on the wire, in the entry cache, and before the
//! state machine.
//!
//! | offset | bytes | field          | holds                                                     |
//! |-------:|------:|----------------|-----------------------------------------------------------|
//! |      0 |     4 | `checksum`     | crc32 of bytes 4..48 and the command                      |
//! |      4 |     4 | `command_bytes`| length of the command, without padding                    |
//! |      8 |     4 | `group`        | the group                                                 |
//! |     12 |     4 | `incarnation`  | of the group: a removed and re-created group differs      |
//! |     16 |     8 | `index`        | its place in the log, from 1                              |
//! |     24 |     8 | `term`         | of the leader that appended it, from 1                    |
//! |     32 |     1 | `kind`         | [`EntryKind`]                                             |
//! |     33 |     7 | `zero`         | zeros, checked                                            |
//! |     40 |     8 | `reserved`     | zero, checked                                             |
//! |     48 |     n | command        | the application's bytes                                   |
//! |        |     p | padding        | zeros up to a multiple of 16, checked                     |
//!
//! All numbers are little-endian.

use core::iter::FusedIterator;
use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::id::{EntryId, GroupId, Index, Term};

/// The size of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 48;

/// The checksum stands at its front.
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// Entries start at multiples of this, and their padded sizes are multiples of it.
pub const ENTRY_ALIGN: usize = 16;

/// The largest command: 32 MiB of the client's, and 64 KiB for what the engine puts around it.
pub const COMMAND_BYTES_MAX: usize = 32 * 1024 * 1024 + 64 * 1024;

/// The header as it stands in memory, on disk and on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct EntryHeader {
    /// crc32 of the header after this field, and of the command.
    pub checksum: u32,
    /// Length of the command, without padding.
    pub command_bytes: u32,
    /// The group.
    pub group: u32,
    /// The group's incarnation.
    pub incarnation: u32,
    /// The entry's index, from 1.
    pub index: u64,
    /// The entry's term, from 1.
    pub term: u64,
    /// An [`EntryKind`].
    pub kind: u8,
    /// Zeros.
    pub zero: [u8; 7],
    /// Zero.
    pub reserved: u64,
}

const _: () = {
    assert!(size_of::<EntryHeader>() == ENTRY_HEADER_BYTES);
    assert!(ENTRY_HEADER_BYTES.is_multiple_of(ENTRY_ALIGN));
    assert!(offset_of!(EntryHeader, checksum) == 0);
    assert!(offset_of!(EntryHeader, command_bytes) == 4);
    assert!(offset_of!(EntryHeader, group) == 8);
    assert!(offset_of!(EntryHeader, incarnation) == 12);
    assert!(offset_of!(EntryHeader, index) == 16);
    assert!(offset_of!(EntryHeader, term) == 24);
    assert!(offset_of!(EntryHeader, kind) == 32);
    assert!(offset_of!(EntryHeader, zero) == 33);
    assert!(offset_of!(EntryHeader, reserved) == 40);
    assert!(cfg!(target_endian = "little"), "the header is read in place: little-endian machines only");
};

/// What an entry's command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A leader's first entry: empty, and not shown to the state machine.
    Noop = 1,
    /// The application's bytes.
    Command = 2,
    /// A configuration of the group.
    Membership = 3,
}

impl EntryKind {
    const fn from_byte(byte: u8) -> Option<EntryKind> {
        match byte {
            1 => Some(EntryKind::Noop),
            2 => Some(EntryKind::Command),
            3 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// The bytes one entry takes: header, command, padding.
#[must_use]
pub const fn entry_bytes(command_bytes: usize) -> usize {
    (ENTRY_HEADER_BYTES + command_bytes).next_multiple_of(ENTRY_ALIGN)
}

/// What a new entry's header says, besides what its command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySpec {
    /// The group.
    pub group: GroupId,
    /// The group's incarnation.
    pub incarnation: u32,
    /// The entry's id.
    pub id: EntryId,
    /// What the command is for.
    pub kind: EntryKind,
}

/// Writes one entry into `out`; `fill` writes all of the command. What it left out would be whatever was there before.
///
/// # Panics
/// If `out` is not exactly [`entry_bytes`]`(command_bytes)` long or the command is longer than
/// [`COMMAND_BYTES_MAX`]: the caller made the place.
pub fn encode_entry(out: &mut [u8], spec: EntrySpec, command_bytes: usize, fill: impl FnOnce(&mut [u8])) {
    assert!(command_bytes <= COMMAND_BYTES_MAX, "a command of {command_bytes} bytes");
    assert_eq!(out.len(), entry_bytes(command_bytes), "the place of an entry has exactly its size");
    let command_end = ENTRY_HEADER_BYTES + command_bytes;
    fill(&mut out[ENTRY_HEADER_BYTES..command_end]);
    out[command_end..].fill(0);
    let header = EntryHeader {
        checksum: 0,
        command_bytes: u32::try_from(command_bytes).expect("bounded by COMMAND_BYTES_MAX"),
        group: spec.group.0,
        incarnation: spec.incarnation,
        index: spec.id.index.0,
        term: spec.id.term.0,
        kind: spec.kind as u8,
        zero: [0; 7],
        reserved: 0,
    };
    out[..ENTRY_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    let checksum = checksum(&out[..command_end]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Of header and command, which follow each other: one run of bytes is summed several times faster than two.
fn checksum(unpadded: &[u8]) -> u32 {
    crc32fast::hash(&unpadded[CHECKSUM_BYTES..])
}

/// One entry, seen in the bytes that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The group.
    pub group: GroupId,
    /// The group's incarnation.
    pub incarnation: u32,
    /// The entry's id.
    pub id: EntryId,
    /// What the command is for.
    pub kind: EntryKind,
    /// The command, without padding.
    pub command: &'a [u8],
    /// The whole entry: header, command, padding.
    pub bytes: &'a [u8],
}

/// How closely [`decode_entry`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Bounds, kind, zeros, and the checksum: for bytes that came from a disk or a peer.
    Checksum,
    /// Bounds, kind and zeros only: for bytes whose checksum was seen to be right before.
    Shape,
}

/// Why bytes are not an entry. `offset` counts from the start of the bytes handed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end inside the entry. More bytes may help.
    #[error("entry at byte {offset} is cut short: it takes {needed_bytes} bytes, {have_bytes} are there")]
    Truncated {
        /// Where the entry starts.
        offset: usize,
        /// What it takes, as far as is known.
        needed_bytes: usize,
        /// What is left from `offset` on.
        have_bytes: usize,
    },
    /// A field holds what no entry holds.
    #[error("entry at byte {offset} has an impossible {field}: {value}")]
    Field {
        /// Where the entry starts.
        offset: usize,
        /// The field of [`EntryHeader`], or `padding`.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The bytes are not those that were written.
    #[error("entry at byte {offset} has checksum {stored:#010x}, its bytes have {computed:#010x}")]
    Checksum {
        /// Where the entry starts.
        offset: usize,
        /// As written in the header.
        stored: u32,
        /// As computed over the bytes.
        computed: u32,
    },
}

/// The entry at the front of `bytes`; what follows it starts at `entry.bytes.len()`.
///
/// # Errors
/// [`EntryError`] with offset 0: the caller treats the bytes as torn or rotten.
pub fn decode_entry(bytes: &[u8], check: Check) -> Result<Entry<'_>, EntryError> {
    decode_at(bytes, 0, check)
}

fn decode_at(all: &[u8], offset: usize, check: Check) -> Result<Entry<'_>, EntryError> {
    let bytes = &all[offset..];
    let truncated = |needed_bytes| EntryError::Truncated { offset, needed_bytes, have_bytes: bytes.len() };
    let field = |field, value| EntryError::Field { offset, field, value };
    let header_bytes = bytes.get(..ENTRY_HEADER_BYTES).ok_or_else(|| truncated(ENTRY_HEADER_BYTES))?;
    let header: EntryHeader = bytemuck::pod_read_unaligned(header_bytes);
    let command_bytes = usize::try_from(header.command_bytes).unwrap_or(usize::MAX);
    if command_bytes > COMMAND_BYTES_MAX {
        return Err(field("command_bytes", u64::from(header.command_bytes)));
    }
    let whole_bytes = entry_bytes(command_bytes);
    let whole = bytes.get(..whole_bytes).ok_or_else(|| truncated(whole_bytes))?;
    let (command, padding) = whole[ENTRY_HEADER_BYTES..].split_at(command_bytes);
    if check == Check::Checksum {
        let computed = checksum(&whole[..ENTRY_HEADER_BYTES + command_bytes]);
        if computed != header.checksum {
            return Err(EntryError::Checksum { offset, stored: header.checksum, computed });
        }
    }
    let kind = EntryKind::from_byte(header.kind).ok_or_else(|| field("kind", u64::from(header.kind)))?;
    if header.index == 0 {
        return Err(field("index", 0));
    }
    if header.term == 0 {
        return Err(field("term", 0));
    }
    if let Some(&byte) = header.zero.iter().find(|&&byte| byte != 0) {
        return Err(field("zero", u64::from(byte)));
    }
    if header.reserved != 0 {
        return Err(field("reserved", header.reserved));
    }
    if let Some(&byte) = padding.iter().find(|&&byte| byte != 0) {
        return Err(field("padding", u64::from(byte)));
    }
    Ok(Entry {
        group: GroupId(header.group),
        incarnation: header.incarnation,
        id: EntryId::new(Term(header.term), Index(header.index)),
        kind,
        command,
        bytes: whole,
    })
}

/// The entries that fill `bytes` from front to end. Ends after the first error.
pub fn entries(bytes: &[u8], check: Check) -> impl FusedIterator<Item = Result<Entry<'_>, EntryError>> {
    Entries { bytes, offset: 0, check }
}

struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
    check: Check,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.bytes.len() {
            return None;
        }
        let result = decode_at(self.bytes, self.offset, self.check);
        self.offset = match &result {
            Ok(entry) => self.offset + entry.bytes.len(),
            Err(_) => self.bytes.len(),
        };
        Some(result)
    }
}

impl FusedIterator for Entries<'_> {}
