//! The receiving end: one buffer per connection, where bytes land and frames are read in place.

use runtime::{BLOCK_BYTES, BufferMut};

use super::{
    FRAME_ALIGN, FRAME_BYTES_SOFT_MAX, FRAME_HEADER_BYTES, FrameError, FrameFault, FrameHeader, padded,
};

/// The usual size of a reader's buffer. Most frames are smaller; larger ones are given more for a while.
pub const READER_BYTES: usize = 64 << 10;
/// A buffer that has grown is kept until so many frames in a row would have fitted a usual one.
const SMALL_FRAMES_MAX: u32 = 64;

/// One frame, checked, in place. Body and tail start at multiples of 16 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// The archive of messages.
    pub body: &'a [u8],
    /// The bytes of log entries.
    pub tail: &'a [u8],
}

/// Owns the receive buffer of a connection and finds the frames in it.
///
/// The buffer travels: [`FrameReader::prepare`] hands it out for one receive, [`FrameReader::filled`] takes
/// it back, then [`FrameReader::next_frame`] is called until it answers `None`. Bytes are moved only if the
/// frame they begin would not fit behind its place, and then once; memory is taken for a large frame only
/// after its header proved sound, and given back when such frames have stopped.
#[derive(Debug)]
pub struct FrameReader {
    /// `None` before the first receive and while a receive holds it.
    buffer: Option<BufferMut>,
    /// The buffer is out for a receive.
    lent: bool,
    usual_bytes: usize,
    /// The first byte not yet read: a multiple of 16, where a frame starts.
    start: usize,
    /// The end of the bytes that have arrived.
    end: usize,
    /// The checked header of the frame at `start`, if it is not yet whole.
    header: Option<FrameHeader>,
    /// Bytes of the connection before `start`.
    position: u64,
    small_frames: u32,
    failed: bool,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::new(READER_BYTES)
    }
}

impl FrameReader {
    /// A reader at the start of a connection. Its buffer, usually of `usual_bytes`, is made when first needed.
    pub fn new(usual_bytes: usize) -> FrameReader {
        FrameReader {
            buffer: None,
            lent: false,
            usual_bytes: usual_bytes.max(FRAME_HEADER_BYTES),
            start: 0,
            end: 0,
            header: None,
            position: 0,
            small_frames: 0,
            failed: false,
        }
    }

    /// Hands out the buffer for one receive into `buffer[from..]`, which is never empty.
    ///
    /// # Panics
    /// If the buffer is already out, or full of frames that were not read.
    pub fn prepare(&mut self) -> (BufferMut, usize) {
        assert!(!self.lent, "one receive at a time");
        self.lent = true;
        let buffer = match self.buffer.take() {
            None => BufferMut::zeroed(self.usual_bytes),
            Some(buffer) => self.make_room(buffer),
        };
        assert!(self.end < buffer.len(), "frames are read before the next receive, which needs room");
        (buffer, self.end)
    }

    /// Takes the buffer back; `filled` bytes of it are valid now, counted from its start. Answers how many of
    /// them are new.
    ///
    /// # Panics
    /// If the buffer is not out or `filled` is no possible end.
    pub fn filled(&mut self, buffer: BufferMut, filled: usize) -> usize {
        assert!(self.lent, "a buffer comes back from a receive");
        assert!((self.end..=buffer.len()).contains(&filled), "{filled} bytes of {buffer:?}");
        self.lent = false;
        self.buffer = Some(buffer);
        filled - std::mem::replace(&mut self.end, filled)
    }

    /// The next whole frame, `None` when more bytes are needed. After an error, which closes the connection,
    /// nothing follows.
    pub fn next_frame(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        match self.check() {
            Err(error) => Some(Err(error)),
            Ok(None) => None,
            Ok(Some(header)) => Some(Ok(self.take(header))),
        }
    }

