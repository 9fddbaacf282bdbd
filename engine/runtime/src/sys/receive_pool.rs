//! The shard's pool of receive buffers, shared with the kernel: it picks one when bytes arrive on any socket.

use std::{
    cell::Cell,
    fmt,
    ops::Deref,
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::types::BufRingEntry;

use super::Lent;
use crate::BufferMut;

/// How many buffers a shard has.
pub(crate) const BUFFER_COUNT: u16 = 256;
/// How large each one is.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;
/// The pool's name on its ring.
pub(super) const GROUP: u16 = 0;

const _: () = assert!(BUFFER_COUNT.is_power_of_two(), "the kernel wants the length of the ring to be one");

/// The buffers, and the ring of entries through which they are given to the kernel.
pub(super) struct ReceivePool {
    /// The entries; the spare field of the first is the ring's tail.
    entries: Lent,
    memory: Lent,
    tail: Cell<u16>,
    /// How many the kernel has.
    free: Cell<usize>,
}

impl ReceivePool {
    pub(super) fn new() -> ReceivePool {
        let entries = Lent::new(BufferMut::zeroed(usize::from(BUFFER_COUNT) * size_of::<BufRingEntry>()));
        let memory = Lent::new(BufferMut::zeroed(usize::from(BUFFER_COUNT) * BUFFER_BYTES));
        let pool = ReceivePool { entries, memory, tail: Cell::new(0), free: Cell::new(0) };
        for buffer in 0..BUFFER_COUNT {
            pool.give(buffer);
        }
        pool
    }

    pub(super) fn entries_address(&self) -> u64 {
        self.entries.as_ptr(0).expose_provenance() as u64
    }

    pub(super) fn free(&self) -> usize {
        self.free.get()
    }

    /// A completion says that the kernel has taken a buffer and put `bytes` bytes into it.
    pub(super) fn taken(self: &Rc<Self>, buffer: u16, bytes: usize) -> ReceivedBuffer {
        assert!(
            buffer < BUFFER_COUNT && bytes <= BUFFER_BYTES,
            "the kernel named buffer {buffer} of {bytes} bytes"
        );
        self.free.set(self.free.get() - 1);
        ReceivedBuffer { pool: Rc::clone(self), buffer, bytes }
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        self.memory.as_ptr(usize::from(buffer) * BUFFER_BYTES)
    }

    fn give(&self, buffer: u16) {
        let tail = self.tail.get();
        let entries: *mut BufRingEntry = self.entries.as_ptr(0).cast();
        // SAFETY: the index is below the number of entries, the memory is alive and aligned to a page. The kernel reads
        // only entries before the tail, and this one is not: it has as many entries as there are buffers, and this
        // buffer is not among those before the tail.
        let entry = unsafe { &mut *entries.add(usize::from(tail & (BUFFER_COUNT - 1))) };
        entry.set_addr(self.address(buffer).expose_provenance() as u64);
        entry.set_len(u32::try_from(BUFFER_BYTES).expect("a constant of 16 KiB"));
        entry.set_bid(buffer);
        let tail = tail.wrapping_add(1);
        // SAFETY: the field lies in memory that is alive, is aligned to two bytes, and is accessed atomically by this
        // thread and the kernel.
        let shared = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        // Release: the kernel that sees the tail sees the entry.
        shared.store(tail, Ordering::Release);
        self.tail.set(tail);
        self.free.set(self.free.get() + 1);
    }
}

/// Bytes received into one of the shard's pooled buffers, which goes back to the pool on drop.
///
/// Parse it in the turn it came in: a shard has 256 of them, and while none is free no socket receives other than into
/// memory of its own ([`Ring::receive_into`](crate::Ring::receive_into)).
pub struct ReceivedBuffer {
    pool: Rc<ReceivePool>,
    buffer: u16,
    bytes: usize,
}

impl Deref for ReceivedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = NonNull::new(self.pool.address(self.buffer)).expect("an address within an allocation");
        // SAFETY: the memory is alive as long as the pool, initialised (zeroed at birth), and not the kernel's to write
        // until `drop` gives the buffer back.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.bytes) }
    }
}

impl Drop for ReceivedBuffer {
    fn drop(&mut self) {
        self.pool.give(self.buffer);
    }
}

impl fmt::Debug for ReceivedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedBuffer({} bytes)", self.bytes)
    }
}
