//! How the ring and glommio's executor keep each other going.
//!
//! The main loop runs turns and calls [`Core::wait`] between them. While it has something to do the ring's completions
//! signal nobody. When it has not, it arms the ring's eventfd and awaits; glommio parks the thread in its own ring,
//! where the *bell task* has a read of that eventfd in flight. The bell task never ends and its read is never
//! cancelled, so no signal is ever taken by a reader that is gone.
//!
//! That way round costs a completion two rings. So while glommio has nothing but the main loop to run, the loop sleeps
//! in the shard's own ring, and goes through glommio only now and then. (A SET of one client on three nodes of one
//! machine takes about a tenth less time for it.)
//!
//! Others may need the ring while the main loop is not in a turn: background work, or the main future itself where it
//! awaits something else. Then the *pump task* is woken, which submits and arms the eventfd as soon as it is its turn.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    mem,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{files::FileOperation, state::State};
use crate::{
    clock::now,
    doorbell::Bell,
    sys::{Operation, Uring},
    watchdog::Watched,
};

/// The main loop lets glommio's reactor have a look at least this often while it is busy.
const REACTOR_EVERY: Duration = Duration::from_millis(1);
/// How often glommio runs while it has nothing but the main loop, and how long that may sleep without it: so late it may
/// hear of work that no part of this crate knows of, of which there is none.
const REACTOR_RARELY: Duration = Duration::from_millis(100);

/// The ring of one executor thread, for the life of the thread.
pub(crate) struct Core {
    state: RefCell<State>,
    bell: Arc<Bell>,
    watched: Arc<Watched>,
    /// The main loop, suspended in `wait`.
    waiter: RefCell<Option<Waker>>,
    pump: RefCell<Option<Waker>>,
    pump_wanted: Cell<bool>,
    /// Whether the main loop is in `wait`, and if so, whether only for a visit to the reactor.
    waiting: Cell<Option<Waiting>>,
    paused: RefCell<Vec<Paused>>,
    /// Background work is being polled right now.
    background: Cell<bool>,
    /// How many pieces of background work there are.
    background_alive: Cell<usize>,
    /// How often glommio's reactor has been visited, and when last.
    visits: Cell<u64>,
    visited_at: Cell<Duration>,
}

/// Background work between two slices.
struct Paused {
    /// When it goes on even if the main loop is busy.
    until: Duration,
    resumed: Rc<Cell<bool>>,
    waker: Waker,
}

/// How the main loop waits.
#[derive(Clone, Copy)]
enum Waiting {
    /// For news or the doorbell.
    Parked,
    /// Only for the reactor to be visited once more than this often.
    Visiting(u64),
}

/// Clears the note that the main loop waits, also when its future is dropped.
struct EndOfWaiting<'a>(&'a Cell<Option<Waiting>>);

impl Drop for EndOfWaiting<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// A piece of background work that has not ended.
pub(crate) struct BackgroundAlive(Rc<Core>);

impl Drop for BackgroundAlive {
    fn drop(&mut self) {
        self.0.background_alive.set(self.0.background_alive.get() - 1);
    }
}

impl Core {
    /// `bell_eventfd` is the bell's [`Bell::ring_eventfd`].
    pub(crate) fn new(
        uring: Uring,
        bell: Arc<Bell>,
        bell_eventfd: OwnedFd,
        watched: Arc<Watched>,
    ) -> Rc<Core> {
        Rc::new(Core {
            state: RefCell::new(State::new(uring, bell_eventfd)),
            bell,
            watched,
            waiter: RefCell::new(None),
            pump: RefCell::new(None),
            pump_wanted: Cell::new(false),
            waiting: Cell::new(None),
            paused: RefCell::new(Vec::new()),
            background: Cell::new(false),
            background_alive: Cell::new(0),
            visits: Cell::new(0),
            visited_at: Cell::new(now()),
        })
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    pub(crate) fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    /// Works on the state, then wakes whom that concerns.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let result = work(&mut state);
        if state.wakers.is_empty() {
            return result;
        }
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        for waker in wakers {
            self.wake(waker);
        }
        result
    }

