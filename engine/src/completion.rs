//! One answer from a shard to a thread or task elsewhere: a future that any executor can poll and any plain
//! thread can wait on. Wakers of the caller's executor travel to the shard, never the other way round.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// A thread is blocked. Waking nobody is a system call all the same.
    is_awaited: bool,
    /// The completing side is gone without a value: the shard is dead.
    abandoned: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The shard's half: completes the answer once.
pub(crate) struct Completer<T>(Option<Arc<Shared<T>>>);

/// The caller's half.
pub(crate) struct Completion<T>(Arc<Shared<T>>);

/// A connected pair.
pub(crate) fn completion<T>() -> (Completer<T>, Completion<T>) {
    let state = Mutex::new(State { value: None, waker: None, is_awaited: false, abandoned: false });
    let shared = Arc::new(Shared { state, ready: Condvar::new() });
    (Completer(Some(Arc::clone(&shared))), Completion(shared))
}

impl<T> Completer<T> {
    /// Gives the answer and wakes who waits.
    pub(crate) fn complete(mut self, value: T) {
        finish(self.0.take(), Some(value));
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        finish(self.0.take(), None);
    }
}

fn finish<T>(shared: Option<Arc<Shared<T>>>, value: Option<T>) {
    let Some(shared) = shared else { return };
    let (waker, is_awaited) = {
        let mut state = shared.lock();
        state.abandoned = value.is_none();
        state.value = value;
        (state.waker.take(), state.is_awaited)
    };
    if is_awaited {
        shared.ready.notify_all();
    }
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Completion<T> {
    /// Blocks this thread until the answer is there. `None`: the shard is gone.
    pub(crate) fn wait(self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            if state.abandoned {
                return None;
            }
            state.is_awaited = true;
            state = self.0.ready.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl<T> Future for Completion<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        match state.value.take() {
            Some(value) => Poll::Ready(Some(value)),
            None if state.abandoned => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_thread_gets_the_answer() {
        let (completer, waiting) = completion();
        let thread = std::thread::spawn(move || waiting.wait());
        completer.complete(7);
        assert_eq!(thread.join().expect("no panic"), Some(7));
    }

    #[test]
    fn a_dropped_completer_is_noticed() {
        let (completer, waiting) = completion::<u8>();
        drop(completer);
        assert_eq!(waiting.wait(), None);
    }
}
