//! Integers as clients write them.

/// The integer that `text` is, in exactly the form in which it would be printed: no sign but `-`, no leading
/// zeros or spaces. Redis takes nothing else for an integer.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0'); // 19 digits fit
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// A number's decimal digits, without allocation.
#[derive(Clone, Copy)]
pub struct Digits {
    bytes: [u8; 20],
    start: usize,
}

impl Digits {
    /// The digits of `value`.
    pub fn of(value: i64) -> Self {
        let mut bytes = [0; 20];
        let mut start = bytes.len();
        let mut rest = value.unsigned_abs();
        loop {
            start -= 1;
            bytes[start] = b'0' + u8::try_from(rest % 10).expect("below 10");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        Self { bytes, start }
    }
}

impl std::ops::Deref for Digits {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_parse() {
        for good in
            [0, 1, -1, 9, 10, 123, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1, 1_000_000_000_000_000_000]
        {
            assert_eq!(parse_i64(good.to_string().as_bytes()), Some(good));
            assert_eq!(&*Digits::of(good), good.to_string().as_bytes());
        }
        let bad =
            "|-|+1|01|-0| 1|1 |1a|9223372036854775808|-9223372036854775809|99999999999999999999|1.0|--1|0x1";
        for bad in bad.split('|') {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
