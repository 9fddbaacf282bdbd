//! Waking a shard from any thread.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};

/// Somebody rang since the shard last looked.
const RUNG: u32 = 1;
/// The shard is about to park, or has: only the eventfd wakes it.
const PARKED: u32 = 2;
/// It parks in its own ring: only the other eventfd wakes it.
const ASLEEP: u32 = 4;

/// The part of a shard that other threads touch to wake it.
#[derive(Debug)]
pub(crate) struct Bell {
    state: AtomicU32,
    /// Read by glommio's ring.
    eventfd: OwnedFd,
    /// Polled by the shard's own ring; nobody reads it.
    ring_eventfd: OwnedFd,
}

impl Bell {
    /// The eventfd blocks when read, so that a ring which reads it waits for it in place of answering EAGAIN.
    pub(crate) fn new() -> Result<Bell, Errno> {
        let make = || eventfd(0, EventfdFlags::CLOEXEC);
        Ok(Bell { state: AtomicU32::new(0), eventfd: make()?, ring_eventfd: make()? })
    }

    pub(crate) fn ring_eventfd(&self) -> &OwnedFd {
        &self.ring_eventfd
    }

    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// The shard is up: rings from now on are for its next look. True when somebody rang before.
    pub(crate) fn unpark(&self) -> bool {
        self.state.swap(0, Ordering::AcqRel) & RUNG != 0
    }

    /// The shard wants to park. False when somebody has rung already: then it must not.
    pub(crate) fn park(&self) -> bool {
        self.state.fetch_or(PARKED, Ordering::AcqRel) & RUNG == 0
    }

    /// After [`Bell::park`]: the shard parks in its own ring. False when somebody has rung: then it must not.
    pub(crate) fn sleep(&self) -> bool {
        self.state.fetch_or(ASLEEP, Ordering::AcqRel) & RUNG == 0
    }

    /// The shard has come out of its own ring, and may park elsewhere.
    pub(crate) fn wake_up(&self) {
        self.state.fetch_and(!ASLEEP, Ordering::AcqRel);
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.state.load(Ordering::Acquire) & RUNG != 0
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.state.load(Ordering::Acquire) & PARKED != 0
    }

    fn ring(&self) {
        // Only the first ring since the shard looked, and only of a parked shard, costs a system call: a shard that is
        // up sees the flag before it parks.
        match self.state.fetch_or(RUNG, Ordering::AcqRel) {
            PARKED => self.signal(),
            before if before == PARKED | ASLEEP => signal(&self.ring_eventfd),
            _ => {}
        }
    }

    /// Makes the eventfd readable.
    pub(crate) fn signal(&self) {
        signal(&self.eventfd);
    }
}

fn signal(eventfd: &OwnedFd) {
    loop {
        match rustix::io::write(eventfd, bytemuck::bytes_of(&1_u64)) {
            Err(Errno::INTR) => {}
            // The counter would need 2^64 signals to be full; nothing else can go wrong with an eventfd.
            _ => return,
        }
    }
}

/// Wakes one shard from any thread: its [`Ring::wait`](crate::Ring::wait) returns. Many rings before the shard looks
/// are one; ringing a shard that is awake costs one atomic operation.
#[derive(Clone)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

impl Doorbell {
    pub(crate) fn new(bell: Arc<Bell>) -> Doorbell {
        Doorbell { bell }
    }

    /// A doorbell that wakes nobody: for queues into a shard that a simulator drives.
    ///
    /// # Errors
    ///
    /// The operating system has no descriptors left.
    pub fn unheard() -> std::io::Result<Doorbell> {
        Ok(Doorbell::new(Arc::new(Bell::new()?)))
    }

    /// Wakes the shard. What the caller wrote before (to a mailbox, say) is visible to the shard when it wakes.
    pub fn ring(&self) {
        self.bell.ring();
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_parking_forbids_to_park() {
        let bell = Arc::new(Bell::new().unwrap());
        let doorbell = Doorbell::new(Arc::clone(&bell));
        assert!(bell.park());
        assert!(!bell.unpark());
        doorbell.ring();
        assert!(!bell.park(), "rung while awake");
        assert!(bell.unpark());
        assert!(bell.park());
    }

    #[test]
    fn a_shard_asleep_in_its_ring_is_rung_there() {
        let bell = Arc::new(Bell::new().unwrap());
        let doorbell = Doorbell::new(Arc::clone(&bell));
        let count = |eventfd: &OwnedFd| {
            let mut readable = [rustix::event::PollFd::new(eventfd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut readable, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
                .unwrap()
        };
        assert!(bell.park() && bell.sleep());
        doorbell.ring();
        assert_eq!((count(bell.ring_eventfd()), count(bell.eventfd())), (1, 0));
        bell.wake_up();
        assert!(bell.is_rung() && !bell.sleep(), "it must look around first");
    }

    #[test]
    fn only_the_first_ring_of_a_parked_shard_signals() {
        let bell = Arc::new(Bell::new().unwrap());
        let doorbell = Doorbell::new(Arc::clone(&bell));
        doorbell.ring();
        bell.unpark();
        assert!(bell.park());
        for _ in 0..100 {
            doorbell.ring();
        }
        let mut count = 0_u64;
        rustix::io::read(bell.eventfd(), bytemuck::bytes_of_mut(&mut count)).unwrap();
        assert_eq!(count, 1);
    }
}
