//! The parser of requests: incremental, zero copy, bounded.

use smallvec::SmallVec;

use super::inline::{self, Unbalanced};
use super::{ProtocolError, parse_integer};

/// The arguments of one command, the command's name first. Up to eight of them cost no allocation.
pub type Args<'a> = SmallVec<[&'a [u8]; 8]>;

/// What bounds a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A line (an inline request, or the line with a count or a length) may hold so many bytes before its end.
    pub inline_bytes_max: u32,
    /// Arguments of one command.
    pub args_max: u32,
    /// One argument (Redis: `proto-max-bulk-len`).
    pub bulk_bytes_max: u32,
    /// A whole command as sent.
    pub command_bytes_max: u32,
}

impl Default for Limits {
    /// 64 KiB, 1,048,576 arguments, 16 MiB, 32 MiB.
    fn default() -> Limits {
        Limits {
            inline_bytes_max: 64 << 10,
            args_max: 1 << 20,
            bulk_bytes_max: 16 << 20,
            command_bytes_max: 32 << 20,
        }
    }
}

/// What the bytes at the front of the input are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parse<'a> {
    /// A command of at least one argument.
    Command {
        /// The arguments, in place.
        args: Args<'a>,
        /// The bytes it took; the next command starts behind them.
        consumed: usize,
    },
    /// An inline request with quotes: its words had to be unquoted, so they stand beside the input.
    Quoted {
        /// The words; at least one.
        words: Vec<Vec<u8>>,
        /// The bytes it took.
        consumed: usize,
    },
    /// Nothing to do: a blank line, or a command without arguments. Redis does not answer it.
    Empty {
        /// The bytes it took.
        consumed: usize,
    },
    /// The command is not yet whole.
    Incomplete {
        /// No answer is possible before the input holds so many bytes, counted from the command's first. Never
        /// more than [`Limits::command_bytes_max`].
        need: usize,
    },
    /// Not RESP: send [`ProtocolError::write`], then close.
    Error(ProtocolError),
}

/// Parses the command at the front of `input` without remembering anything: for input known to be whole.
/// A connection uses a [`Parser`].
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Parse<'a> {
    Progress::default().run(input, limits)
}

/// A connection's parser. It remembers how far the current command has come, so that a large command which
/// arrives in many pieces is looked at once, not once per piece.
///
/// `input` always starts at the current command's first byte, and between two calls that answer
/// [`Parse::Incomplete`] it only grows. After any other answer the next call starts a new command.
/// Memory besides the input: 8 bytes per argument of a command (on the heap above eight arguments).
#[derive(Debug, Default)]
pub struct Parser {
    progress: Progress,
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Parses the command at the front of `input`, going on where the last call had to stop.
    pub fn next<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parse<'a> {
        self.progress.run(input, limits)
    }
}

/// Positions of one argument in the input. 32 bits suffice, as [`Limits::command_bytes_max`] has 32.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

/// Argument lists longer than this are not kept for the next command.
const SPANS_KEPT_MAX: usize = 1024;

/// How far the current command has come.
#[derive(Debug, Default)]
struct Progress {
    /// Everything before is understood: the start of a line, or of an argument.
    at: usize,
    /// Bytes from `at` on that hold no end of line.
    searched: usize,
    /// Arguments still to come; 0 before the line that counts them.
    missing: u32,
    /// The length of the argument at `at`, once its own line is read.
    bulk_bytes: Option<u32>,
    spans: SmallVec<[Span; 8]>,
}

/// The words of a whole command.
enum Found<'a> {
    InPlace(Args<'a>),
    Quoted(Vec<Vec<u8>>),
}

/// Why parsing stops early.
enum Stop {
    Incomplete { need: usize },
    Error(ProtocolError),
}

