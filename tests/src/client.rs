//! A small blocking client that speaks RESP2 and RESP3.
//!
//! It shares no code with the server, so that the two cannot be wrong together. It is made for tests:
//! it tells a request that was surely not sent from one whose outcome is unknown, and never repeats one.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply, as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(String),
    /// `-text`: the server's refusal, code word included.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3 abc`; also RESP3's verbatim string.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*2 ..`; also RESP3's sets and pushes.
    Array(Vec<Value>),
    /// `%2 ..`
    Map(Vec<(Value, Value)>),
    /// `,1.5`
    Double(f64),
    /// `#t`
    Boolean(bool),
    /// `(123`
    BigNumber(String),
}

impl Value {
    /// The text of a simple, bulk or error reply.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Simple(text) | Value::Error(text) => Some(text.clone()),
            Value::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// The code word of an error, like `MOVED`.
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Value::Error(text) => text.split(' ').next(),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// How deep arrays may nest. Beyond it the reply is refused, not followed.
const DEPTH_MAX: usize = 16;
/// The largest bulk and the longest array that a test may be sent.
const REPLY_MAX: i64 = 64 << 20;

/// A connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.address)
    }
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// One command in RESP, as all clients send it.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Client {
    /// Connects. `timeout` bounds the connecting, and later each read and write.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Client { stream: BufReader::new(stream), address })
    }

    /// Whom it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one command and reads its reply. After an error the outcome is unknown and the connection must
    /// not be used again.
    pub fn call(&mut self, args: &[&[u8]]) -> io::Result<Value> {
        self.send(&encode(args))?;
        self.receive()
    }

    /// [`Client::call`] with the words of a line, for commands without spaces in their arguments.
    pub fn line(&mut self, line: &str) -> io::Result<Value> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&args)
    }

    /// Sends all commands in one write, then reads all replies.
    pub fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> io::Result<Vec<Value>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
        self.send(&bytes)?;
        commands.iter().map(|_| self.receive()).collect()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// Reads one reply. An orderly end of the connection is `UnexpectedEof`.
    pub fn receive(&mut self) -> io::Result<Value> {
        read_reply(&mut self.stream)
    }

    /// Reads up to and including `end`, or until the other side closes.
    pub fn receive_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let last = *end.last().ok_or_else(|| invalid("there is no end to wait for"))?;
        while !bytes.ends_with(end) && self.stream.read_until(last, &mut bytes)? > 0 {}
        Ok(bytes)
    }

    /// Reads what is left until the other side closes.
    pub fn receive_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads one reply off `stream`. The end of the stream in the midst of it is `UnexpectedEof`.
///
/// # Errors
/// What the stream says; `InvalidData` for bytes that are no reply.
pub fn read_reply(stream: &mut impl BufRead) -> io::Result<Value> {
    value(stream, DEPTH_MAX)
}

fn value(stream: &mut impl BufRead, depth: usize) -> io::Result<Value> {
    if depth == 0 {
        return Err(invalid("reply nests too deep"));
    }
    let line = read_line(stream)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| invalid("empty reply line"))?;
    Ok(match kind {
        "+" => Value::Simple(rest.to_string()),
        "-" => Value::Error(rest.to_string()),
        ":" => Value::Integer(number(rest)?),
        "$" | "=" | "!" => match size(rest)? {
            None => Value::Null,
            Some(size) => bulk(stream, kind, size)?,
        },
        "*" | "~" | ">" => match size(rest)? {
            None => Value::Null,
            Some(count) => {
                Value::Array((0..count).map(|_| value(stream, depth - 1)).collect::<Result<_, _>>()?)
            }
        },
        "%" => {
            let count = size(rest)?.ok_or_else(|| invalid("map without a size"))?;
            let pair = |_| Ok((value(stream, depth - 1)?, value(stream, depth - 1)?));
            Value::Map((0..count).map(pair).collect::<io::Result<_>>()?)
        }
        "_" => Value::Null,
        "#" => Value::Boolean(rest == "t"),
        "," => Value::Double(rest.parse().map_err(|_| invalid(format!("no double: {rest}")))?),
        "(" => Value::BigNumber(rest.to_string()),
        _ => return Err(invalid(format!("unknown reply type: {line}"))),
    })
}

fn bulk(stream: &mut impl BufRead, kind: &str, size: usize) -> io::Result<Value> {
    let mut bytes = vec![0; size + 2];
    stream.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(invalid("bulk is not ended by CR LF"));
    }
    bytes.truncate(size);
    Ok(match kind {
        "!" => Value::Error(String::from_utf8_lossy(&bytes).into_owned()),
        "=" => Value::Bulk(bytes.split_off(4.min(size))),
        _ => Value::Bulk(bytes),
    })
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| invalid("line is not ended by CR LF"))?;
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| invalid(format!("no integer: {text}")))
}

fn size(text: &str) -> io::Result<Option<usize>> {
    match number(text)? {
        -1 => Ok(None),
        size @ 0..=REPLY_MAX => Ok(usize::try_from(size).ok()),
        size => Err(invalid(format!("impossible size {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Reads the replies a server sends in one go.
    fn replies(bytes: &'static [u8]) -> Vec<Result<Value, io::ErrorKind>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).unwrap());
        let mut client = Client::connect(address, Duration::from_secs(5)).unwrap();
        server.join().unwrap();
        let mut replies = Vec::new();
        loop {
            let reply = client.receive().map_err(|error| error.kind());
            let ended = reply.is_err();
            replies.push(reply);
            if ended {
                return replies;
            }
        }
    }

    #[test]
    fn every_reply_type_is_read() {
        let bulk = |text: &str| Value::Bulk(text.into());
        assert_eq!(
            replies(
                b"+OK\r\n-ERR no\r\n:-5\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n_\r\n*2\r\n:1\r\n*0\r\n\
                  %1\r\n+a\r\n$0\r\n\r\n,1.5\r\n#t\r\n=6\r\ntxt:hi\r\n(12345678901234567890\r\n"
            ),
            [
                Ok(Value::Simple("OK".into())),
                Ok(Value::Error("ERR no".into())),
                Ok(Value::Integer(-5)),
                Ok(bulk("a\r\nb")),
                Ok(Value::Null),
                Ok(Value::Null),
                Ok(Value::Null),
                Ok(Value::Array(vec![Value::Integer(1), Value::Array(vec![])])),
                Ok(Value::Map(vec![(Value::Simple("a".into()), bulk(""))])),
                Ok(Value::Double(1.5)),
                Ok(Value::Boolean(true)),
                Ok(bulk("hi")),
                Ok(Value::BigNumber("12345678901234567890".into())),
                Err(io::ErrorKind::UnexpectedEof),
            ]
        );
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        for (bytes, kind) in [
            (&b"?what\r\n"[..], InvalidData),
            (b":x\r\n", InvalidData),
            (b"$99999999999\r\n", InvalidData),
            (b"$3\r\nabcde", InvalidData),
            (b"+no end\n", InvalidData),
            (b"$5\r\nab", UnexpectedEof),
        ] {
            assert_eq!(replies(bytes), [Err(kind)], "{}", bytes.escape_ascii());
        }
        assert_eq!(replies(&[b'*'; 0]), [Err(UnexpectedEof)]);
        assert_eq!(replies(b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"), [Err(InvalidData)]);
    }
}
