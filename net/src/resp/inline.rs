//! Requests typed by hand: words on a line, with quotes.

use smallvec::SmallVec;

/// Where a word stands: in the line itself, or, if it had to be unquoted, in the text beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) unquoted: bool,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) type Words = SmallVec<[Word; 8]>;

/// A quote that never closes, or closes in the middle of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line into words by the rules of redis-cli and Redis: words are separated by blanks; double
/// quotes know `\xHH \n \r \t \b \a` and take any other escaped byte literally; single quotes know `\'`
/// only; a quote may start in the middle of a word, but a closing one must be followed by a blank or the end.
///
/// Words without quotes are found in place; others are unquoted into `text`, which is cleared first. The
/// line holds no zero byte.
pub(super) fn split(line: &[u8], text: &mut Vec<u8>) -> Result<Words, Unbalanced> {
    text.clear();
    let mut words = Words::new();
    let mut at = 0;
    while let Some(blanks) = line[at..].iter().position(|byte| !is_blank(*byte)) {
        let start = at + blanks;
        let plain = line[start..].iter().position(|&byte| ends_word(byte) || is_quote(byte));
        at = plain.map_or(line.len(), |plain| start + plain);
        if at < line.len() && is_quote(line[at]) {
            let text_start = text.len();
            text.extend_from_slice(&line[start..at]);
            at = unquote(line, at, text)?;
            words.push(Word { unquoted: true, start: text_start, end: text.len() });
        } else {
            words.push(Word { unquoted: false, start, end: at });
        }
    }
    Ok(words)
}

/// Copies the rest of a word that holds quotes, from its first quote on; answers where the word ends.
fn unquote(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    while at < line.len() && !ends_word(line[at]) {
        match line[at] {
            b'"' => return closed(line, double_quoted(line, at + 1, text)?),
            b'\'' => return closed(line, single_quoted(line, at + 1, text)?),
            byte => text.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

/// A closing quote ends the word, so a blank must follow, or nothing.
fn closed(line: &[u8], at: usize) -> Result<usize, Unbalanced> {
    if at < line.len() && !is_blank(line[at]) { Err(Unbalanced) } else { Ok(at) }
}

/// Copies what stands between double quotes; answers where the closing one ends.
fn double_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, taken) = match &line[at..] {
            [] => return Err(Unbalanced),
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) * 16 + hex(*low), 4)
            }
            [b'\\', escaped, ..] => (unescaped(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        text.push(byte);
        at += taken;
    }
}

/// Copies what stands between single quotes; answers where the closing one ends.
fn single_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, taken) = match &line[at..] {
            [] => return Err(Unbalanced),
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => (b'\'', 2),
            [byte, ..] => (*byte, 1),
        };
        text.push(byte);
        at += taken;
    }
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

/// What separates words (`isspace` of the C locale).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// What ends a word without quotes: not all that is blank; a form feed inside a word belongs to it.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut text = Vec::new();
        let words = split(line, &mut text).ok()?;
        let word = |word: &Word| {
            let from: &[u8] = if word.unquoted { &text } else { line };
            from[word.start..word.end].to_vec()
        };
        Some(words.iter().map(word).collect())
    }

    #[test]
    fn splits_like_redis() {
        let cases: [(&[u8], &[&[u8]]); 17] = [
            (b"", &[]),
            (b" \t\x0b\x0c ", &[]),
            (b"PING", &[b"PING"]),
            (b"  SET  a\tb ", &[b"SET", b"a", b"b"]),
            (br#"SET k "a b""#, &[b"SET", b"k", b"a b"]),
            (br#""\x41\x4a\n\r\t\b\a\q\\""#, &[b"AJ\n\r\t\x08\x07q\\"]),
            (br#""\xZZ""#, &[b"xZZ"]),
            (br#""\x4""#, &[b"x4"]),
            (br"'it\'s \n'", &[br"it's \n"]),
            (br#""""#, &[b""]),
            (b"'' x", &[b"", b"x"]),
            (br#"foo"bar""#, &[b"foobar"]),
            (b"a'b c' d", &[b"ab c", b"d"]),
            (br#""a"  'b'"#, &[b"a", b"b"]),
            (b"a\x0bb", &[b"a\x0bb"]),
            (b"\"a\"\x0cb", &[b"a", b"b"]),
            (b"caf\xe9 \xff", &[b"caf\xe9", b"\xff"]),
        ];
        for (line, expected) in cases {
            let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.to_vec()).collect();
            assert_eq!(words(line), Some(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        let cases: [&[u8]; 8] =
            [br#"""#, b"'", br#""a"b"#, b"'a'b", br#"a "b"#, br#""a\"#, br#""a\""#, br#"a"b"c"#];
        for line in cases {
            assert_eq!(words(line), None, "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(wanted: Vec<Vec<u8>>) {
            let mut line = Vec::new();
            for word in &wanted {
                line.push(b'"');
                for byte in word {
                    line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
                }
                line.extend_from_slice(b"\" ");
            }
            prop_assert_eq!(words(&line), Some(wanted));
        }

        #[test]
        fn never_panics(line in "[ab\"'\\\\ x0f\t]{0,40}") {
            let _ = words(line.as_bytes());
        }
    }
}
