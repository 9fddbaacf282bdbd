//! Requests as Redis 7.0 takes them: the tables below were checked against a running 7.0.15, whose one
//! difference is that it takes up to 2^31 - 1 arguments.

use proptest::prelude::*;

use super::*;

/// What a connection makes of all its bytes: the commands, and the error reply that ends it.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Outcome {
    commands: Vec<Vec<Vec<u8>>>,
    error: Option<Vec<u8>>,
    /// Bytes of a command that is not whole.
    rest: usize,
}

/// Feeds a parser as a connection does: the input grows piece by piece, and is cut behind each command.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut parser = Parser::new();
    let mut input = Vec::new();
    let mut outcome = Outcome::default();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let consumed = match parser.next(&input, limits) {
                Parse::Command { args, consumed } => {
                    outcome.commands.push(args.iter().map(|arg| arg.to_vec()).collect());
                    consumed
                }
                Parse::Quoted { words, consumed } => {
                    outcome.commands.push(words);
                    consumed
                }
                Parse::Empty { consumed } => consumed,
                Parse::Incomplete { need } => {
                    assert!(need > input.len(), "{need} bytes are here already");
                    assert!(need <= limits.command_bytes_max as usize, "nobody keeps {need} bytes");
                    break;
                }
                Parse::Error(error) => {
                    let mut reply = Vec::new();
                    error.write(&mut reply);
                    outcome.error = Some(reply);
                    return outcome;
                }
            };
            assert!(consumed > 0 && consumed <= input.len());
            input.drain(..consumed);
        }
    }
    outcome.rest = input.len();
    outcome
}

fn small() -> Limits {
    Limits { inline_bytes_max: 40, args_max: 8, bulk_bytes_max: 30, command_bytes_max: 120 }
}

fn commands(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let outcome = feed([input], &Limits::default());
    assert_eq!((outcome.error, outcome.rest), (None, 0), "{}", input.escape_ascii());
    outcome.commands
}

fn words(list: &[&[&[u8]]]) -> Vec<Vec<Vec<u8>>> {
    list.iter().map(|words| words.iter().map(|word| word.to_vec()).collect()).collect()
}

#[test]
fn whole_requests() {
    type Words<'a> = &'a [&'a [&'a [u8]]];
    let cases: [(&[u8], Words<'_>); 17] = [
        (b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]),
        (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&[b"GET", b""]]),
        (b"*2\r\n$4\r\nECHO\r\n$5\r\n\r\n\0\xff*\r\n", &[&[b"ECHO", b"\r\n\0\xff*"]]),
        (b"PING\r\n", &[&[b"PING"]]),
        (b"PING\n", &[&[b"PING"]]),
        (b"ECHO \"a b\"\r\n", &[&[b"ECHO", b"a b"]]),
        (b"PING\r\n*1\r\n$4\r\nPING\r\nPING\n", &[&[b"PING"], &[b"PING"], &[b"PING"]]),
        // Nothing to do, nothing answered.
        (b"\r\n\n  \t\r\nPING\r\n", &[&[b"PING"]]),
        (b"*0\r\n*-1\r\n*-10\r\nPING\r\n", &[&[b"PING"]]),
        // What Redis forgives: the bytes behind a carriage return and behind an argument are not looked at.
        (b"*1\rx$4\ryPINGzzPING\r\n", &[&[b"PING"], &[b"PING"]]),
        (b"*1\r\n$4\r\nPING\n\nPING\r\n", &[&[b"PING"], &[b"PING"]]),
        // Only one carriage return belongs to the end of an inline request; others are blanks.
        (b"PING\r\r\n", &[&[b"PING"]]),
        (b"ECHO a\rb\r\n", &[&[b"ECHO", b"a", b"b"]]),
        (b"$4\r\nPING\r\n", &[&[b"$4"], &[b"PING"]]),
        (b" *1\r\nPING\r\n", &[&[b"*1"], &[b"PING"]]),
        (b"GET / HTTP/1.0\r\n\r\n", &[&[b"GET", b"/", b"HTTP/1.0"]]),
        (b"\xff\xfe\r\n", &[&[b"\xff\xfe"]]),
    ];
    for (input, expected) in cases {
        assert_eq!(commands(input), words(expected), "{}", input.escape_ascii());
    }
}