    /// What has arrived and is not yet read: for the handshake that precedes the frames.
    pub fn unread(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    /// Skips `bytes` of [`FrameReader::unread`].
    ///
    /// # Panics
    /// If that is more than there is, or no multiple of [`FRAME_ALIGN`]: the frames behind would lose their
    /// alignment.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes.is_multiple_of(FRAME_ALIGN) && bytes <= self.end - self.start, "consume {bytes} bytes");
        self.start += bytes;
        self.position += bytes as u64;
        self.header = None;
        self.small_frames = if bytes > self.usual_bytes { 0 } else { self.small_frames.saturating_add(1) };
    }

    /// Bytes of the connection read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the buffer is out for a receive.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// The usual size of the buffer from now on.
    pub(crate) fn set_usual_bytes(&mut self, usual_bytes: usize) {
        self.usual_bytes = usual_bytes.max(FRAME_HEADER_BYTES);
    }

    /// The header of the frame at the front, once the frame is whole and sound: [`FrameReader::take`] it then.
    pub(crate) fn check(&mut self) -> Result<Option<FrameHeader>, FrameError> {
        if self.failed {
            return Ok(None);
        }
        self.check_front().map_err(|fault| {
            self.failed = true;
            FrameError { at: self.position, fault }
        })
    }

    /// The frame at the front, whose header [`FrameReader::check`] answered.
    pub(crate) fn take(&mut self, header: FrameHeader) -> Frame<'_> {
        let payload = self.start + FRAME_HEADER_BYTES;
        let tail = payload + padded(header.body_bytes());
        self.consume(header.frame_bytes());
        let bytes: &[u8] = self.buffer.as_ref().map_or(&[], |buffer| buffer);
        Frame {
            header,
            body: &bytes[payload..payload + header.body_bytes()],
            tail: &bytes[tail..tail + header.tail_bytes()],
        }
    }

    fn check_front(&mut self) -> Result<Option<FrameHeader>, FrameFault> {
        let unread = self.buffer.as_ref().map_or(&[][..], |buffer| &buffer[self.start..self.end]);
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = unread.first_chunk() else { return Ok(None) };
                *self.header.insert(FrameHeader::decode(bytes)?)
            }
        };
        let Some(frame) = unread.get(..header.frame_bytes()) else { return Ok(None) };
        header.check_payload(&frame[FRAME_HEADER_BYTES..])?;
        Ok(Some(header))
    }

    /// Makes room for the rest of the frame that has begun, or for the next one.
    fn make_room(&mut self, buffer: BufferMut) -> BufferMut {
        let unread = self.end - self.start;
        // Less than a header says nothing about its frame yet, and is cheap to move.
        let need = self.header.map_or(FRAME_HEADER_BYTES, |header| header.frame_bytes());
        let usual = need.max(self.usual_bytes);
        let outgrown = self.small_frames >= SMALL_FRAMES_MAX || buffer.len() > FRAME_BYTES_SOFT_MAX;
        let moved_already = self.start == 0 && unread > 0;
        // A connection that was accepted starts with a buffer for a greeting.
        let grow = buffer.len() < need.max(self.usual_bytes);
        let shrink = buffer.len() > buffer_bytes(usual) && outgrown && !moved_already;
        if grow || shrink {
            let mut other = BufferMut::zeroed(buffer_bytes(usual));
            other[..unread].copy_from_slice(&buffer[self.start..self.end]);
            (self.start, self.end) = (0, unread);
            return other;
        }
        let stays = self.header.is_some() && self.start + need <= buffer.len();
        let mut buffer = buffer;
        if !stays && self.start > 0 {
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unread);
        }
        buffer
    }
}

/// The size of a buffer for frames of so many bytes: a power of two, so that frames of similar sizes share
/// one, but for the rare largest ones just what they need.
fn buffer_bytes(frame_bytes: usize) -> usize {
    if frame_bytes <= FRAME_BYTES_SOFT_MAX {
        frame_bytes.next_power_of_two().max(BLOCK_BYTES)
    } else {
        frame_bytes.next_multiple_of(BLOCK_BYTES)
    }
}
