//! Writers of replies, RESP2 and RESP3.
//!
//! Each appends to a connection's output and allocates nothing else. What RESP2 lacks is written as Redis 7.0
//! writes it for such clients: a map is an array of twice the length, a set or a push an array, a boolean 1
//! or 0, a double or a verbatim text a bulk string.

use std::fmt::{Arguments, Write as _};
use std::io::Write as _;

use super::{INTEGER_BYTES_MAX, format_integer};

/// The version of the protocol a connection speaks; RESP2 until it says `HELLO 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Proto {
    /// Every client's first language.
    #[default]
    Resp2,
    /// Maps, sets, doubles, booleans, one null, and pushes.
    Resp3,
}

/// `+OK`
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// A short status without line ends, such as `+PONG`.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']), "a simple string is one line");
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// An error; `message` starts with its code, such as `ERR` or `CROSSSLOT`. Line ends become blanks, because
/// the message may quote what a client sent.
pub fn error(out: &mut Vec<u8>, message: Arguments<'_>) {
    out.push(b'-');
    OneLine(out).write_fmt(message).expect("writing to memory cannot fail");
    end(out);
}

/// Passes text on with its line ends made blanks.
struct OneLine<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let one_line = text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        self.0.extend(one_line);
        Ok(())
    }
}

/// An integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    number(out, b':', value);
}

/// A string of any bytes.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    end(out);
}

/// An integer as a string, as INCRBYFLOAT and CLIENT ID's kin want it.
pub fn bulk_integer(out: &mut Vec<u8>, value: i64) {
    bulk(out, format_integer(value, &mut [0; INTEGER_BYTES_MAX]));
}

/// No value: the null string of RESP2, the null of RESP3.
pub fn null(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"$-1\r\n".as_slice(),
        Proto::Resp3 => b"_\r\n",
    });
}

/// No list: the null array of RESP2, the null of RESP3.
pub fn null_array(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"*-1\r\n".as_slice(),
        Proto::Resp3 => b"_\r\n",
    });
}

/// An array of `len` replies, which follow.
pub fn array_header(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', len);
}

/// A map of `len` pairs of replies, which follow, key first.
pub fn map_header(out: &mut Vec<u8>, len: usize, proto: Proto) {
    match proto {
        Proto::Resp2 => header(out, b'*', len * 2),
        Proto::Resp3 => header(out, b'%', len),
    }
}

/// A set of `len` replies, which follow.
pub fn set_header(out: &mut Vec<u8>, len: usize, proto: Proto) {
    header(out, if proto == Proto::Resp3 { b'~' } else { b'*' }, len);
}

/// A push of `len` replies, which follow.
pub fn push_header(out: &mut Vec<u8>, len: usize, proto: Proto) {
    header(out, if proto == Proto::Resp3 { b'>' } else { b'*' }, len);
}

/// A truth value.
pub fn boolean(out: &mut Vec<u8>, value: bool, proto: Proto) {
    out.extend_from_slice(match (proto, value) {
        (Proto::Resp2, false) => b":0\r\n".as_slice(),
        (Proto::Resp2, true) => b":1\r\n",
        (Proto::Resp3, false) => b"#f\r\n",
        (Proto::Resp3, true) => b"#t\r\n",
    });
}

/// A floating-point number, in C's `%.17g`, which reads back as the same number.
pub fn double(out: &mut Vec<u8>, value: f64, proto: Proto) {
    let mut text = [0; DOUBLE_BYTES_MAX];
    let text = format_double(value, &mut text);
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            out.push(b',');
            out.extend_from_slice(text);
            end(out);
        }
    }
}

/// A text with a three-letter format (`txt`, `mkd`), shown as it is by redis-cli.
pub fn verbatim(out: &mut Vec<u8>, format: [u8; 3], text: &[u8], proto: Proto) {
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            header(out, b'=', text.len() + 4);
            out.extend_from_slice(&format);
            out.push(b':');
            out.extend_from_slice(text);
            end(out);
        }
    }
}

fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, kind: u8, len: usize) {
    if len < 10 {
        // Most headers: one digit.
        let digit = b'0' + u8::try_from(len).expect("below ten");
        out.extend_from_slice(&[kind, digit, b'\r', b'\n']);
    } else {
        number(out, kind, i64::try_from(len).expect("no object in memory is longer than i64"));
    }
}

fn number(out: &mut Vec<u8>, kind: u8, value: i64) {
    out.push(kind);
    out.extend_from_slice(format_integer(value, &mut [0; INTEGER_BYTES_MAX]));
    end(out);
}

/// `-1.2345678901234567e-308`
const DOUBLE_BYTES_MAX: usize = 25;
const DOUBLE_DIGITS: usize = 17;