impl Progress {
    fn run<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Parse<'a> {
        let outcome = match input.first() {
            None => Err(Stop::Incomplete { need: 1 }),
            Some(b'*') => self.multibulk(input, limits).map(Found::InPlace),
            Some(_) => self.inline(input, limits),
        };
        let consumed = self.at;
        match outcome {
            Err(Stop::Incomplete { need }) => Parse::Incomplete { need },
            Err(Stop::Error(error)) => {
                self.restart();
                Parse::Error(error)
            }
            Ok(found) => {
                self.restart();
                match found {
                    Found::InPlace(args) if args.is_empty() => Parse::Empty { consumed },
                    Found::InPlace(args) => Parse::Command { args, consumed },
                    Found::Quoted(words) => Parse::Quoted { words, consumed },
                }
            }
        }
    }

    fn restart(&mut self) {
        (self.at, self.searched, self.missing, self.bulk_bytes) = (0, 0, 0, None);
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans.shrink_to_fit();
        }
    }

    fn inline<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Result<Found<'a>, Stop> {
        let end = self.line_end(input, b'\n', limits, ProtocolError::InlineTooBig)?;
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut text = Vec::new();
        let words = inline::split(line, &mut text)
            .map_err(|Unbalanced| Stop::Error(ProtocolError::UnbalancedQuotes))?;
        self.at = end + 1;
        if words.iter().any(|word| word.unquoted) {
            let bytes = |word: &inline::Word| if word.unquoted { &text[..] } else { line };
            let words = words.iter().map(|word| bytes(word)[word.start..word.end].to_vec());
            return Ok(Found::Quoted(words.collect()));
        }
        Ok(Found::InPlace(words.iter().map(|word| &line[word.start..word.end]).collect()))
    }

    fn multibulk<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Result<Args<'a>, Stop> {
        if self.missing == 0 {
            let line = self.line(input, limits, ProtocolError::CountTooBig)?;
            let count = parse_integer(&line[1..]).ok_or(Stop::Error(ProtocolError::InvalidCount))?;
            if count > i64::from(limits.args_max) {
                return Err(Stop::Error(ProtocolError::InvalidCount));
            }
            self.end_line(line);
            self.missing = u32::try_from(count).unwrap_or(0); // a negative count is a command of nothing
        }
        while self.missing > 0 {
            let span = self.bulk(input, limits)?;
            self.spans.push(span);
            self.missing -= 1;
        }
        Ok(self.spans.iter().map(|span| &input[span.start as usize..span.end as usize]).collect())
    }

    /// Reads one argument: its length on a line of its own, its bytes, and two more that nobody looks at.
    fn bulk(&mut self, input: &[u8], limits: &Limits) -> Result<Span, Stop> {
        let bulk_bytes = match self.bulk_bytes {
            Some(bulk_bytes) => bulk_bytes,
            None => {
                let line = self.line(input, limits, ProtocolError::LengthTooBig)?;
                let bulk_bytes = bulk_length(line, limits).map_err(Stop::Error)?;
                self.end_line(line);
                // The first moment the command can be known to be too long; nothing of it is waited for.
                if self.at + bulk_bytes as usize + 2 > limits.command_bytes_max as usize {
                    return Err(Stop::Error(ProtocolError::RequestTooBig));
                }
                self.bulk_bytes = Some(bulk_bytes);
                bulk_bytes
            }
        };
        let need = self.at + bulk_bytes as usize + 2;
        if input.len() < need {
            return Err(Stop::Incomplete { need });
        }
        let start =
            u32::try_from(self.at).expect("a command is at most 32 bits long, checked with its length");
        self.at = need;
        self.bulk_bytes = None;
        Ok(Span { start, end: start + bulk_bytes })
    }

    /// The line at `at`, without the carriage return that ends it. The byte behind that (a line feed, but
    /// Redis does not look) has arrived too.
    fn line<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<&'a [u8], Stop> {
        let end = self.line_end(input, b'\r', limits, too_big)?;
        if input.len() < end + 2 {
            self.searched = end - self.at;
            return Err(Stop::Incomplete { need: end + 2 });
        }
        Ok(&input[self.at..end])
    }

    fn end_line(&mut self, line: &[u8]) {
        self.at += line.len() + 2;
        self.searched = 0;
    }

    /// Where the line at `at` ends: the position of `end`. A zero byte hides all ends behind it, as in Redis,
    /// whose lines are C strings. A line with more than `inline_bytes_max` bytes before its end is an error,
    /// however it arrived (Redis lets one pass if its end came with the same read); and so is one that ends
    /// beyond the command's limit, as nobody would keep its bytes.
    fn line_end(
        &mut self,
        input: &[u8],
        end: u8,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<usize, Stop> {
        // A carriage return has one more byte behind it.
        let behind = usize::from(end == b'\r');
        let line_last = self.at + limits.inline_bytes_max as usize;
        let command_last = (limits.command_bytes_max as usize).saturating_sub(1 + behind);
        let last = line_last.min(command_last);

        let to = input.len().min(last + 1);
        let from = to.min(self.at + self.searched);
        let found = input[from..to].iter().position(|&byte| byte == end || byte == 0);
        if let Some(found) = found
            && input[from + found] == end
        {
            return Ok(from + found);
        }
        if input.len() > last {
            let error = if last == line_last { too_big } else { ProtocolError::RequestTooBig };
            return Err(Stop::Error(error));
        }
        self.searched += found.unwrap_or(to - from);
        Err(Stop::Incomplete { need: input.len() + 1 })
    }
}

/// The length of an argument, from its line.
fn bulk_length(line: &[u8], limits: &Limits) -> Result<u32, ProtocolError> {
    match line {
        [b'$', digits @ ..] => parse_integer(digits)
            .and_then(|bytes| u32::try_from(bytes).ok())
            .filter(|&bytes| bytes <= limits.bulk_bytes_max)
            .ok_or(ProtocolError::InvalidLength),
        // An empty line: the byte in the dollar sign's place is its own end.
        _ => Err(ProtocolError::ExpectedDollar(line.first().copied().unwrap_or(b'\r'))),
    }
}
