//! The socket of a link, and what is under way on it.

use std::collections::VecDeque;
use std::time::Duration;

use raft::Time;
use runtime::Part;

use super::{Counters, Output};
use crate::forming::Forming;
use crate::frame::FrameReader;
use crate::handshake::{HANDSHAKE_BYTES_MAX, Message};

/// Handshake messages wait for the send before them; beyond this they are dropped, as all are repeated.
const OUTBOX_BYTES_MAX: usize = 4 * HANDSHAKE_BYTES_MAX;

#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) socket: S,
    pub(super) reader: FrameReader,
    pub(super) heard_at: Time,
    /// At most one send is in flight.
    sending_since: Option<Time>,
    outbox: Vec<u8>,
}

impl<S: Copy> Connection<S> {
    pub(super) fn new(now: Time, socket: S, reader: FrameReader) -> Connection<S> {
        Connection { socket, reader, heard_at: now, sending_since: None, outbox: Vec::new() }
    }

    pub(super) fn is_sending(&self) -> bool {
        self.sending_since.is_some()
    }

    /// When a send in flight has taken too long.
    pub(super) fn send_deadline(&self, send_time_max: Duration) -> Time {
        self.sending_since.map_or(Time::NEVER, |since| since + send_time_max)
    }

    pub(super) fn send(
        &mut self,
        now: Time,
        parts: Vec<Part>,
        outputs: &mut VecDeque<Output<S>>,
        counters: &mut Counters,
    ) {
        assert!(!self.is_sending(), "one send at a time");
        self.sending_since = Some(now);
        counters.bytes_out += parts.iter().map(|part| part.bytes().len() as u64).sum::<u64>();
        outputs.push_back(Output::Send { socket: self.socket, parts });
    }

    /// Sends a handshake message, now or behind the send in flight.
    pub(super) fn say(
        &mut self,
        now: Time,
        message: &Message,
        outputs: &mut VecDeque<Output<S>>,
        counters: &mut Counters,
    ) {
        if self.outbox.len() < OUTBOX_BYTES_MAX {
            message.encode(&mut self.outbox);
        }
        self.flush(now, outputs, counters);
    }

    pub(super) fn sent(&mut self, now: Time, outputs: &mut VecDeque<Output<S>>, counters: &mut Counters) {
        self.sending_since = None;
        self.flush(now, outputs, counters);
    }

    fn flush(&mut self, now: Time, outputs: &mut VecDeque<Output<S>>, counters: &mut Counters) {
        if !self.is_sending() && !self.outbox.is_empty() {
            let bytes = std::mem::take(&mut self.outbox);
            self.send(now, vec![Part::Bytes(bytes)], outputs, counters);
        }
    }

    /// Asks for more bytes, unless that is under way.
    pub(super) fn receive(&mut self, outputs: &mut VecDeque<Output<S>>) {
        if !self.reader.is_lent() {
            let (buffer, from) = self.reader.prepare();
            outputs.push_back(Output::Receive { socket: self.socket, buffer, from });
        }
    }

    /// The next message of forming, `None` when more bytes are needed.
    pub(super) fn forming(&mut self) -> Result<Option<Forming>, super::Lost> {
        match Message::decode(self.reader.unread())? {
            None => Ok(None),
            Some((Message::Forming(forming), bytes)) => {
                self.reader.consume(bytes);
                Ok(Some(forming))
            }
            Some(_) => Err(super::Lost::OutOfPlace),
        }
    }
}