/// C's `%.17g`: 17 significant digits without trailing zeros, and an exponent if it is below -4 or above 16.
fn format_double(value: f64, space: &mut [u8; DOUBLE_BYTES_MAX]) -> &[u8] {
    if value.is_nan() {
        return b"nan";
    }
    if value.is_infinite() {
        return if value > 0.0 { b"inf" } else { b"-inf" };
    }
    // Rounded to 17 digits first: that may change the exponent, which decides the notation.
    let mut scientific = [0_u8; DOUBLE_BYTES_MAX];
    let mut cursor = &mut scientific[..];
    write!(cursor, "{value:.*e}", DOUBLE_DIGITS - 1).expect("a double has at most 24 characters");
    let used = DOUBLE_BYTES_MAX - cursor.len();
    let text = std::str::from_utf8(&scientific[..used]).expect("digits are ASCII");
    let (digits, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");

    let mut out = &mut space[..];
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).expect("the exponent is at most 16");
        write!(out, "{value:.decimals$}").expect("sign, 17 digits, a point and four zeros fit");
        let used = DOUBLE_BYTES_MAX - out.len();
        return trim_zeros(&space[..used]);
    }
    let digits = trim_zeros(digits.as_bytes());
    let sign = if exponent < 0 { '-' } else { '+' };
    out.write_all(digits).expect("fewer digits than space");
    write!(out, "e{sign}{:02}", exponent.unsigned_abs()).expect("a double has at most 24 characters");
    let used = DOUBLE_BYTES_MAX - out.len();
    &space[..used]
}

/// Without the zeros at the end of a fraction, and without its point if nothing else is left.
fn trim_zeros(text: &[u8]) -> &[u8] {
    if !text.contains(&b'.') {
        return text;
    }
    let kept = text.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    text[..kept].strip_suffix(b".").unwrap_or(&text[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_protocols_to_the_byte() {
        type Writer = fn(&mut Vec<u8>, Proto);
        let cases: [(Writer, &str, &str); 19] = [
            (|out, _| ok(out), "+OK\r\n", "+OK\r\n"),
            (|out, _| simple(out, "PONG"), "+PONG\r\n", "+PONG\r\n"),
            (|out, _| error(out, format_args!("ERR no\r\nway")), "-ERR no  way\r\n", "-ERR no  way\r\n"),
            (|out, _| integer(out, -42), ":-42\r\n", ":-42\r\n"),
            (|out, _| bulk(out, b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (|out, _| bulk(out, b"0123456789"), "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"),
            (|out, _| bulk_integer(out, 1234), "$4\r\n1234\r\n", "$4\r\n1234\r\n"),
            (null, "$-1\r\n", "_\r\n"),
            (null_array, "*-1\r\n", "_\r\n"),
            (|out, _| array_header(out, 3), "*3\r\n", "*3\r\n"),
            (|out, proto| map_header(out, 7, proto), "*14\r\n", "%7\r\n"),
            (|out, proto| set_header(out, 2, proto), "*2\r\n", "~2\r\n"),
            (|out, proto| push_header(out, 2, proto), "*2\r\n", ">2\r\n"),
            (|out, proto| boolean(out, true, proto), ":1\r\n", "#t\r\n"),
            (|out, proto| boolean(out, false, proto), ":0\r\n", "#f\r\n"),
            (|out, proto| double(out, 2.5, proto), "$3\r\n2.5\r\n", ",2.5\r\n"),
            (|out, proto| double(out, f64::INFINITY, proto), "$3\r\ninf\r\n", ",inf\r\n"),
            (|out, proto| double(out, f64::NEG_INFINITY, proto), "$4\r\n-inf\r\n", ",-inf\r\n"),
            (|out, proto| verbatim(out, *b"txt", b"hi", proto), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(|out| write(out, Proto::Resp2)), resp2);
            assert_eq!(written(|out| write(out, Proto::Resp3)), resp3);
        }
    }

    #[test]
    fn doubles_as_c_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.10000000000000001"),
            (3.0e-4, "0.00029999999999999997"),
            (1.0e-5, "1.0000000000000001e-05"),
            (1.0e16, "10000000000000000"),
            (1.0e17, "1e+17"),
            (123_456_789.123, "123456789.123"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (-5.0e-324, "-4.9406564584124654e-324"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            let mut space = [0; DOUBLE_BYTES_MAX];
            assert_eq!(std::str::from_utf8(format_double(value, &mut space)).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn doubles_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            let mut space = [0; DOUBLE_BYTES_MAX];
            let read: f64 = std::str::from_utf8(format_double(value, &mut space)).unwrap().parse().unwrap();
            prop_assert!(read == value || value.is_nan());
        }
    }
}
