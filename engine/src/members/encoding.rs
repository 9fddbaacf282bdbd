//! Fields of the directory's commands and states: little-endian numbers; texts with a 16-bit length in front.

use net::handshake::Address;
use raft::NodeId;

/// The bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// An address; `None` is an empty host.
pub(super) fn put_address(out: &mut Vec<u8>, address: Option<&Address>) {
    put_text(out, address.map_or("", Address::host));
    put_u16(out, address.map_or(0, Address::port));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u16(out, u16::try_from(text.len()).expect("texts of the directory are short"));
    out.extend_from_slice(text.as_bytes());
}

/// Reads fields from the front of bytes.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2)?.try_into().map(u16::from_le_bytes).map_err(|_| Malformed)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| Malformed)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, Malformed> {
        self.u16().map(NodeId)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed)
    }

    pub(super) fn address(&mut self) -> Result<Option<Address>, Malformed> {
        let (host, port) = (self.text()?, self.u16()?);
        if host.is_empty() && port == 0 {
            return Ok(None);
        }
        Address::new(host, port).map(Some).map_err(|_| Malformed)
    }

    pub(super) fn some_address(&mut self) -> Result<Address, Malformed> {
        self.address()?.ok_or(Malformed)
    }

    /// Nothing follows.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
