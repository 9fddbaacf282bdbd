//! What passes over a link that is up.

use std::fmt::Debug;

use raft::Time;
use runtime::Part;

use super::{Link, Phase};
use crate::forming::Forming;
use crate::frame::{FrameHeader, FrameSpec, frame_parts};
use crate::handshake::Message;
use crate::link::{Lost, Received};

/// What has come and is checked.
enum Next {
    Frame(FrameHeader),
    Forming(Forming),
}

impl<S: Copy + Eq + Debug> Link<S> {
    /// What came next, `None` when more bytes are needed, which are then asked for.
    pub fn next(&mut self, now: Time) -> Option<Received<'_>> {
        match self.check_next() {
            Err(lost) => {
                self.fail(now, lost);
                None
            }
            Ok(None) => {
                if let Phase::Up(up) = &mut self.phase {
                    up.connection.receive(&mut self.outputs);
                }
                None
            }
            Ok(Some(Next::Forming(forming))) => Some(Received::Forming(forming)),
            Ok(Some(Next::Frame(header))) => {
                let Phase::Up(up) = &mut self.phase else { return None };
                self.counters.frames_in += 1;
                up.frames_in += 1;
                Some(Received::Frame(up.connection.reader.take(header)))
            }
        }
    }

    /// Whether [`Link::send_frame`] may be called: frames pass and none is under way.
    pub fn can_send(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if !up.forming && !up.connection.is_sending())
    }

    /// Sends a frame. It is lost if the link is.
    ///
    /// # Panics
    /// If [`Link::can_send`] says no, or the frame is longer than `frame::frame_parts` takes.
    pub fn send_frame(&mut self, now: Time, durable_batch: u64, body: Vec<u8>, tail: Vec<Part>) {
        assert!(self.can_send(), "a frame is made when the link can take it");
        let Phase::Up(up) = &mut self.phase else { return };
        let spec = FrameSpec {
            from_shard: up.our_shard,
            to_shard: self.peer.shard,
            sequence: up.frames_out,
            durable_batch,
        };
        up.frames_out += 1;
        self.counters.frames_out += 1;
        let parts = frame_parts(spec, body, tail);
        up.connection.send(now, parts, &mut self.outputs, &mut self.counters);
    }

    /// Sends a message of forming if the link is one for forming; drops it otherwise, as all are repeated.
    pub fn send_forming(&mut self, now: Time, message: Forming) {
        if let Phase::Up(up) = &mut self.phase
            && up.forming
        {
            up.connection.say(now, &Message::Forming(message), &mut self.outputs, &mut self.counters);
        }
    }

    fn check_next(&mut self) -> Result<Option<Next>, Lost> {
        let Phase::Up(up) = &mut self.phase else { return Ok(None) };
        if up.forming {
            return Ok(up.connection.forming()?.map(Next::Forming));
        }
        let Some(header) = up.connection.reader.check()? else { return Ok(None) };
        let FrameHeader { from_shard, to_shard, sequence: found, .. } = header;
        if (from_shard, to_shard) != (self.peer.shard, up.our_shard) {
            return Err(Lost::Misrouted { from_shard, to_shard });
        }
        if found != up.frames_in {
            return Err(Lost::Sequence { expected: up.frames_in, found });
        }
        Ok(Some(Next::Frame(header)))
    }
}
