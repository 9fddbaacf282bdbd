//! A ring that owns what its operations use.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;

use super::{
    Operation, ReceivedBuffer, Target,
    receive_pool::{BUFFER_COUNT, GROUP, ReceivePool},
};
use crate::slots::Slots;

/// Operations that can wait for one submit.
const SUBMISSIONS: u32 = 1024;
/// Completions that can wait in shared memory; more are kept by the kernel until there is room.
const COMPLETIONS: u32 = 8192;
/// Marks the completions of cancellations, which nobody waits for. Slots are numbered far below.
const NOBODY: u64 = u64::MAX;

/// What became of an operation.
pub(crate) struct Completion {
    /// Whom it is for.
    pub(crate) target: Target,
    /// Its result: a count, mostly.
    pub(crate) result: Result<u32, Errno>,
    /// The connection accepted.
    pub(crate) accepted: Option<OwnedFd>,
    /// The bytes received into a pooled buffer.
    pub(crate) received: Option<ReceivedBuffer>,
    /// The operation, given back; `None` when it goes on and further completions follow.
    pub(crate) ended: Option<Operation>,
}

/// A completion as the kernel gives it.
#[derive(Clone, Copy)]
struct Raw {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// The ring. Lives and dies on the thread that made it.
pub(crate) struct Uring {
    ring: IoUring,
    pool: Rc<ReceivePool>,
    operations: Slots<(Target, Operation)>,
    /// File operations that go to the kernel behind all else of the same submit: starting a disk write takes the
    /// calling thread tens of microseconds, which nobody at the other end of a socket should have to wait for.
    /// True: the next one is linked to it.
    late: Vec<(squeue::Entry, bool)>,
    backlog: VecDeque<Raw>,
}

impl Uring {
    /// Sets up a ring whose completions signal `eventfd` while [`Uring::notify`] is on; it is off at first.
    pub(crate) fn new(eventfd: BorrowedFd<'_>) -> io::Result<Uring> {
        let mut ring = build()?;
        ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        ring.completion().disable_eventfd();
        let pool = Rc::new(ReceivePool::new());
        // SAFETY: the entries stay alive until `drop` has ended the registration, and whole pages are allotted to them.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(pool.entries_address(), BUFFER_COUNT, GROUP, 0)?;
        }
        Ok(Uring { ring, pool, operations: Slots::new(), late: Vec::new(), backlog: VecDeque::new() })
    }

