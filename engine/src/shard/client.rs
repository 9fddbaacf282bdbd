//! One client's connection: a struct, not a task.

use raft::Time;
use runtime::{Part, SocketId};

use super::io::Action;
use super::replies::ReplyQueue;
use crate::resp::{Gather, Session};

/// Requests of one connection that may be unanswered; further ones wait unread (design 1.8).
pub(super) const UNANSWERED_REQUESTS_MAX: usize = 1024;

/// Bytes of replies that may be unwritten before the connection's next commands wait (design 1.8).
pub(super) const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// How long a client may leave its replies unread before it is disconnected (design 1.8).
const STUCK_US: u64 = 30_000_000;

/// A reply buffer larger than this is not kept for reuse: it held one large reply.
const SPARE_BYTES_MAX: usize = 64 << 10;

/// Requests of a new connection that may be unanswered: it grows by one with every answer. Who asks for a thousand large
/// values at once is found out after the first of these.
const UNANSWERED_AT_FIRST: usize = 64;

/// Bytes that the answers to a connection's unanswered requests may have, if they are as large as the last ones.
const EXPECTED_BYTES_MAX: usize = 4 << 20;

/// How many requests of a connection are taken before they are answered: a short request may have a long reply, and
/// nobody knows before it runs.
struct Pace {
    window: usize,
    /// The largest of the last replies; it fades.
    large_bytes: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { window: UNANSWERED_AT_FIRST, large_bytes: 0 }
    }
}

impl Pace {
    fn answered(&mut self, bytes: usize) {
        self.window = (self.window + 1).min(UNANSWERED_REQUESTS_MAX);
        self.large_bytes = (self.large_bytes - self.large_bytes / 8).max(bytes);
    }

    fn unanswered_max(&self) -> usize {
        self.window.min(EXPECTED_BYTES_MAX / self.large_bytes.max(1)).max(1)
    }
}

pub(super) struct Client {
    pub(super) socket: SocketId,
    pub(super) session: Session,
    pub(super) parser: net::resp::Parser,
    /// Received and not yet understood: the start of a command, or commands that wait for room.
    pub(super) rest: Vec<u8>,
    pub(super) replies: ReplyQueue,
    /// Commands whose parts went to several groups, by reply slot.
    pub(super) gathering: Vec<(u64, Gather)>,
    /// Replies ready to be sent.
    pub(super) out: Vec<u8>,
    /// What is being sent, since when.
    sending: Option<(usize, Time)>,
    spare: Vec<u8>,
    spare_parts: Vec<Part>,
    pace: Pace,
    /// What the shard's sum of unread bytes has of this client.
    pub(super) counted: usize,
    pub(super) reading: bool,
    /// Close once everything owed is sent: after QUIT or a protocol error.
    pub(super) closing: bool,
    /// Its input stopped being RESP: said behind the replies before it.
    pub(super) failed: Option<net::resp::ProtocolError>,
    /// Input was left unread for lack of room.
    pub(super) was_full: bool,
    /// The client said that it is done sending: close once everything it asked for is answered.
    pub(super) ended: bool,
    /// Already in the list of clients to flush.
    pub(super) touched: bool,
}

impl Client {
    pub(super) fn new(socket: SocketId, session: Session) -> Client {
        Client {
            socket,
            session,
            parser: net::resp::Parser::new(),
            rest: Vec::new(),
            replies: ReplyQueue::default(),
            gathering: Vec::new(),
            out: Vec::new(),
            sending: None,
            spare: Vec::new(),
            spare_parts: Vec::new(),
            pace: Pace::default(),
            counted: 0,
            reading: true,
            closing: false,
            failed: None,
            was_full: false,
            ended: false,
            touched: false,
        }
    }

    /// Says only this and hangs up.
    pub(super) fn turn_away(&mut self, with: &[u8]) {
        self.out.extend_from_slice(with);
        (self.reading, self.closing) = (false, true);
    }

    /// Bytes of replies that the client has not taken yet.
    pub(super) fn unwritten(&self) -> usize {
        self.out.len() + self.replies.waiting_bytes() + self.sending.map_or(0, |(bytes, _)| bytes)
    }

    /// How many more commands may be taken now.
    pub(super) fn room(&self) -> usize {
        if self.closing || self.unwritten() > UNWRITTEN_BYTES_MAX {
            return 0;
        }
        self.pace.unanswered_max().saturating_sub(self.replies.len())
    }

    /// A request was answered with so many bytes.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.pace.answered(bytes);
    }

    /// Sends what is ready, one send at a time; reads on or stops reading, as there is room.
    pub(super) fn flush(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.sending.is_none() && !self.out.is_empty() {
            let out = std::mem::replace(&mut self.out, std::mem::take(&mut self.spare));
            self.sending = Some((out.len(), now));
            let mut parts = std::mem::take(&mut self.spare_parts);
            parts.push(Part::Bytes(out));
            actions.push(Action::Send { socket: self.socket, parts });
        }
        let read =
            self.room() > 0 && self.rest.len() < net::resp::Limits::default().command_bytes_max as usize;
        if read != self.reading && !self.closing && !self.ended {
            self.reading = read;
            let socket = self.socket;
            actions.push(if read { Action::Receive { socket } } else { Action::Pause { socket } });
        }
    }

    /// The send is done; its memory serves the next one.
    pub(super) fn sent(&mut self, mut parts: Vec<Part>) {
        self.sending = None;
        if let Some(Part::Bytes(mut bytes)) = parts.pop()
            && bytes.capacity() <= SPARE_BYTES_MAX
            && self.spare.capacity() == 0
        {
            bytes.clear();
            self.spare = bytes;
        }
        parts.clear();
        self.spare_parts = parts;
    }

    /// True when everything owed is sent and the connection was to be closed then.
    pub(super) fn is_done(&self) -> bool {
        let asked_all = self.ended && !self.was_full;
        (self.closing || asked_all)
            && self.sending.is_none()
            && self.out.is_empty()
            && self.replies.is_empty()
    }

    /// True when the client has not read its replies for too long.
    pub(super) fn is_stuck(&self, now: Time) -> bool {
        self.sending.is_some_and(|(_, since)| now.0.saturating_sub(since.0) > STUCK_US)
    }
}
