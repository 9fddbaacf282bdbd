//! The replies of the key-value machine: RESP2 bytes.

use super::number::Digits;

/// `+OK`.
pub(crate) const OK: &[u8] = b"+OK\r\n";
/// The absent value.
pub(crate) const NULL: &[u8] = b"$-1\r\n";

/// Appends a simple string; `text` holds no line break.
pub(crate) fn simple(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'+');
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends an error. What a client sent may be part of `text`, so line breaks become spaces.
pub(crate) fn error(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.push(b'-');
    out.extend(text.as_ref().iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer.
pub(crate) fn integer(out: &mut Vec<u8>, value: i64) {
    header(out, b':', value);
}

/// Appends a count.
pub(crate) fn count(out: &mut Vec<u8>, value: usize) {
    integer(out, i64::try_from(value).expect("memory holds less than 2^63 of anything"));
}

/// Appends a string of any bytes.
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    prefix(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an array; `len` replies follow.
pub(crate) fn array(out: &mut Vec<u8>, len: usize) {
    prefix(out, b'*', len);
}

fn prefix(out: &mut Vec<u8>, kind: u8, len: usize) {
    header(out, kind, i64::try_from(len).expect("memory holds less than 2^63 bytes"));
}

fn header(out: &mut Vec<u8>, kind: u8, value: i64) {
    out.push(kind);
    out.extend_from_slice(&Digits::of(value));
    out.extend_from_slice(b"\r\n");
}
