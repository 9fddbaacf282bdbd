//! One connection: a socket, what waits to be written, what waits to be answered.

use super::source::Operation;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// A first receive buffer; it grows with the largest reply.
const INPUT_BYTES: usize = 64 << 10;
/// The first pause before a new attempt to connect; it doubles up to [`RETRY_NS_MAX`].
const RETRY_NS_MIN: u64 = 20_000_000;
const RETRY_NS_MAX: u64 = 500_000_000;
/// How long a connection attempt may take.
const CONNECT_NS_MAX: u64 = 1_000_000_000;

/// A request that was put into the connection and is not answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    /// None: a question about who owns which slots.
    pub(super) operation: Option<Operation>,
    pub(super) sent_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { retry_ns: u64 },
    Connecting { since_ns: u64 },
    Up,
}

/// What [`Link::receive`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// There was more than fitted: ask again.
    More,
    /// All there is.
    All,
}

#[derive(Debug)]
pub(super) struct Link {
    /// Which of the worker's endpoints it belongs to.
    pub(super) endpoint: usize,
    /// Not to be used before this time: the server said 'not now'.
    pub(super) rest_until_ns: u64,
    pub(super) out: Vec<u8>,
    /// Received bytes are `input[..filled]`.
    pub(super) input: Vec<u8>,
    pub(super) filled: usize,
    pub(super) in_flight: VecDeque<InFlight>,
    token: Token,
    state: State,
    stream: Option<TcpStream>,
    written: usize,
    retry_pause_ns: u64,
}

impl Link {
    /// A connection yet to be made.
    pub(super) fn new(token: Token, endpoint: usize) -> Link {
        Link {
            endpoint,
            rest_until_ns: 0,
            out: Vec::new(),
            input: vec![0; INPUT_BYTES],
            filled: 0,
            in_flight: VecDeque::new(),
            token,
            state: State::Down { retry_ns: 0 },
            stream: None,
            written: 0,
            retry_pause_ns: RETRY_NS_MIN,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn is_usable(&self, now_ns: u64) -> bool {
        self.state == State::Up && self.rest_until_ns <= now_ns
    }

    /// Whether it is time to connect (again).
    pub(super) fn wants_connect(&self, now_ns: u64) -> bool {
        matches!(self.state, State::Down { retry_ns } if retry_ns <= now_ns)
    }

    pub(super) fn connect(
        &mut self,
        registry: &Registry,
        address: SocketAddr,
        now_ns: u64,
    ) -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.state = State::Connecting { since_ns: now_ns };
        Ok(())
    }

    /// Whether a first attempt to connect has ended, this way or that.
    pub(super) fn was_tried(&self) -> bool {
        !matches!(self.state, State::Down { retry_ns: 0 } | State::Connecting { .. })
    }

    /// The socket became writable, which may have completed the connection.
    ///
    /// # Errors
    /// The connection was refused.
    pub(super) fn connected(&mut self) -> io::Result<()> {
        let (State::Connecting { .. }, Some(stream)) = (self.state, &self.stream) else { return Ok(()) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {
                stream.set_nodelay(true)?;
                self.state = State::Up;
                self.retry_pause_ns = RETRY_NS_MIN;
                self.rest_until_ns = 0;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether connecting, or the oldest request's answer, takes too long.
    pub(super) fn is_overdue(&self, now_ns: u64, timeout_ns: u64) -> bool {
        match self.state {
            State::Down { .. } => false,
            State::Connecting { since_ns } => now_ns.saturating_sub(since_ns) > CONNECT_NS_MAX,
            State::Up => self
                .in_flight
                .front()
                .is_some_and(|oldest| now_ns.saturating_sub(oldest.sent_ns) > timeout_ns),
        }
    }

    /// Gives the connection up, and all that waits in it: the caller settles `in_flight`.
    pub(super) fn close(&mut self, now_ns: u64) {
        self.stream = None;
        self.out.clear();
        self.written = 0;
        self.filled = 0;
        self.state = State::Down { retry_ns: now_ns + self.retry_pause_ns };
        self.retry_pause_ns = (self.retry_pause_ns * 2).min(RETRY_NS_MAX);
    }

    /// Writes as much of `out` as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.state == State::Up) else { return Ok(()) };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once. A buffer that is not filled means that the socket is drained: its next bytes, or its end,
    /// make an event of their own.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        let Some(stream) = self.stream.as_mut() else { return Ok(Received::All) };
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        loop {
            match stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => {
                    self.filled += received;
                    let full = self.filled == self.input.len();
                    return Ok(if full { Received::More } else { Received::All });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::All),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