#[test]
fn protocol_errors_to_the_byte() {
    let cases: [(&[u8], &[u8]); 26] = [
        (b"*20000000\r\n", b"invalid multibulk length"),
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*\r\n", b"invalid multibulk length"),
        (b"*a\r\n", b"invalid multibulk length"),
        (b"*1 \r\n", b"invalid multibulk length"),
        (b"*+1\r\n", b"invalid multibulk length"),
        (b"*01\r\n", b"invalid multibulk length"),
        (b"*-0\r\n", b"invalid multibulk length"),
        (b"*1.0\r\n", b"invalid multibulk length"),
        (b"*99999999999999999999\r\n", b"invalid multibulk length"),
        (b"*3\n$3\r\nSET\r\n", b"invalid multibulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$-10\r\n", b"invalid bulk length"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*1\r\n$x\r\n", b"invalid bulk length"),
        (b"*1\r\n$16777217\r\n", b"invalid bulk length"),
        (b"*1\r\n$2000000000\r\n", b"invalid bulk length"),
        (b"*1\r\n$+4\r\nPING\r\n", b"invalid bulk length"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", b"expected '$', got 'f'"),
        (b"*1\r\n:4\r\n", b"expected '$', got ':'"),
        (b"*1\r\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
        (b"SET \"a\r\n", b"unbalanced quotes in request"),
        (b"SET \"a\"b\r\n", b"unbalanced quotes in request"),
        (b"'\r\n", b"unbalanced quotes in request"),
    ];
    for (input, text) in cases {
        let expected = [b"-ERR Protocol error: ", text, b"\r\n"].concat();
        let outcome = feed([input], &Limits::default());
        assert_eq!(outcome.error, Some(expected), "{}", input.escape_ascii());
        assert!(outcome.commands.is_empty());
    }
}

#[test]
fn lines_without_an_end() {
    let line_max = Limits::default().inline_bytes_max as usize;
    let cases: [(&[u8], &str); 3] = [
        (b"", "too big inline request"),
        (b"*", "too big mbulk count string"),
        (b"*1\r\n$", "too big bulk count string"),
    ];
    for (start, text) in cases {
        let line_start = start.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let full = [start, &vec![b'1'; line_max - (start.len() - line_start)]].concat();
        let outcome = feed([&full[..]], &Limits::default());
        assert_eq!((outcome.error, outcome.rest), (None, full.len()), "{text}: not yet too big");
        let expected = format!("-ERR Protocol error: {text}\r\n").into_bytes();
        for more in ["1", "1\r\n", "11111\r\n"] {
            let outcome = feed([&full[..], more.as_bytes()], &Limits::default());
            assert_eq!(outcome.error.as_ref(), Some(&expected), "{text}");
            let outcome = feed([&[&full[..], more.as_bytes()].concat()[..]], &Limits::default());
            assert_eq!(outcome.error.as_ref(), Some(&expected), "{text}, at once");
        }
    }
    let longest = [&vec![b'x'; line_max][..], b"\n"].concat();
    assert_eq!(commands(&longest).len(), 1);
}

#[test]
fn a_zero_byte_hides_the_end_of_its_line() {
    for input in ["PI\0NG\r\n", "*1\0\r\n", "*1\r\n$4\0\r\nPING\r\n"] {
        let outcome = feed([input.as_bytes()], &Limits::default());
        assert_eq!((outcome.commands.len(), outcome.error), (0, None), "{input:?} waits for ever");
    }
    let long = [b"a\0\r\n", &vec![b'\n'; 70_000][..]].concat();
    let outcome = feed([&long[..]], &Limits::default());
    assert_eq!(outcome.error.as_deref(), Some(&b"-ERR Protocol error: too big inline request\r\n"[..]));
}

#[test]
fn requests_have_bounds() {
    let limits = Limits { bulk_bytes_max: 100, command_bytes_max: 64, ..Limits::default() };
    // Known with the length of the argument, before any of it has come.
    let outcome = feed([b"*2\r\n$3\r\nSET\r\n$60\r\n".as_slice()], &limits);
    assert_eq!(outcome.error.as_deref(), Some(&b"-ERR Protocol error: too big request\r\n"[..]));
    let outcome = feed([b"*2\r\n$3\r\nSET\r\n$40\r\n".as_slice()], &limits);
    assert_eq!((outcome.error, outcome.rest), (None, 18));
    // An argument that fits exactly, and then one more.
    let outcome = feed([b"*2\r\n$3\r\nSET\r\n$44\r\n".as_slice(), &[b'x'; 46], b"PING\r\n"], &limits);
    assert_eq!(outcome.commands.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let outcome = feed([b"*3\r\n$3\r\nSET\r\n$44\r\n".as_slice(), &[b'x'; 46]], &limits);
    assert_eq!(outcome.error.as_deref(), Some(&b"-ERR Protocol error: too big request\r\n"[..]));
    let many = [b"*1048576\r\n".as_slice(), &b"$0\r\n\r\n".repeat(1_048_576)].concat();
    let outcome = feed(many.chunks(16 << 10), &Limits::default());
    assert_eq!(outcome.commands.iter().map(Vec::len).collect::<Vec<_>>(), [1_048_576]);
}

#[test]
fn the_hint_names_the_bytes_of_an_argument() {
    let mut parser = Parser::new();
    let limits = Limits::default();
    let need = |parser: &mut Parser, input: &[u8]| match parser.next(input, &limits) {
        Parse::Incomplete { need } => need,
        other => panic!("{other:?}"),
    };
    assert_eq!(need(&mut parser, b""), 1);
    assert_eq!(need(&mut parser, b"*2\r"), 4);
    assert_eq!(need(&mut parser, b"*2\r\n$1000000\r\nab"), 14 + 1_000_000 + 2);
}

#[test]
fn a_large_argument_is_looked_at_once() {
    // 16 MiB of line ends in 16 KiB pieces: quadratic work would take minutes, and so would searching for a
    // line end in the argument.
    let value = vec![b'\r'; 16 << 20];
    let mut input = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes();
    input.extend_from_slice(&value);
    input.extend_from_slice(b"\r\n");
    let mut parser = Parser::new();
    let limits = Limits::default();
    for end in (0..input.len()).step_by(16 << 10) {
        assert!(matches!(parser.next(&input[..end], &limits), Parse::Incomplete { .. }));
    }
    let Parse::Command { args, consumed } = parser.next(&input, &limits) else { panic!("it is whole") };
    assert_eq!((args.len(), args[2].len(), consumed), (3, value.len(), input.len()));
    assert_eq!(args[2].as_ptr(), input[input.len() - value.len() - 2..].as_ptr(), "in place");
}

#[test]
fn small_commands_need_no_memory() {
    let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    let mut parser = Parser::new();
    let Parse::Command { args, .. } = parser.next(input, &Limits::default()) else { panic!("it is whole") };
    assert!(!args.spilled());
}

/// Bytes that reach deep: pieces of requests, mostly sound.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5).prop_map(|args| encode(&args)),
        2 => "[a-z \"'\\\\x0]{0,20}\r?\n".prop_map(String::into_bytes),
        1 => "[*$][-0-9a]{0,3}\r\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => "[a-z]{30,60}\n?".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    reply::array_header(&mut out, args.len());
    args.iter().for_each(|arg| reply::bulk(&mut out, arg));
    out
}

proptest! {
    #[test]
    fn every_split_gives_the_same_commands(input in requests()) {
        let limits = small();
        let whole = feed([&input[..]], &limits);
        for split in 0..=input.len() {
            prop_assert_eq!(&feed([&input[..split], &input[split..]], &limits), &whole, "split at {}", split);
        }
        prop_assert_eq!(&feed(input.chunks(1), &limits), &whole, "byte by byte");
    }

    #[test]
    fn what_is_written_is_read(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let input = encode(&args);
        prop_assert_eq!(commands(&input), vec![args.clone()]);
        match parse(&input, &Limits::default()) {
            Parse::Command { args: found, consumed } => {
                prop_assert_eq!((found.to_vec(), consumed), (args.iter().map(|arg| &arg[..]).collect(), input.len()));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn random_bytes_never_panic(input: Vec<u8>, start in "[*$0-9\r\n\"']{0,6}") {
        let input = [start.into_bytes(), input].concat();
        let _ = feed([&input[..]], &Limits::default());
        let _ = feed(input.chunks(3), &small());
    }
}
