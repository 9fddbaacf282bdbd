//! The operations of the ring, each owning all that the kernel touches for it.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
};

use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::{Lent, Pinned, receive_pool::GROUP};
use crate::{
    Buffer,
    ring::{ListenerId, Part, SocketId},
};

/// Whom a completion is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Listener(ListenerId),
    Socket(SocketId),
    /// A slot of the table of file operations.
    File(u32),
    Timer,
    /// The doorbell of the shard.
    Bell,
    /// Nobody: changes of the timer.
    None,
}

/// Most parts that one sendmsg takes (IOV_MAX).
const PARTS_MAX: usize = 1024;
/// The most bytes one operation moves; the kernel takes no more than 2 GiB at once.
const OPERATION_BYTES_MAX: usize = 1 << 30;

/// One operation with all memory and descriptors it uses.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Accepts until it fails.
    Accept { listener: Rc<OwnedFd> },
    /// Connects a socket.
    Connect { socket: Rc<OwnedFd>, address: Pinned<SockAddr> },
    /// Receives into pooled buffers until it fails or the other side ends.
    Receive { socket: Rc<OwnedFd> },
    /// Receives once, into `buffer[from..]`.
    ReceiveInto { socket: Rc<OwnedFd>, buffer: Lent, from: usize },
    /// Sends once; may send less than all.
    Send { socket: Rc<OwnedFd>, message: Gathered },
    /// Reads `bytes` bytes into `buffer[from..]`; may read less.
    Read { file: Rc<OwnedFd>, buffer: Lent, from: usize, bytes: usize, offset: u64 },
    /// Writes `data`; may write less. Durable: synced before it completes.
    Write { file: Rc<OwnedFd>, data: Buffer, offset: u64, durable: bool },
    /// fdatasync.
    Sync { file: Rc<OwnedFd> },
    /// Completes each time the descriptor is signalled, until it fails.
    Poll { eventfd: Rc<OwnedFd> },
    /// Completes at a time since boot.
    Timeout { at: Pinned<types::Timespec> },
    /// Moves a timeout.
    MoveTimeout { timer: u32, at: Pinned<types::Timespec> },
}

impl Operation {
    /// The kernel's form of it. All addresses in it stay valid, and what they point to is touched by the kernel alone,
    /// for as long as `self` lives, wherever it is moved.
    pub(super) fn entry(&self) -> squeue::Entry {
        let fd = |fd: &Rc<OwnedFd>| types::Fd(fd.as_raw_fd());
        match self {
            Operation::Accept { listener } => {
                opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC).build()
            }
            Operation::Connect { socket, address } => {
                let storage = address.as_ptr();
                // SAFETY: the pinned value is alive and only read, here and by the kernel.
                let (pointer, bytes) = unsafe { ((*storage).as_ptr(), (*storage).len()) };
                opcode::Connect::new(fd(socket), pointer.cast(), bytes).build()
            }
            Operation::Receive { socket } => opcode::RecvMulti::new(fd(socket), GROUP).build(),
            Operation::ReceiveInto { socket, buffer, from } => {
                let bytes = operation_bytes(buffer.len() - from);
                opcode::Recv::new(fd(socket), buffer.as_ptr(*from), bytes).build()
            }
            Operation::Send { socket, message } => opcode::SendMsg::new(fd(socket), message.header.as_ptr())
                .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL).cast_unsigned())
                .build(),
            Operation::Read { file, buffer, from, bytes, offset } => {
                assert!(from + bytes <= buffer.len(), "a read past its buffer");
                let bytes = operation_bytes(*bytes);
                opcode::Read::new(fd(file), buffer.as_ptr(*from), bytes).offset(*offset).build()
            }
            Operation::Write { file, data, offset, durable } => {
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                let bytes = operation_bytes(data.len());
                opcode::Write::new(fd(file), data.as_ptr(), bytes).offset(*offset).rw_flags(flags).build()
            }
            Operation::Sync { file } => {
                opcode::Fsync::new(fd(file)).flags(types::FsyncFlags::DATASYNC).build()
            }
            Operation::Poll { eventfd } => {
                let events = u32::from(libc::POLLIN.cast_unsigned());
                opcode::PollAdd::new(fd(eventfd), events).multi(true).build()
            }
            Operation::Timeout { at } => opcode::Timeout::new(at.as_ptr())
                .flags(types::TimeoutFlags::ABS | types::TimeoutFlags::BOOTTIME)
                .build(),
            Operation::MoveTimeout { timer, at } => {
                opcode::TimeoutUpdate::new(u64::from(*timer), at.as_ptr())
                    .flags(types::TimeoutFlags::ABS)
                    .build()
            }
        }
    }
}

