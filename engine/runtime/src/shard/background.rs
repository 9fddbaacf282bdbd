//! Work beside a shard's main future.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use glommio::{Task, TaskQueueHandle};

use super::panic_message;
use crate::ring::Core;

/// All background work of one run of a shard.
pub(crate) struct Background {
    queue: TaskQueueHandle,
    core: Rc<Core>,
    tasks: RefCell<Vec<Spawned>>,
    /// The message of the first panic.
    panic: RefCell<Option<String>>,
    main: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

struct Spawned {
    task: Task<()>,
    done: Rc<Cell<bool>>,
}

impl Background {
    pub(super) fn new(queue: TaskQueueHandle, core: Rc<Core>) -> Rc<Background> {
        Rc::new(Background {
            queue,
            core,
            tasks: RefCell::default(),
            panic: RefCell::default(),
            main: RefCell::default(),
            closed: Cell::new(false),
        })
    }

    pub(super) fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        if self.closed.get() {
            return;
        }
        let done = Rc::new(Cell::new(false));
        let background = Rc::clone(self);
        let run = {
            let done = Rc::clone(&done);
            let alive = self.core.background_begins();
            async move {
                let _alive = alive;
                let mut work = pin!(catch_panic(work));
                let poll =
                    |context: &mut Context<'_>| background.core.in_background(|| work.as_mut().poll(context));
                if let Err(message) = poll_fn(poll).await {
                    background.panicked(message);
                }
                done.set(true);
            }
        };
        // Only scheduled, not polled here: the caller may hold borrows that `work` wants too.
        let task = glommio::spawn_local_into(run, self.queue)
            .expect("the queue is the executor's own and is never removed");
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|spawned| !spawned.done.get());
        tasks.push(Spawned { task, done });
    }

    fn panicked(&self, message: String) {
        self.panic.borrow_mut().get_or_insert(message);
        if let Some(main) = self.main.borrow_mut().take() {
            main.wake();
        }
    }

    /// Runs the main future to its end, or until it or background work panics: then the message.
    pub(super) async fn run_main(&self, main: impl Future<Output = ()>) -> Result<(), String> {
        let mut main = pin!(catch_panic(main));
        poll_fn(|context| {
            if let Some(message) = self.panic.borrow_mut().take() {
                return Poll::Ready(Err(message));
            }
            *self.main.borrow_mut() = Some(context.waker().clone());
            let poll = main.as_mut().poll(context);
            if poll.is_pending() {
                self.core.main_suspended();
            }
            poll
        })
        .await
    }

    /// Cancels all work, the newest first, and waits until it is gone.
    pub(super) async fn close(&self) {
        self.closed.set(true);
        *self.main.borrow_mut() = None;
        loop {
            let Some(spawned) = self.tasks.borrow_mut().pop() else { return };
            spawned.task.cancel().await;
        }
    }
}

/// Polls `future`; a panic of it, or of its destructor, becomes the message.
async fn catch_panic(future: impl Future<Output = ()>) -> Result<(), String> {
    let mut future = Some(Box::pin(future));
    let result = poll_fn(|context: &mut Context<'_>| {
        let future = future.as_mut().expect("taken only after the end");
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        }
    })
    .await;
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future.take())));
    result.and(dropped.map_err(|panic| panic_message(&*panic)))
}
