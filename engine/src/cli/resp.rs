//! The load client's own RESP2 codec: requests out, replies in, nothing copied.
//!
//! It is written apart from the server's on purpose: two codecs by one hand would agree on its mistakes.

use std::io::Write as _;

/// One reply, borrowing from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `-ERR ...`, without the dash.
    Error(&'a [u8]),
    /// `:1`
    Integer(i64),
    /// `$3 abc`
    Bulk(&'a [u8]),
    /// `$-1`, `*-1` or RESP3's `_`.
    Null,
    /// `*2 ...`: walk it with [`Elements`].
    Array(Elements<'a>),
}

/// The elements of an array that is known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl Elements<'_> {
    /// How many elements are left.
    pub fn count(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        match decode(self.bytes) {
            Ok(Some((reply, consumed))) => {
                self.bytes = &self.bytes[consumed..];
                Some(reply)
            }
            _ => unreachable!("an array is handed out only when it is complete"),
        }
    }
}

/// The peer does not speak RESP2, or the stream lost its frame: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's reply is not RESP: {0}")]
pub struct BadReply(&'static str);

/// Arrays within arrays deeper than this are not replies of any server.
const DEPTH_MAX: usize = 8;
/// Redis's limit for one bulk string.
const BULK_BYTES_MAX: usize = 512 << 20;

/// Decodes the reply at the front of `input` and says how many bytes it took; `None`: more must arrive first.
///
/// # Errors
/// [`BadReply`]: close the connection.
pub fn decode(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, BadReply> {
    decode_at(input, 0)
}

fn decode_at(input: &[u8], depth: usize) -> Result<Option<(Reply<'_>, usize)>, BadReply> {
    let Some(&kind) = input.first() else { return Ok(None) };
    let Some(end) = line_end(input) else { return Ok(None) };
    let line = input.get(1..end).ok_or(BadReply("an empty line where a reply begins"))?;
    let after = end + 2;
    let reply = match kind {
        b'+' => Reply::Simple(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(integer(line)?),
        b'_' => Reply::Null,
        b'$' => return bulk(input, line, after),
        b'*' => return array(input, line, after, depth),
        _ => return Err(BadReply("unknown type byte")),
    };
    Ok(Some((reply, after)))
}

fn bulk<'a>(input: &'a [u8], line: &[u8], start: usize) -> Result<Option<(Reply<'a>, usize)>, BadReply> {
    let Some(len) = length(line)? else { return Ok(Some((Reply::Null, start))) };
    if len > BULK_BYTES_MAX {
        return Err(BadReply("bulk string too long"));
    }
    let Some(framed) = input.get(start..start + len + 2) else { return Ok(None) };
    match framed.strip_suffix(b"\r\n") {
        Some(bytes) => Ok(Some((Reply::Bulk(bytes), start + len + 2))),
        None => Err(BadReply("bulk string without its end")),
    }
}

fn array<'a>(
    input: &'a [u8],
    line: &[u8],
    start: usize,
    depth: usize,
) -> Result<Option<(Reply<'a>, usize)>, BadReply> {
    if depth == DEPTH_MAX {
        return Err(BadReply("arrays nested too deeply"));
    }
    let Some(count) = length(line)? else { return Ok(Some((Reply::Null, start))) };
    let mut position = start;
    for _ in 0..count {
        let Some((_, consumed)) = decode_at(&input[position..], depth + 1)? else { return Ok(None) };
        position += consumed;
    }
    let elements = Elements { left: count, bytes: &input[start..position] };
    Ok(Some((Reply::Array(elements), position)))
}

/// Where the first line's `\r` is. Only reply lines pass here, which are short.
fn line_end(input: &[u8]) -> Option<usize> {
    let end = input.iter().position(|byte| *byte == b'\r')?;
    (input.get(end + 1)? == &b'\n').then_some(end)
}

fn integer(digits: &[u8]) -> Result<i64, BadReply> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    if digits.is_empty() {
        return Err(BadReply("a number without digits"));
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(BadReply("a number with other characters"));
        }
        let digit = i64::from(digit - b'0');
        let next = value
            .checked_mul(10)
            .and_then(|value| if negative { value.checked_sub(digit) } else { value.checked_add(digit) });
        value = next.ok_or(BadReply("a number too large"))?;
    }
    Ok(value)
}

