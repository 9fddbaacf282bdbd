//! What a link counts.

use std::ops::AddAssign;

/// Totals of one link since it was made; add them up for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Attempts to connect.
    pub dials: u64,
    /// Attempts that ended before a greeting was answered, refusals aside.
    pub dials_failed: u64,
    /// Connections that came up.
    pub established: u64,
    /// Connections that were up and ended.
    pub lost: u64,
    /// Of these, by silence.
    pub silent: u64,
    /// Of these, replaced by a newer one.
    pub replaced: u64,
    /// Greetings refused, by either end.
    pub refused: u64,
    /// Connections ended because what came was no frame or handshake message.
    pub garbage: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames handed out to be sent.
    pub frames_out: u64,
    /// Bytes received, handshakes included.
    pub bytes_in: u64,
    /// Bytes handed out to be sent, handshakes included.
    pub bytes_out: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        let Counters {
            dials,
            dials_failed,
            established,
            lost,
            silent,
            replaced,
            refused,
            garbage,
            frames_in,
            frames_out,
            bytes_in,
            bytes_out,
        } = other;
        self.dials += dials;
        self.dials_failed += dials_failed;
        self.established += established;
        self.lost += lost;
        self.silent += silent;
        self.replaced += replaced;
        self.refused += refused;
        self.garbage += garbage;
        self.frames_in += frames_in;
        self.frames_out += frames_out;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
    }
}