    /// The ring's own descriptor: readable while completions wait.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the descriptor is open as long as the ring.
        let borrowed = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        borrowed.as_fd().try_clone_to_owned()
    }

    /// How many operations have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.operations.len()
    }

    /// How many pooled buffers can still receive.
    pub(crate) fn buffers_free(&self) -> usize {
        self.pool.free()
    }

    /// Queues an operation for the next [`Uring::submit`].
    pub(crate) fn start(&mut self, target: Target, operation: Operation) -> u32 {
        self.queue(target, operation, squeue::Flags::empty())
    }

    /// Queues two operations, the second to run only after the first has wholly succeeded.
    pub(crate) fn start_linked(&mut self, first: (Target, Operation), second: (Target, Operation)) {
        self.queue(first.0, first.1, squeue::Flags::IO_LINK);
        self.queue(second.0, second.1, squeue::Flags::empty());
    }

    /// Asks the kernel to end an operation early. Its completion comes all the same.
    pub(crate) fn cancel(&mut self, key: u32) {
        self.push_late(); // what the kernel does not know it cannot end
        let entry = opcode::AsyncCancel::new(u64::from(key)).build().user_data(NOBODY);
        self.push(&entry);
    }

    fn queue(&mut self, target: Target, operation: Operation, flags: squeue::Flags) -> u32 {
        let on_file = matches!(target, Target::File(_));
        let key = self.operations.insert((target, operation));
        let (_, operation) = self.operations.get(key).expect("inserted by the line above");
        let entry = operation.entry().flags(flags).user_data(u64::from(key));
        if on_file {
            self.late.push((entry, flags.contains(squeue::Flags::IO_LINK)));
        } else {
            self.push(&entry);
        }
        key
    }

    /// Moves the file operations into the submission queue.
    fn push_late(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        for (entry, linked) in &late {
            // A link does not reach from one submit to the next.
            while *linked && self.room() < 2 {
                self.enter(0);
            }
            self.push(entry);
        }
        late.clear();
        self.late = late; // its memory
    }

    /// How many entries the submission queue still takes.
    fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: all addresses in the entry point to memory that its operation owns, the table owns the operation, and
        // gives it away only with its last completion. A cancellation has no addresses.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0);
        }
    }

    /// Tells the kernel about all queued operations, and lets it finish what waits for this thread. No system call when
    /// there is neither.
    pub(crate) fn submit(&mut self) {
        self.push_late();
        let queue = self.ring.submission();
        let mut wanted = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        while wanted {
            self.enter(0);
            // Short of memory the kernel may have taken only some.
            wanted = !self.ring.submission().is_empty();
        }
    }

    /// Submits all queued operations and blocks until something completes, at most for `time`.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.push_late();
        let time = types::Timespec::from(time);
        let arguments = types::SubmitArgs::new().timespec(&time);
        // Time is up, a signal came, or the kernel is short of something: the caller looks around in any case, and
        // what was not submitted stays queued.
        if let Err(error) = self.ring.submitter().submit_with_args(1, &arguments)
            && !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
        {
            give_up(&error);
        }
    }

    fn enter(&mut self, wait_for: usize) {
        while let Err(error) = self.ring.submit_and_wait(wait_for) {
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // Out of memory for requests, or of room for completions: both pass as completions are taken.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    self.collect();
                    std::thread::yield_now();
                }
                _ => give_up(&error),
            }
        }
    }

    /// Whether completions signal the eventfd.
    pub(crate) fn notify(&mut self, on: bool) {
        let completions = self.ring.completion();
        if on {
            completions.enable_eventfd()
        } else {
            completions.disable_eventfd()
        }
        // The caller looks for completions next: it must not see an older state than the kernel sees of the flag.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Whether [`Uring::next`] has something to give, or a [`Uring::submit`] might find something.
    pub(crate) fn has_completions(&mut self) -> bool {
        if !self.backlog.is_empty() || !self.ring.completion().is_empty() {
            return true;
        }
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Takes completions from shared memory, without a system call.
    fn collect(&mut self) {
        let completions = self.ring.completion();
        self.backlog.extend(completions.map(|entry: cqueue::Entry| Raw {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// The next completion, if any is there.
    pub(crate) fn next(&mut self) -> Option<Completion> {
        loop {
            if self.backlog.is_empty() {
                self.collect();
            }
            let raw = self.backlog.pop_front()?;
            if raw.user_data != NOBODY {
                return Some(self.complete(raw));
            }
        }
    }

    fn complete(&mut self, raw: Raw) -> Completion {
        let key = u32::try_from(raw.user_data).expect("the user data of an operation is its key");
        let (target, operation) =
            self.operations.get(key).expect("an operation stays until its last completion");
        let target = *target;
        let result = u32::try_from(raw.result).map_err(|_| Errno::from_raw_os_error(-raw.result));
        let accepted = match (operation, result) {
            // SAFETY: the kernel has just made this descriptor for us, and names it once.
            (Operation::Accept { .. }, Ok(_)) => Some(unsafe { OwnedFd::from_raw_fd(raw.result) }),
            _ => None,
        };
        let bytes = result.unwrap_or(0) as usize;
        let received = cqueue::buffer_select(raw.flags).map(|buffer| self.pool.taken(buffer, bytes));
        let ended = if cqueue::more(raw.flags) { None } else { self.operations.remove(key) };
        Completion { target, result, accepted, received, ended: ended.map(|(_, operation)| operation) }
    }
}

/// A ring that cannot be entered leaves everything in doubt that is in it: nothing more may be said.
fn give_up(error: &io::Error) -> ! {
    eprintln!("fatal: io_uring_enter failed: {error}");
    std::process::abort();
}

impl Drop for Uring {
    /// Ends all operations before their memory is freed.
    fn drop(&mut self) {
        for key in self.operations.keys() {
            self.cancel(key);
        }
        while self.in_flight() > 0 {
            self.push_late();
            self.enter(1);
            while self.next().is_some() {}
        }
        // Closing the ring ends the registration too, but perhaps only after the memory is gone.
        if let Err(error) = self.ring.submitter().unregister_buf_ring(GROUP) {
            eprintln!("fatal: taking back a ring's receive buffers failed: {error}");
            std::process::abort();
        }
    }
}

/// The newest flags that this kernel takes: nothing is interrupted for a completion, and one thread submits.
fn build() -> io::Result<IoUring> {
    let build = |set: fn(&mut io_uring::Builder)| {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_submit_all().setup_cqsize(COMPLETIONS);
        set(&mut builder);
        builder.build(SUBMISSIONS)
    };
    let attempts: [fn(&mut io_uring::Builder); 3] = [
        |builder| {
            builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag();
        },
        |builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        },
        |_| {},
    ];
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for set in attempts {
        match build(set) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            other => return other,
        }
    }
    Err(last)
}

/// Whether this kernel lets a ring be made (the error says why not), and whether its io_uring is as new as needed:
/// multishot receive came with Linux 6.0, as did the operation that is asked for here.
pub(crate) fn probe_ring() -> io::Result<bool> {
    let ring = build()?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(probe.is_supported(opcode::SendZc::CODE))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{
        BufferMut, Part,
        clock::now,
        sys::{Gathered, Lent, Pinned},
    };

    fn uring() -> Uring {
        let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        Uring::new(eventfd.as_fd()).unwrap()
    }

    #[test]
    fn a_ring_dropped_with_operations_in_flight_ends_them_first() {
        for submitted in [false, true] {
            let mut uring = uring();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let socket = Rc::new(OwnedFd::from(ours));
            uring.start(Target::None, Operation::Receive { socket: Rc::clone(&socket) });
            let message = Gathered::new(vec![Part::Buffer(BufferMut::zeroed(64 << 20).freeze())]);
            uring.start(Target::None, Operation::Send { socket: Rc::clone(&socket), message });
            let buffer = Lent::new(BufferMut::zeroed(4096));
            uring.start(Target::None, Operation::ReceiveInto { socket: Rc::clone(&socket), buffer, from: 0 });
            let at = Pinned::new((now() + Duration::from_secs(3600)).into());
            uring.start(Target::Timer, Operation::Timeout { at });
            if submitted {
                uring.submit();
            }
            drop(uring);
            assert_eq!(Rc::strong_count(&socket), 1, "no operation is left");
            drop(theirs);
        }
    }

    #[test]
    fn more_operations_than_the_queues_hold_all_complete() {
        let mut uring = uring();
        let count = usize::try_from(2 * COMPLETIONS).unwrap();
        let path = tempfile::NamedTempFile::new().unwrap();
        let file = Rc::new(OwnedFd::from(path.into_file()));
        for _ in 0..count {
            uring.start(Target::None, Operation::Sync { file: Rc::clone(&file) });
        }
        while uring.in_flight() > 0 {
            uring.enter(1);
            while let Some(completion) = uring.next() {
                assert_eq!(completion.result, Ok(0));
            }
        }
        assert_eq!(Rc::strong_count(&file), 1);
    }
}
