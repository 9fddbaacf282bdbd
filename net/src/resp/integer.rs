//! Integers as text: strict to read, without allocation to write.

/// The longest an integer gets as text: `-9223372036854775808`.
pub const INTEGER_BYTES_MAX: usize = 20;

/// Reads a signed 64-bit integer as strictly as Redis does (lengths, and the values INCR works on): digits
/// with an optional minus sign; no plus sign, no blanks, no leading zeros, no `-0`; `None` for anything else
/// or beyond 64 bits.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() < INTEGER_BYTES_MAX => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Counted downwards: the lowest value has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Writes `value` in decimal into the end of `space` and returns the text.
pub fn format_integer(value: i64, space: &mut [u8; INTEGER_BYTES_MAX]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = INTEGER_BYTES_MAX;
    loop {
        at -= 1;
        space[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        space[at] = b'-';
    }
    &space[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_redis_reads() {
        let good: [(&[u8], i64); 6] = [
            (b"0", 0),
            (b"7", 7),
            (b"-1", -1),
            (b"9223372036854775807", i64::MAX),
            (b"-9223372036854775808", i64::MIN),
            (b"1048576", 1_048_576),
        ];
        for (text, value) in good {
            assert_eq!(parse_integer(text), Some(value), "{}", text.escape_ascii());
        }
        let bad: [&[u8]; 14] = [
            b"",
            b"-",
            b"-0",
            b"+1",
            b"01",
            b"-01",
            b" 1",
            b"1 ",
            b"1a",
            b"0x1",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"99999999999999999999",
            b"100000000000000000000000000",
        ];
        for text in bad {
            assert_eq!(parse_integer(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn writes_the_edges() {
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(format_integer(value, &mut [0; INTEGER_BYTES_MAX]), value.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: i64) {
            let mut space = [0; INTEGER_BYTES_MAX];
            prop_assert_eq!(parse_integer(format_integer(value, &mut space)), Some(value));
        }

        #[test]
        fn reads_as_the_standard_library_but_stricter(text in "[-+ 0-9a]{0,22}") {
            if let Some(value) = parse_integer(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            } else if let Ok(value) = text.parse::<i64>() {
                prop_assert_ne!(value.to_string(), text);
            }
        }
    }
}
