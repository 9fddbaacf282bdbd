//! Commands as bytes: what stands in the log.
//!
//! One byte of operation, then its arguments in order: byte strings as length and bytes, lists as count and byte
//! strings, lengths and counts as LEB128 (7 bits per byte, low ones first, shortest form only), numbers as 8 bytes
//! little-endian, flags as one byte. Operations below 64 write, others only read. A number, once given, keeps its
//! meaning for ever; a new meaning takes a new number.

use super::command::{Command, Condition, List};

/// Bytes are not a command of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer version wrote an operation that this one does not know.
    #[error("unknown operation {0}")]
    Unknown(u8),
    /// The operation is known, its arguments are not as they should be.
    #[error("malformed command at byte {offset}")]
    Malformed {
        /// Where in the command.
        offset: usize,
    },
}

mod op {
    pub const SET: u8 = 1;
    pub const SET_NX: u8 = 2;
    pub const GET_DEL: u8 = 3;
    pub const M_SET: u8 = 4;
    pub const DEL: u8 = 5;
    pub const APPEND: u8 = 6;
    pub const SET_RANGE: u8 = 7;
    pub const INCR_BY: u8 = 8;
    pub const FLUSH: u8 = 9;
    pub const GET: u8 = 64;
    pub const M_GET: u8 = 65;
    pub const EXISTS: u8 = 66;
    pub const TYPE: u8 = 67;
    pub const STR_LEN: u8 = 68;
    pub const GET_RANGE: u8 = 69;
    pub const SCAN: u8 = 70;
    pub const KEYS: u8 = 71;
    pub const RANDOM_KEY: u8 = 72;
    pub const DB_SIZE: u8 = 73;
    pub const SLOT_LEN: u8 = 74;
    pub const SLOT_KEYS: u8 = 75;
}

/// Flags of SET.
const SET_ABSENT: u8 = 1;
const SET_PRESENT: u8 = 2;
const SET_GET: u8 = 4;

/// Flags of SCAN: which of the optional arguments follow.
const SCAN_PATTERN: u8 = 1;
const SCAN_KIND: u8 = 2;

impl<'a> Command<'a> {
    /// How many bytes [`encode`](Self::encode) writes.
    pub fn encoded_bytes(&self) -> usize {
        let mut length = Length(0);
        self.write(&mut length);
        length.0
    }

    /// Encodes into `out`, straight from where the arguments stand.
    ///
    /// # Panics
    /// If `out` is not exactly [`encoded_bytes`](Self::encoded_bytes) long.
    pub fn encode(&self, out: &mut [u8]) {
        let mut rest = Rest(out);
        self.write(&mut rest);
        assert!(rest.0.is_empty(), "room for a command is exactly its size");
    }

