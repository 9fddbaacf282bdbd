//! The clients' protocol: requests and replies.

use net::resp::{Limits, Parse, Parser, Reply, parse, read_reply};

use crate::feed::{Feed, in_pieces};

const SMALL: Limits =
    Limits { inline_bytes_max: 24, args_max: 6, bulk_bytes_max: 40, command_bytes_max: 120 };

/// What a parser answered, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Command(Vec<Vec<u8>>, usize),
    Empty(usize),
    Error(String),
}

fn answer(parsed: &Parse<'_>) -> Option<Answer> {
    Some(match parsed {
        Parse::Command { args, consumed } => {
            Answer::Command(args.iter().map(|arg| arg.to_vec()).collect(), *consumed)
        }
        Parse::Quoted { words, consumed } => Answer::Command(words.clone(), *consumed),
        Parse::Empty { consumed } => Answer::Empty(*consumed),
        Parse::Incomplete { .. } => return None,
        Parse::Error(error) => Answer::Error(error.to_string()),
    })
}

/// The first byte chooses the limits, the next eight the sizes of pieces.
pub fn requests(data: &[u8]) {
    let mut feed = Feed(data);
    let limits = if feed.flag() { SMALL } else { Limits::default() };
    let mut sizes = Feed(feed.bytes(8));
    let input = feed.0;

    let whole = all(input, &limits);
    for answer in &whole {
        if let Answer::Command(args, _) = answer {
            again(args, &limits);
        }
    }
    let (mut parser, mut start, mut pieces) = (Parser::new(), 0, Vec::new());
    let mut over = false;
    in_pieces(input, &mut sizes, |so_far| {
        while !over {
            let parsed = parser.next(&so_far[start..], &limits);
            if let Parse::Incomplete { need } = parsed {
                assert!(need > so_far.len() - start, "it asks for more than there is");
                assert!(need <= limits.command_bytes_max as usize, "it asks for no more than may be");
            }
            let Some(answer) = answer(&parsed) else { break };
            match &answer {
                Answer::Command(_, consumed) | Answer::Empty(consumed) => start += consumed,
                Answer::Error(_) => over = true,
            }
            pieces.push(answer);
        }
    });
    assert_eq!(whole, pieces, "the same bytes whole and in pieces");
}

fn all(input: &[u8], limits: &Limits) -> Vec<Answer> {
    let (mut parser, mut rest, mut found) = (Parser::new(), input, Vec::new());
    while !rest.is_empty() {
        let Some(answer) = answer(&parser.next(rest, limits)) else { break };
        found.push(answer.clone());
        match answer {
            Answer::Command(_, consumed) | Answer::Empty(consumed) => {
                assert!(consumed > 0, "something is taken");
                rest = &rest[consumed..];
            }
            Answer::Error(_) => break,
        }
    }
    found
}

/// A command as clients write it.
#[must_use]
pub fn command<T: AsRef<[u8]>>(args: &[T]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn again(args: &[Vec<u8>], limits: &Limits) {
    let bytes = command(args);
    let fits = bytes.len() <= limits.command_bytes_max as usize
        && args.len() <= limits.args_max as usize
        && args.iter().all(|arg| arg.len() <= limits.bulk_bytes_max as usize);
    if fits {
        let expected = Answer::Command(args.to_vec(), bytes.len());
        assert_eq!(answer(&parse(&bytes, limits)), Some(expected), "a command written again");
    }
}

/// Seeds of [`requests`].
#[must_use]
pub fn request_seeds() -> Vec<Vec<u8>> {
    let inputs: [Vec<u8>; 8] = [
        command(&["PING"]),
        [command(&["SET", "key", "value"]), command(&["GET", "key"])].concat(),
        b"*0\r\n*-1\r\n\r\nPING\r\n".to_vec(),
        b"SET \"a\\x41\\n\" 'it\\'s'\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$-1\r\n".to_vec(),
        b"*1048577\r\n".to_vec(),
        b"*1\r\n$16777217\r\n".to_vec(),
        b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    let with = |head: &[u8], input: &Vec<u8>| [head, input].concat();
    let seeds =
        inputs.iter().flat_map(|input| [with(&[0; 9], input), with(&[1, 0, 3, 0, 1, 9, 0, 0, 0], input)]);
    seeds.collect()
}

/// Replies, as tools and the command line read them.
pub fn replies(data: &[u8]) {
    let Ok(Some((reply, consumed))) = read_reply(data) else { return };
    assert!(consumed <= data.len());
    assert_eq!(read_reply(&data[..consumed - 1]), Ok(None), "one byte less is not whole");
    let mut bytes = Vec::new();
    write(&reply, &mut bytes);
    let (again, all) = read_reply(&bytes).expect("a reply written again").expect("it is whole");
    assert_eq!(all, bytes.len());
    assert!(same(&again, &reply), "{again:?} is not {reply:?}");
}

/// As `==`, but a NaN is a NaN.
fn same(one: &Reply, other: &Reply) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

fn write(reply: &Reply, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, text: String| {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    let list = |out: &mut Vec<u8>, kind: char, list: &[Reply]| {
        line(out, format!("{kind}{}", list.len()));
        list.iter().for_each(|reply| write(reply, out));
    };
    match reply {
        Reply::Simple(text) => line(out, format!("+{text}")),
        Reply::Error(text) => line(out, format!("-{text}")),
        Reply::Integer(value) => line(out, format!(":{value}")),
        Reply::Bulk(bytes) => {
            line(out, format!("${}", bytes.len()));
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Null => line(out, "_".to_owned()),
        Reply::Array(replies) => list(out, '*', replies),
        Reply::Set(replies) => list(out, '~', replies),
        Reply::Push(replies) => list(out, '>', replies),
        Reply::Map(pairs) => {
            line(out, format!("%{}", pairs.len()));
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
        }
        Reply::Double(value) => line(out, format!(",{value}")),
        Reply::Boolean(value) => line(out, format!("#{}", if *value { 't' } else { 'f' })),
        Reply::Verbatim(text) => {
            line(out, format!("={}", text.len() + 4));
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Seeds of [`replies`].
#[must_use]
pub fn reply_seeds() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 12] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-7\r\n",
        b"$2\r\nhi\r\n",
        b"$-1\r\n",
        b"*2\r\n$1\r\na\r\n*0\r\n",
        b"%1\r\n+k\r\n:1\r\n",
        b"~2\r\n#t\r\n#f\r\n",
        b">1\r\n_\r\n",
        b",1.5\r\n,inf\r\n,nan\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"*9223372036854775807\r\n%4611686018427387904\r\n",
    ];
    seeds.iter().map(|seed| seed.to_vec()).collect()
}
