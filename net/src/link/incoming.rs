//! An accepted connection whose caller has not yet greeted.

use std::fmt::Debug;

use raft::Time;
use runtime::{BufferMut, Part};

use super::{Local, Settings};
use crate::frame::FrameReader;
use crate::handshake::{
    HANDSHAKE_BYTES_MAX, HandshakeError, HandshakeFault, Hello, Message, Refusal, Refused, Welcome, judge,
};

/// Waits for the greeting of an accepted connection and judges it.
///
/// It holds one buffer of 8 KiB; the engine bounds how many there are. It ends with
/// [`IncomingOutput::Greeted`] or [`IncomingOutput::Close`].
#[derive(Debug)]
pub struct Incoming<S> {
    socket: S,
    reader: FrameReader,
    deadline: Time,
    outputs: Vec<IncomingOutput<S>>,
}

/// What the owner of the socket has to do.
#[derive(Debug)]
pub enum IncomingOutput<S> {
    /// Receive once into `buffer[from..]`, then call [`Incoming::received`].
    Receive {
        /// The memory.
        buffer: BufferMut,
        /// The first byte to fill.
        from: usize,
    },
    /// Send this, then close once it is sent, or at [`Incoming::deadline`].
    SendThenClose {
        /// The refusal.
        parts: Vec<Part>,
    },
    /// Close the connection; [`Incoming`] is done.
    Close,
    /// The caller is welcome: hand this to the [`super::Link`] of its shard; [`Incoming`] is done.
    Greeted(Greeted<S>),
    /// Why the caller is turned away, for log and counters; the actions follow.
    Rejected(Rejection),
}

/// Why a caller was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It greeted, but is not welcome.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What it said.
        hello: Box<Hello>,
    },
    /// It said something else.
    #[error(transparent)]
    NotAHello(#[from] HandshakeError),
    /// Another message came first.
    #[error("a handshake message came before the hello")]
    NoHello,
    /// It said nothing in time.
    #[error("no hello came in time")]
    Late,
}

/// A connection whose caller is welcome and has not yet been answered.
#[derive(Debug)]
pub struct Greeted<S> {
    /// The connection.
    pub socket: S,
    /// What the caller said.
    pub hello: Hello,
    /// What came behind it.
    pub reader: FrameReader,
}

impl<S> Greeted<S> {
    /// The bytes that welcome the caller.
    pub fn welcome(&self, local: &Local) -> Vec<u8> {
        let mut out = Vec::new();
        Message::Welcome(Welcome { answerer: local.identity.clone() }).encode(&mut out);
        out
    }
}

impl<S: Copy + Eq + Debug> Incoming<S> {
    /// A connection that was accepted just now.
    pub fn new(now: Time, socket: S, settings: &Settings) -> Incoming<S> {
        let mut reader = FrameReader::new(HANDSHAKE_BYTES_MAX);
        let (buffer, from) = reader.prepare();
        let outputs = vec![IncomingOutput::Receive { buffer, from }];
        Incoming { socket, reader, deadline: now + settings.greeting_time_max, outputs }
    }

    /// The connection.
    pub fn socket(&self) -> S {
        self.socket
    }

    /// Bytes came; `filled` bytes of the buffer are valid now.
    pub fn received(&mut self, buffer: BufferMut, filled: usize, local: &Local) {
        self.reader.filled(buffer, filled);
        match Message::decode(self.reader.unread()) {
            Ok(None) => {
                let (buffer, from) = self.reader.prepare();
                self.outputs.push(IncomingOutput::Receive { buffer, from });
            }
            Ok(Some((Message::Hello(hello), bytes))) => {
                self.reader.consume(bytes);
                match judge(&local.identity, &local.directory, &hello) {
                    Ok(()) => {
                        let reader = std::mem::take(&mut self.reader);
                        let greeted = Greeted { socket: self.socket, hello, reader };
                        self.outputs.push(IncomingOutput::Greeted(greeted));
                    }
                    Err(refusal) => self.refuse(refusal, hello, local),
                }
            }
            Ok(Some(_)) => self.reject(Rejection::NoHello, local),
            Err(error) => self.reject(Rejection::NotAHello(error), local),
        }
    }

    /// The refusal is sent, or the connection ended by itself.
    pub fn sent_or_closed(&mut self) {
        self.outputs.push(IncomingOutput::Close);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if now >= self.deadline {
            self.deadline = Time::NEVER;
            self.outputs.push(IncomingOutput::Rejected(Rejection::Late));
            self.outputs.push(IncomingOutput::Close);
        }
    }

    /// [`Incoming::tick`] does nothing before.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// What to do next; `None`: nothing.
    pub fn take_output(&mut self) -> Option<IncomingOutput<S>> {
        if self.outputs.is_empty() { None } else { Some(self.outputs.remove(0)) }
    }

    fn refuse(&mut self, refusal: Refusal, hello: Hello, local: &Local) {
        let mut bytes = Vec::new();
        Message::Refused(Refused::new(&refusal, &local.identity)).encode(&mut bytes);
        self.outputs.push(IncomingOutput::Rejected(Rejection::Refused { refusal, hello: Box::new(hello) }));
        self.outputs.push(IncomingOutput::SendThenClose { parts: vec![Part::Bytes(bytes)] });
    }

    /// Who speaks our handshake in another version is told so; anybody else is told nothing.
    fn reject(&mut self, rejection: Rejection, local: &Local) {
        let another_version = match &rejection {
            Rejection::NotAHello(error) => {
                matches!(error.fault, HandshakeFault::Version(_) | HandshakeFault::Kind(_))
            }
            _ => false,
        };
        let reason = rejection.to_string();
        self.outputs.push(IncomingOutput::Rejected(rejection));
        if another_version {
            let mut bytes = Vec::new();
            let refusal = Refusal::NotUnderstood(reason);
            Message::Refused(Refused::new(&refusal, &local.identity)).encode(&mut bytes);
            self.outputs.push(IncomingOutput::SendThenClose { parts: vec![Part::Bytes(bytes)] });
        } else {
            self.outputs.push(IncomingOutput::Close);
        }
    }
}
