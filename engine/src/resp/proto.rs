//! Replies of groups, which are RESP2, in the protocol of a connection.

use net::resp::Proto;

/// Appends a whole RESP2 reply as `proto` has it: for RESP3 the null string and the null array become the null.
/// (Maps and sets are never replies of groups.)
pub fn to_proto(reply: &[u8], proto: Proto, out: &mut Vec<u8>) {
    if proto == Proto::Resp2 || !matches!(reply.first(), Some(b'$' | b'*')) {
        return out.extend_from_slice(reply);
    }
    // The heads of nested replies follow each other, so one pass over them is enough.
    let mut rest = reply;
    while let Some((element, behind)) = split(rest) {
        if matches!(element, b"$-1\r\n" | b"*-1\r\n") {
            out.extend_from_slice(b"_\r\n");
        } else {
            out.extend_from_slice(element);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Splits off the first element: a line, or a string with its bytes. Of an array only the head.
pub(super) fn split(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    let line_bytes = reply.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let mut bytes = line_bytes;
    if reply[0] == b'$' {
        let length = net::resp::parse_integer(&reply[1..line_bytes - 2])?;
        if let Ok(length) = usize::try_from(length) {
            bytes = line_bytes.checked_add(length)?.checked_add(2)?;
        }
    }
    reply.split_at_checked(bytes)
}

/// The elements of an array of strings, integers or nulls; `None` if the reply is something else, or claims more
/// elements than there are bytes.
pub(super) fn array(reply: &[u8]) -> Option<(usize, &[u8])> {
    let (head, body) = split(reply)?;
    let len = net::resp::parse_integer(head.strip_prefix(b"*")?.strip_suffix(b"\r\n")?)?;
    let len = usize::try_from(len).ok().filter(|len| *len <= body.len())?;
    Some((len, body))
}

/// The integer that a reply is.
pub(super) fn integer(reply: &[u8]) -> Option<i64> {
    net::resp::parse_integer(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resp3(reply: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        to_proto(reply, Proto::Resp3, &mut out);
        out
    }

    #[test]
    fn nulls_become_resp3_nulls_and_nothing_else_changes() {
        assert_eq!(resp3(b"$-1\r\n"), b"_\r\n");
        assert_eq!(resp3(b"*-1\r\n"), b"_\r\n");
        assert_eq!(
            resp3(b"*3\r\n$1\r\na\r\n$-1\r\n$5\r\n$-1\r\n\r\n"),
            b"*3\r\n$1\r\na\r\n_\r\n$5\r\n$-1\r\n\r\n"
        );
        assert_eq!(resp3(b"*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n"), b"*2\r\n$1\r\n0\r\n*1\r\n_\r\n");
        for same in [&b"+OK\r\n"[..], b":1\r\n", b"-ERR x\r\n", b"$0\r\n\r\n", b"*0\r\n", b"$5\r\nab", b""] {
            assert_eq!(resp3(same), same);
        }
        let mut out = Vec::new();
        to_proto(b"$-1\r\n", Proto::Resp2, &mut out);
        assert_eq!(out, b"$-1\r\n");
    }
}