fn length(line: &[u8]) -> Result<Option<usize>, BadReply> {
    match integer(line)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| BadReply("a negative length")),
    }
}

/// Appends the command `parts` to `out`.
pub fn encode(out: &mut Vec<u8>, parts: &[&[u8]]) {
    header(out, b'*', parts.len());
    for part in parts {
        header(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the start of a command of `count` parts, or of a part of `count` bytes.
pub fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    write!(out, "{}{count}\r\n", char::from(kind)).expect("a Vec takes any bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(input: &[u8]) -> Reply<'_> {
        let (reply, consumed) = decode(input).unwrap().expect("complete");
        assert_eq!(consumed, input.len());
        reply
    }

    #[test]
    fn commands_are_encoded() {
        let mut out = Vec::new();
        encode(&mut out, &[b"SET", b"k", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn every_kind_of_reply_is_decoded() {
        assert_eq!(whole(b"+OK\r\n"), Reply::Simple(b"OK"));
        assert_eq!(whole(b"-ERR no\r\n"), Reply::Error(b"ERR no"));
        assert_eq!(whole(b":-42\r\n"), Reply::Integer(-42));
        assert_eq!(whole(b":-9223372036854775808\r\n"), Reply::Integer(i64::MIN));
        assert_eq!(whole(b"$0\r\n\r\n"), Reply::Bulk(b""));
        assert_eq!(whole(b"$4\r\na\r\nb\r\n"), Reply::Bulk(b"a\r\nb"));
        assert_eq!(whole(b"$-1\r\n"), Reply::Null);
        assert_eq!(whole(b"*-1\r\n"), Reply::Null);
        assert_eq!(whole(b"_\r\n"), Reply::Null);
    }

    #[test]
    fn arrays_nest() {
        let input = b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n$-1\r\n";
        let Reply::Array(elements) = whole(input) else { panic!("an array") };
        let outer: Vec<Reply<'_>> = elements.collect();
        assert_eq!(outer[0], Reply::Integer(1));
        assert_eq!(outer[2], Reply::Null);
        let Reply::Array(inner) = outer[1] else { panic!("an array") };
        assert_eq!(inner.count(), 2);
        assert_eq!(inner.clone().next(), Some(Reply::Bulk(b"a")));
    }

    #[test]
    fn an_incomplete_reply_waits_at_every_length() {
        let input = b"*3\r\n+OK\r\n:12\r\n$5\r\nhello\r\n";
        for len in 0..input.len() {
            assert_eq!(decode(&input[..len]), Ok(None), "{len} bytes");
        }
        assert!(decode(input).unwrap().is_some());
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        let bad: [&[u8]; 9] = [
            b"\r\n",
            b"HTTP/1.1 400\r\n",
            b":\r\n",
            b":1x\r\n",
            b":9223372036854775808\r\n",
            b"$-2\r\n",
            b"$999999999999\r\n",
            b"$1\r\nab\r\n",
            &deep,
        ];
        for input in bad {
            assert!(decode(input).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(input in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, consumed))) = decode(&input) {
                prop_assert!(consumed <= input.len());
            }
        }

        #[test]
        fn a_command_reads_back_as_an_array(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let mut out = Vec::new();
            encode(&mut out, &slices);
            let (reply, consumed) = decode(&out).unwrap().unwrap();
            prop_assert_eq!(consumed, out.len());
            let Reply::Array(elements) = reply else { panic!("an array") };
            let read: Vec<Reply<'_>> = elements.collect();
            let expected: Vec<Reply<'_>> = slices.iter().map(|part| Reply::Bulk(part)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
