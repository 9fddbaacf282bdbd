//! The clients' protocol, RESP2 and RESP3: requests in, replies out.
//!
//! [`Parser`] reads requests exactly as Redis 7.0 does (`processInlineBuffer` and `processMultibulkBuffer`
//! of its networking.c, observed from outside), down to what it forgives: the two bytes behind an argument
//! are skipped unseen, and so is the byte behind the carriage return of a length. [`reply`] writes answers,
//! [`read_reply`] reads them back.

mod inline;
mod integer;
mod parser;
mod read;
pub mod reply;
#[cfg(test)]
mod tests;

pub use integer::{INTEGER_BYTES_MAX, format_integer, parse_integer};
pub use parser::{Args, Limits, Parse, Parser, parse};
pub use read::{REPLY_DEPTH_MAX, Reply, ReplyError, read_reply};
pub use reply::Proto;

/// A request that is not RESP. The client is told [`ProtocolError::write`] and the connection is closed,
/// because nothing tells where the next request would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line without an end is longer than [`Limits::inline_bytes_max`].
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// An inline request with a quote that never closes, or that closes in the middle of a word.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The line that counts the arguments does not end.
    #[error("Protocol error: too big mbulk count string")]
    CountTooBig,
    /// The count of arguments is not a number, or above [`Limits::args_max`].
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// The line that gives an argument's length does not end.
    #[error("Protocol error: too big bulk count string")]
    LengthTooBig,
    /// An argument starts with this byte in place of a dollar sign.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    /// An argument's length is not a number, negative, or above [`Limits::bulk_bytes_max`].
    #[error("Protocol error: invalid bulk length")]
    InvalidLength,
    /// The request is longer than [`Limits::command_bytes_max`]. Redis closes such a connection
    /// (`client-query-buffer-limit`) without a word; here the client is told why.
    #[error("Protocol error: too big request")]
    RequestTooBig,
}

impl ProtocolError {
    /// Appends the error reply, byte for byte what Redis sends.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            // The byte is sent raw, whatever it is; only line ends are replaced, else they would end the reply.
            ProtocolError::ExpectedDollar(byte) => {
                out.extend_from_slice(b"-ERR Protocol error: expected '$', got '");
                out.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
                out.extend_from_slice(b"'\r\n");
            }
            _ => reply::error(out, format_args!("ERR {self}")),
        }
    }
}
