//! A reader of replies, for tests, tools and the command line: it copies, and favours clarity over speed.

use super::parse_integer;

/// A reply, RESP2 or RESP3.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+`: a status.
    Simple(String),
    /// `-`: an error; the first word is its code.
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// The null string, the null array, or `_`.
    Null,
    /// `*`
    Array(Vec<Reply>),
    /// `%`
    Map(Vec<(Reply, Reply)>),
    /// `~`
    Set(Vec<Reply>),
    /// `>`
    Push(Vec<Reply>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `=`, without its format.
    Verbatim(Vec<u8>),
}

/// The server sent something that is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No kind of reply starts with this byte.
    #[error("byte {at}: no reply starts with '{}'", .found.escape_ascii())]
    Kind {
        /// Position in the input.
        at: usize,
        /// What stands there.
        found: u8,
    },
    /// A number, a truth value or a status cannot be read.
    #[error("byte {at}: '{text}' is not what a reply of kind '{}' holds", .kind.escape_ascii())]
    Value {
        /// Position of the line in the input.
        at: usize,
        /// The kind of reply.
        kind: u8,
        /// The line.
        text: String,
    },
    /// Replies nested deeper than [`REPLY_DEPTH_MAX`].
    #[error("byte {at}: replies are nested too deep")]
    Depth {
        /// Position in the input.
        at: usize,
    },
}

/// Replies may be nested so deep; a hostile server must not exhaust the reader's stack.
pub const REPLY_DEPTH_MAX: usize = 32;

/// Reads the reply at the front of `input`: the reply and the bytes it took, or `None` if it is not yet whole.
pub fn read_reply(input: &[u8]) -> Result<Option<(Reply, usize)>, ReplyError> {
    let mut reader = Reader { input, at: 0 };
    Ok(reader.reply(0)?.map(|reply| (reply, reader.at)))
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

/// `Ok(None)`: more bytes are needed.
type Read<T> = Result<Option<T>, ReplyError>;

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: usize) -> Read<Reply> {
        if depth > REPLY_DEPTH_MAX {
            return Err(ReplyError::Depth { at: self.at });
        }
        let start = self.at;
        let Some((kind, line)) = self.line() else { return Ok(None) };
        let text = || String::from_utf8_lossy(line).into_owned();
        let wrong = || ReplyError::Value { at: start, kind, text: text() };
        Ok(match kind {
            b'+' => Some(Reply::Simple(text())),
            b'-' => Some(Reply::Error(text())),
            b':' => Some(Reply::Integer(parse_integer(line).ok_or_else(wrong)?)),
            b'_' => Some(Reply::Null),
            b'#' => Some(Reply::Boolean(match line {
                b"t" => true,
                b"f" => false,
                _ => return Err(wrong()),
            })),
            b',' => Some(Reply::Double(text().parse().map_err(|_| wrong())?)),
            b'$' | b'=' | b'*' | b'~' | b'>' | b'%' => {
                let len = parse_integer(line).ok_or_else(wrong)?;
                if len == -1 {
                    return Ok(Some(Reply::Null));
                }
                let len = usize::try_from(len).map_err(|_| wrong())?;
                self.sized(kind, len, depth)?
            }
            found => return Err(ReplyError::Kind { at: start, found }),
        })
    }

    /// A reply whose line gave a length.
    fn sized(&mut self, kind: u8, len: usize, depth: usize) -> Read<Reply> {
        Ok(match kind {
            b'$' => self.bytes(len).map(Reply::Bulk),
            // Three letters and a colon come first.
            b'=' => self.bytes(len).map(|text| Reply::Verbatim(text.get(4..).unwrap_or(&[]).to_vec())),
            b'*' => self.list(len, depth)?.map(Reply::Array),
            b'~' => self.list(len, depth)?.map(Reply::Set),
            b'>' => self.list(len, depth)?.map(Reply::Push),
            _ => self.list(len.saturating_mul(2), depth)?.map(|list| {
                let mut list = list.into_iter();
                let mut pairs = Vec::with_capacity(len);
                while let (Some(key), Some(value)) = (list.next(), list.next()) {
                    pairs.push((key, value));
                }
                Reply::Map(pairs)
            }),
        })
    }

    fn list(&mut self, len: usize, depth: usize) -> Read<Vec<Reply>> {
        // Not reserved up front: the length is only a claim.
        let mut list = Vec::new();
        for _ in 0..len {
            let Some(reply) = self.reply(depth + 1)? else { return Ok(None) };
            list.push(reply);
        }
        Ok(Some(list))
    }

    fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let end = self.at.checked_add(len)?;
        let bytes = self.input.get(self.at..end)?.to_vec();
        self.input.get(end..end.checked_add(2)?)?;
        self.at = end + 2;
        Some(bytes)
    }

    /// The kind and the rest of the line at hand.
    fn line(&mut self) -> Option<(u8, &'a [u8])> {
        let rest = self.input.get(self.at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        match &rest[..end] {
            [kind, line @ ..] => Some((*kind, line)),
            // An empty line: its own end stands where a kind should.
            [] => Some((b'\r', &[])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn reads_every_kind() {
        let cases: [(&str, Reply); 16] = [
            ("+OK\r\n", Reply::Simple("OK".into())),
            ("-ERR no\r\n", Reply::Error("ERR no".into())),
            (":-7\r\n", Reply::Integer(-7)),
            ("$2\r\nhi\r\n", bulk("hi")),
            ("$0\r\n\r\n", bulk("")),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            ("_\r\n", Reply::Null),
            ("#t\r\n", Reply::Boolean(true)),
            (",1.5\r\n", Reply::Double(1.5)),
            (",-inf\r\n", Reply::Double(f64::NEG_INFINITY)),
            ("=6\r\ntxt:hi\r\n", Reply::Verbatim(b"hi".to_vec())),
            ("*2\r\n:1\r\n*0\r\n", Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![])])),
            ("~1\r\n$1\r\na\r\n", Reply::Set(vec![bulk("a")])),
            (">1\r\n+x\r\n", Reply::Push(vec![Reply::Simple("x".into())])),
            ("%1\r\n$1\r\na\r\n:1\r\n", Reply::Map(vec![(bulk("a"), Reply::Integer(1))])),
        ];
        for (text, reply) in cases {
            for end in 0..text.len() {
                assert_eq!(read_reply(&text.as_bytes()[..end]), Ok(None), "{text:?} up to {end}");
            }
            let longer = format!("{text}+more\r\n");
            assert_eq!(read_reply(longer.as_bytes()), Ok(Some((reply, text.len()))), "{text:?}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(read_reply(b"GET\r\n"), Err(ReplyError::Kind { at: 0, found: b'G' }));
        assert_eq!(read_reply(b"*1\r\n\r\n"), Err(ReplyError::Kind { at: 4, found: b'\r' }));
        for text in ["$x\r\n", ":1.5\r\n", "#y\r\n", ",y\r\n", "*-2\r\n"] {
            assert!(matches!(read_reply(text.as_bytes()), Err(ReplyError::Value { at: 0, .. })), "{text}");
        }
        let deep = "*1\r\n".repeat(100_000);
        assert!(matches!(read_reply(deep.as_bytes()), Err(ReplyError::Depth { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in "[-+:$*%~>,#_=0-9\r\n]{0,60}") {
            let _ = read_reply(bytes.as_bytes());
        }
    }
}
