//! What the shard knows of its ring, and what each completion does to it.

use std::{io, mem, os::fd::OwnedFd, rc::Rc, task::Waker, time::Duration};

use super::{
    event::{Event, ListenerId, SocketId},
    files::FileSlot,
    sockets::{Listener, Socket},
};
use crate::{
    clock::now,
    slots::{Generations, Slots},
    sys::{Completion, Operation, Pinned, Target, Uring},
};

/// How long a listener rests after accepting has failed for want of something.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Later than anything: 136 years after boot, which the kernel's clocks can still express.
const NEVER: Duration = Duration::from_secs(1 << 32);

/// All of the ring behind one borrow. Wakers are collected in it and woken when the borrow has ended.
pub(super) struct State {
    pub(super) uring: Uring,
    pub(super) listeners: Generations<Listener>,
    pub(super) sockets: Generations<Socket>,
    /// Sockets whose receive ended because no pooled buffer was free.
    pub(super) starved: Vec<SocketId>,
    pub(super) files: Slots<FileSlot>,
    /// File operations of the main future that are done and not yet picked up.
    pub(super) files_unclaimed: usize,
    /// One of those is news to the main loop.
    pub(super) files_news: bool,
    pub(super) events: Vec<Event>,
    pub(super) wakers: Vec<Waker>,
    /// The main loop asked for time this late, and it has come.
    timer_fired: bool,
    timer_wanted: Option<Duration>,
    /// The timeout in flight and when it ends.
    timer_armed: Option<(u32, Duration)>,
    /// The doorbell's eventfd, and the operation that polls it once the shard has slept in the ring.
    bell: Rc<OwnedFd>,
    bell_poll: Option<u32>,
    /// When resting listeners accept again.
    accept_again: Option<Duration>,
    /// Shutting down: every completion is news.
    draining: bool,
}

impl State {
    pub(super) fn new(uring: Uring, bell: OwnedFd) -> State {
        State {
            uring,
            listeners: Generations::new(),
            sockets: Generations::new(),
            starved: Vec::new(),
            files: Slots::new(),
            files_unclaimed: 0,
            files_news: false,
            events: Vec::new(),
            wakers: Vec::new(),
            timer_fired: false,
            timer_wanted: None,
            timer_armed: None,
            bell: Rc::new(bell),
            bell_poll: None,
            accept_again: None,
            draining: false,
        }
    }

    /// Whether there is something that the main loop waits for.
    pub(super) fn has_news(&self) -> bool {
        !self.events.is_empty() || self.files_news || self.timer_fired
    }

    /// The main loop is up and will look at everything.
    pub(super) fn forget_news(&mut self) {
        self.files_news = false;
        self.timer_fired = false;
    }

    /// Takes what has completed, without a system call. True when there was anything.
    pub(super) fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some(completion) = self.uring.next() {
            any = true;
            self.files_news |= self.draining;
            self.complete(completion);
        }
        any
    }

    /// Submits what is queued and takes what has completed, until there is news or nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.feed_starved();
        loop {
            self.uring.submit();
            let any = self.reap();
            if self.has_news() {
                // What the completions have queued must not wait for the turn that is now to come.
                self.uring.submit();
                return;
            }
            if !any && !self.uring.has_completions() {
                return;
            }
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion.target {
            Target::Listener(id) => self.accepted(id, completion),
            Target::Socket(id) => self.socket_completed(id, completion),
            Target::File(slot) => self.file_completed(slot, completion),
            Target::Timer => self.timer_ended(),
            Target::Bell if completion.ended.is_some() => self.bell_poll = None,
            Target::Bell => {}
            Target::None => {}
        }
    }

    /// Blocks the thread until something completes or the doorbell rings, at most for `time`.
    pub(super) fn sleep(&mut self, time: Duration) {
        if self.bell_poll.is_none() {
            let operation = Operation::Poll { eventfd: Rc::clone(&self.bell) };
            self.bell_poll = Some(self.uring.start(Target::Bell, operation));
        }
        self.uring.sleep(time);
    }

    /// Whether everything is being brought to an end.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn set_timer(&mut self, at: Duration) {
        self.timer_wanted = Some(at.min(NEVER));
        self.arm_timer();
    }

    /// Sees to it that the timeout in flight ends no later than the earliest time wanted. One that ends earlier is left
    /// alone: it costs one wake, which is less than moving it each time.
    fn arm_timer(&mut self) {
        let Some(at) = self.timer_wanted.into_iter().chain(self.accept_again).min() else { return };
        let timespec = Pinned::new(at.into());
        match self.timer_armed {
            None => {
                let key = self.uring.start(Target::Timer, Operation::Timeout { at: timespec });
                self.timer_armed = Some((key, at));
            }
            Some((timer, armed)) if at < armed => {
                // Fails only when the timeout has just ended; then its completion arms the next.
                self.uring.start(Target::None, Operation::MoveTimeout { timer, at: timespec });
                self.timer_armed = Some((timer, at));
            }
            Some(_) => {}
        }
    }

    fn timer_ended(&mut self) {
        self.timer_armed = None;
        if self.draining {
            return;
        }
        let now = now();
        if self.timer_wanted.is_some_and(|at| at <= now) {
            self.timer_wanted = None;
            self.timer_fired = true;
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.accept_on_rested();
        }
        self.arm_timer();
    }

    /// Accepting failed: tells the main loop, and tries again a little later.
    pub(super) fn rest_listener(&mut self, listener: ListenerId, error: io::Error) {
        self.events.push(Event::AcceptFailed { listener, error });
        if self.accept_again.is_none() {
            self.accept_again = Some(now() + ACCEPT_REST);
        }
        self.arm_timer();
    }

    /// Begins the end: closes everything and lets nothing new begin by itself. File operations run to their end.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        for slot in self.sockets.keys() {
            self.close(SocketId::from_key(slot));
        }
        for slot in self.listeners.keys() {
            self.close_listener(ListenerId::from_key(slot));
        }
        if let Some((timer, _)) = self.timer_armed {
            self.uring.cancel(timer);
        }
        if let Some(poll) = self.bell_poll {
            self.uring.cancel(poll);
        }
        self.timer_wanted = None;
        self.accept_again = None;
    }

    /// Nothing is in flight any more: as new.
    pub(super) fn end_drain(&mut self) {
        self.draining = false;
        self.starved.clear();
        self.forget_news();
        drop(mem::take(&mut self.events));
    }
}