fn operation_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes.min(OPERATION_BYTES_MAX)).expect("bounded by the line above")
}

/// The parts of a send and how far it has come.
#[derive(Debug)]
pub(crate) struct Gathered {
    parts: Vec<Part>,
    /// The first part that is not wholly sent, and how much of it is.
    part: usize,
    offset: usize,
    vectors: Vec<libc::iovec>,
    header: Pinned<libc::msghdr>,
}

impl Gathered {
    pub(crate) fn new(parts: Vec<Part>) -> Gathered {
        // SAFETY: a message header of all zeros is a valid one: no name, no vectors, no control data.
        let header = unsafe { std::mem::zeroed() };
        let mut gathered =
            Gathered { parts, part: 0, offset: 0, vectors: Vec::new(), header: Pinned::new(header) };
        gathered.advance(0);
        gathered
    }

    /// Nothing is left to send.
    pub(crate) fn is_done(&self) -> bool {
        self.part == self.parts.len()
    }

    pub(crate) fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// Takes note of `sent` more bytes and points the header at what is left. Only while no operation is in flight.
    pub(crate) fn advance(&mut self, sent: usize) {
        self.offset += sent;
        while self.part < self.parts.len() && self.offset >= self.parts[self.part].bytes().len() {
            self.offset -= self.parts[self.part].bytes().len();
            self.part += 1;
        }
        assert!(!self.is_done() || self.offset == 0, "more was sent than there was");
        self.vectors.clear();
        let mut skip = self.offset;
        for part in self.parts.iter().skip(self.part).take(PARTS_MAX) {
            let bytes = &part.bytes()[skip..];
            skip = 0;
            self.vectors
                .push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
        let header = self.header.get_mut();
        header.msg_iov = self.vectors.as_mut_ptr();
        header.msg_iovlen = self.vectors.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(gathered: &Gathered) -> Vec<u8> {
        let mut bytes = Vec::new();
        for vector in &gathered.vectors {
            // SAFETY: the vectors point into the parts, which are alive.
            bytes.extend_from_slice(unsafe {
                std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len)
            });
        }
        bytes
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let whole: Vec<u8> = (0..100).collect();
        let parts = || {
            let buffer = Buffer::copy_from(&whole);
            vec![
                Part::Bytes(Vec::new()),
                Part::Bytes(whole[..3].to_vec()),
                Part::Buffer(buffer.slice(3..50)),
                Part::Bytes(Vec::new()),
                Part::Bytes(whole[50..].to_vec()),
                Part::Bytes(Vec::new()),
            ]
        };
        for step in 1..100 {
            let mut gathered = Gathered::new(parts());
            let mut sent = 0;
            while !gathered.is_done() {
                assert_eq!(left(&gathered), whole[sent..], "after {sent} in steps of {step}");
                let now = step.min(100 - sent);
                gathered.advance(now);
                sent += now;
            }
            assert_eq!((sent, gathered.into_parts().len()), (100, 6));
        }
    }

    #[test]
    fn a_send_of_nothing_is_done_at_once() {
        assert!(Gathered::new(Vec::new()).is_done());
        assert!(Gathered::new(vec![Part::Bytes(Vec::new())]).is_done());
    }

    #[test]
    fn one_call_takes_no_more_parts_than_the_kernel_does() {
        let gathered = Gathered::new((0..5000).map(|_| Part::Bytes(vec![1])).collect());
        assert_eq!(gathered.vectors.len(), PARTS_MAX);
    }
}