    /// The encoded form in a buffer of its own, for commands that must wait or travel.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut impl Write) {
        match self {
            Self::Set { key, value, condition, get } => {
                let condition = match condition {
                    Condition::Always => 0,
                    Condition::Absent => SET_ABSENT,
                    Condition::Present => SET_PRESENT,
                };
                out.put(&[op::SET, condition | if *get { SET_GET } else { 0 }]);
                out.strings(&[key, value]);
            }
            Self::SetNx { key, value } => out.op_strings(op::SET_NX, &[key, value]),
            Self::GetDel { key } => out.op_strings(op::GET_DEL, &[key]),
            Self::MSet { pairs } => out.op_list(op::M_SET, pairs),
            Self::Del { keys } => out.op_list(op::DEL, keys),
            Self::Append { key, value } => out.op_strings(op::APPEND, &[key, value]),
            Self::SetRange { key, offset, value } => {
                out.op_strings(op::SET_RANGE, &[key, value]);
                out.put(&offset.to_le_bytes());
            }
            Self::IncrBy { key, by } => {
                out.op_strings(op::INCR_BY, &[key]);
                out.put(&by.to_le_bytes());
            }
            Self::Flush => out.put(&[op::FLUSH]),
            read => read.write_read(out),
        }
    }

    fn write_read(&self, out: &mut impl Write) {
        match self {
            Self::Get { key } => out.op_strings(op::GET, &[key]),
            Self::MGet { keys } => out.op_list(op::M_GET, keys),
            Self::Exists { keys } => out.op_list(op::EXISTS, keys),
            Self::Type { key } => out.op_strings(op::TYPE, &[key]),
            Self::StrLen { key } => out.op_strings(op::STR_LEN, &[key]),
            Self::GetRange { key, start, end } => {
                out.op_strings(op::GET_RANGE, &[key]);
                out.put(&start.to_le_bytes());
                out.put(&end.to_le_bytes());
            }
            Self::Scan { cursor, then, count, pattern, kind } => {
                let flags = if pattern.is_some() { SCAN_PATTERN } else { 0 }
                    | if kind.is_some() { SCAN_KIND } else { 0 };
                out.put(&[op::SCAN, flags]);
                out.put(&cursor.to_le_bytes());
                out.put(&then.to_le_bytes());
                out.put(&u64::from(*count).to_le_bytes());
                for optional in [pattern, kind].into_iter().flatten() {
                    out.strings(&[optional]);
                }
            }
            Self::Keys { pattern } => out.op_strings(op::KEYS, &[pattern]),
            Self::RandomKey { seed } => {
                out.put(&[op::RANDOM_KEY]);
                out.put(&seed.to_le_bytes());
            }
            Self::DbSize => out.put(&[op::DB_SIZE]),
            Self::SlotLen { slot } => {
                out.put(&[op::SLOT_LEN]);
                out.put(&u64::from(*slot).to_le_bytes());
            }
            Self::SlotKeys { slot, count } => {
                out.put(&[op::SLOT_KEYS]);
                out.put(&u64::from(*slot).to_le_bytes());
                out.put(&u64::from(*count).to_le_bytes());
            }
            write => unreachable!("{write:?} is written by write()"),
        }
    }

    /// The command behind an encoded form, borrowed from it. All of its bounds are checked here.
    ///
    /// # Errors
    /// The bytes are no command of this version: see [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let op = reader.byte()?;
        let command = match op {
            op::SET => {
                let flags = reader.byte()?;
                let condition = match flags & !SET_GET {
                    0 => Condition::Always,
                    SET_ABSENT => Condition::Absent,
                    SET_PRESENT => Condition::Present,
                    _ => return Err(DecodeError::Malformed { offset: 1 }),
                };
                let get = flags & SET_GET != 0;
                Self::Set { key: reader.bytes()?, value: reader.bytes()?, condition, get }
            }
            op::SET_NX => Self::SetNx { key: reader.bytes()?, value: reader.bytes()? },
            op::GET_DEL => Self::GetDel { key: reader.bytes()? },
            op::M_SET => {
                let pairs = reader.list()?;
                if pairs.len() % 2 != 0 {
                    return Err(reader.malformed());
                }
                Self::MSet { pairs }
            }
            op::DEL => Self::Del { keys: reader.list()? },
            op::APPEND => Self::Append { key: reader.bytes()?, value: reader.bytes()? },
            op::SET_RANGE => {
                let (key, value) = (reader.bytes()?, reader.bytes()?);
                Self::SetRange { key, offset: u64::from_le_bytes(reader.array()?), value }
            }
            op::INCR_BY => Self::IncrBy { key: reader.bytes()?, by: i64::from_le_bytes(reader.array()?) },
            op::FLUSH => Self::Flush,
            _ => Self::decode_read(op, reader)?,
        };
        if reader.rest.is_empty() { Ok(command) } else { Err(reader.malformed()) }
    }

    fn decode_read(op: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            op::GET => Self::Get { key: reader.bytes()? },
            op::M_GET => Self::MGet { keys: reader.list()? },
            op::EXISTS => Self::Exists { keys: reader.list()? },
            op::TYPE => Self::Type { key: reader.bytes()? },
            op::STR_LEN => Self::StrLen { key: reader.bytes()? },
            op::GET_RANGE => {
                let key = reader.bytes()?;
                let (start, end) = (i64::from_le_bytes(reader.array()?), i64::from_le_bytes(reader.array()?));
                Self::GetRange { key, start, end }
            }
            op::SCAN => {
                let flags = reader.byte()?;
                if flags & !(SCAN_PATTERN | SCAN_KIND) != 0 {
                    return Err(DecodeError::Malformed { offset: 1 });
                }
                let (cursor, then) =
                    (u64::from_le_bytes(reader.array()?), u64::from_le_bytes(reader.array()?));
                let count = reader.number()?;
                let pattern = if flags & SCAN_PATTERN != 0 { Some(reader.bytes()?) } else { None };
                let kind = if flags & SCAN_KIND != 0 { Some(reader.bytes()?) } else { None };
                Self::Scan { cursor, then, count, pattern, kind }
            }
            op::KEYS => Self::Keys { pattern: reader.bytes()? },
            op::RANDOM_KEY => Self::RandomKey { seed: u64::from_le_bytes(reader.array()?) },
            op::DB_SIZE => Self::DbSize,
            op::SLOT_LEN => Self::SlotLen { slot: reader.number()? },
            op::SLOT_KEYS => Self::SlotKeys { slot: reader.number()?, count: reader.number()? },
            unknown => return Err(DecodeError::Unknown(unknown)),
        })
    }
}

/// Where an encoder writes: a buffer, or a mere count of bytes, so that both are told by the same code.
trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn length(&mut self, mut value: usize) {
        loop {
            let low = u8::try_from(value & 0x7f).expect("7 bits");
            value >>= 7;
            if value == 0 {
                return self.put(&[low]);
            }
            self.put(&[low | 0x80]);
        }
    }

    fn strings(&mut self, strings: &[&[u8]]) {
        for string in strings {
            self.length(string.len());
            self.put(string);
        }
    }

    fn op_strings(&mut self, op: u8, strings: &[&[u8]]) {
        self.put(&[op]);
        self.strings(strings);
    }

    fn op_list(&mut self, op: u8, list: &List<'_>) {
        self.put(&[op]);
        self.length(list.len());
        for item in list.iter() {
            self.strings(&[item]);
        }
    }
}

struct Length(usize);

impl Write for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

struct Rest<'o>(&'o mut [u8]);

impl Write for Rest<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.0 = rest;
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads encoded arguments; never beyond the end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, size: bytes.len() }
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { offset: self.size - self.rest.len() }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn number<N: TryFrom<u64>>(&mut self) -> Result<N, DecodeError> {
        let number = u64::from_le_bytes(self.array()?);
        N::try_from(number).map_err(|_| self.malformed())
    }

    /// A length: at most 32 bits, in its shortest form.
    fn length(&mut self) -> Result<usize, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = shift == 0 || byte != 0;
                let value = u32::try_from(value).ok().filter(|_| shortest).ok_or(self.malformed())?;
                return Ok(value as usize);
            }
        }
        Err(self.malformed())
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length()?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(bytes)
    }

    fn list(&mut self) -> Result<List<'a>, DecodeError> {
        let len = self.length()?;
        let start = self.rest;
        for _ in 0..len {
            self.bytes()?;
        }
        Ok(List::encoded(&start[..start.len() - self.rest.len()], len))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