    /// Works on the state, and sees to it that what has been queued is submitted: by the main loop when it next waits,
    /// or, should background work have queued it, by the pump.
    pub(super) fn queue<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = self.with(work);
        if self.background.get() {
            self.want_pump();
        }
        result
    }

    /// Wakes a task of this thread, and notes for the watchdog that it is owed a run.
    fn wake(&self, waker: Waker) {
        self.watched.owe();
        waker.wake();
    }

    /// Makes the bell task run after the next visit to the reactor.
    fn signal(&self) {
        self.watched.owe();
        self.bell.signal();
    }

    pub(crate) fn start(self: &Rc<Self>, operation: Operation) -> FileOperation {
        let slot = self.with(|state| state.start_file(operation));
        FileOperation::new(self, slot)
    }

    pub(crate) fn start_linked(self: &Rc<Self>, first: Operation, second: Operation) -> [FileOperation; 2] {
        let (first, second) = self.with(|state| state.start_linked_files(first, second));
        [FileOperation::new(self, first), FileOperation::new(self, second)]
    }

    /// See [`Ring::wait`](super::Ring::wait).
    pub(super) async fn wait(&self) {
        self.watched.beat();
        if let Some(waiting) = self.begin_wait() {
            self.waiting.set(Some(waiting));
            let _waiting = EndOfWaiting(&self.waiting);
            poll_fn(|context| self.poll_wait(waiting, context)).await;
        }
        self.end_wait();
    }

    /// `None`: go on at once.
    fn begin_wait(&self) -> Option<Waiting> {
        let settled = |state: &mut State| {
            state.settle();
            state.has_news()
        };
        let mut busy = self.with(settled) || !self.bell.park();
        let alone = self.is_main_alone();
        if !busy && alone && self.bell.sleep() {
            self.with(|state| state.sleep(REACTOR_RARELY));
            self.bell.wake_up();
            self.watched.beat();
            busy = self.with(settled) || self.bell.is_rung();
        }
        if !busy {
            busy = self.with(|state| {
                state.uring.notify(true);
                settled(state)
            });
        }
        if !busy {
            if !self.paused.borrow().is_empty() {
                self.signal();
            }
            return Some(Waiting::Parked);
        }
        let every = if alone { REACTOR_RARELY } else { REACTOR_EVERY };
        if now().saturating_sub(self.visited_at.get()) < every {
            return None;
        }
        self.signal();
        Some(Waiting::Visiting(self.visits.get()))
    }

    /// Whether glommio has nothing to run but the main loop, and will not before that has run again.
    fn is_main_alone(&self) -> bool {
        self.background_alive.get() == 0
            && self.paused.borrow().is_empty()
            && !self.watched.is_blocking()
            && !self.with(|state| state.is_draining())
    }

    fn poll_wait(&self, waiting: Waiting, context: &mut Context<'_>) -> Poll<()> {
        let ready = match waiting {
            Waiting::Parked => self.bell.is_rung() || self.with(|state| state.has_news()),
            Waiting::Visiting(visits) => self.visits.get() > visits,
        };
        if ready {
            return Poll::Ready(());
        }
        *self.waiter.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    fn end_wait(&self) {
        self.watched.beat();
        *self.waiter.borrow_mut() = None;
        // Before the caller looks into its mailboxes: a ring after this is seen by the next wait.
        self.bell.unpark();
        self.with(|state| {
            state.forget_news();
            state.uring.notify(false);
        });
    }

    /// The main future is suspended. If not in `wait`, somebody must look after the ring meanwhile.
    pub(crate) fn main_suspended(&self) {
        if self.waiting.get().is_none() {
            self.want_pump();
        }
    }

    /// Polls background work. Its file operations are its own affair and do not wake the main loop.
    pub(crate) fn in_background<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.background.set(true);
        let result = poll();
        self.background.set(false);
        result
    }

    /// Notes a piece of background work, for as long as the guard lives.
    pub(crate) fn background_begins(self: &Rc<Self>) -> BackgroundAlive {
        self.background_alive.set(self.background_alive.get() + 1);
        BackgroundAlive(Rc::clone(self))
    }

    pub(super) fn is_background(&self) -> bool {
        self.background.get()
    }

    /// The bell task: runs whenever the eventfd has been signalled.
    pub(crate) fn on_bell(&self) {
        self.watched.beat();
        self.visits.set(self.visits.get() + 1);
        self.visited_at.set(now());
        let news = self.with(|state| {
            state.settle();
            state.has_news()
        });
        // Not in `wait` and yet not running: the main loop awaits something else, and nothing keeps it busy.
        let busy = match self.waiting.get() {
            None => false,
            Some(Waiting::Parked) => news || self.bell.is_rung(),
            Some(Waiting::Visiting(_)) => true,
        };
        if busy && let Some(waiter) = self.waiter.borrow_mut().take() {
            self.wake(waiter);
        }
        self.resume_background(busy);
    }

    /// The rescue task: runs when the watchdog finds that the shard sleeps although it should not. That the executor runs
    /// at all is most of the help; the rest is to do as if the eventfd had been signalled.
    pub(crate) async fn rescue(&self) {
        poll_fn(|context| {
            self.watched.rescue_with(context.waker());
            self.on_bell();
            Poll::<()>::Pending
        })
        .await;
    }

    /// The pump task: runs when file operations may be in flight and nobody else looks after the ring.
    pub(crate) async fn pump(&self) {
        poll_fn(|context| {
            self.watched.beat();
            *self.pump.borrow_mut() = Some(context.waker().clone());
            self.pump_wanted.set(false);
            let news = self.with(|state| {
                state.uring.notify(true);
                state.settle();
                state.has_news()
            });
            if news && let Some(waiter) = self.waiter.borrow_mut().take() {
                self.wake(waiter);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    pub(super) fn want_pump(&self) {
        if self.pump_wanted.replace(true) {
            return;
        }
        let pump = self.pump.borrow().clone();
        if let Some(pump) = pump {
            self.wake(pump);
        }
    }

    /// Lets the main loop and the reactor go first: see [`Context::pause`](crate::Context::pause).
    pub(crate) async fn pause(&self, rest: Duration) {
        let until = now() + rest;
        let mut registered: Option<Rc<Cell<bool>>> = None;
        poll_fn(|context| {
            let resumed = registered.get_or_insert_with(|| {
                let resumed = Rc::new(Cell::new(false));
                let paused = Paused { until, resumed: Rc::clone(&resumed), waker: context.waker().clone() };
                self.paused.borrow_mut().push(paused);
                self.signal();
                resumed
            });
            if resumed.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn resume_background(&self, busy: bool) {
        if self.paused.borrow().is_empty() {
            return;
        }
        let now = now();
        let due = |paused: &mut Paused| !busy || paused.until <= now;
        let resumed: Vec<_> = self.paused.borrow_mut().extract_if(.., due).collect();
        for paused in resumed {
            paused.resumed.set(true);
            self.wake(paused.waker);
        }
    }

    /// Ends everything on the ring that one user of the thread has left behind.
    pub(crate) async fn drain(&self) {
        self.with(State::drain);
        while self.with(|state| state.uring.in_flight()) > 0 {
            self.wait().await;
        }
        self.with(State::end_drain);
        self.paused.borrow_mut().clear();
    }
}
