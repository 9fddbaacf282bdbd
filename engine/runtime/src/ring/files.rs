//! File operations as futures.

use std::{
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rustix::io::Errno;

use super::{core::Core, state::State};
use crate::sys::{Completion, Operation, Target};

/// The result of a file operation, and the operation itself with its memory.
pub(crate) type FileOutcome = (Result<u32, Errno>, Operation);

/// The place of one file operation.
pub(super) enum FileSlot {
    /// The kernel has it.
    InFlight(Option<Waker>, By),
    /// Done, and not yet picked up.
    Done(FileOutcome, By),
    /// The kernel has it, and its future is gone.
    Abandoned,
}

/// Who polls the operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The main future. It may poll with a waker that does nothing and look again after its next wake, so that its
    /// operations always end a wait. (Such a waker cannot be told from others: it may have several addresses.)
    Main,
    /// Background work, with its own waker.
    Background,
}

impl State {
    pub(super) fn start_file(&mut self, operation: Operation) -> u32 {
        let slot = self.files.insert(FileSlot::InFlight(None, By::Main));
        self.uring.start(Target::File(slot), operation);
        slot
    }

    pub(super) fn start_linked_files(&mut self, first: Operation, second: Operation) -> (u32, u32) {
        let slots = (
            self.files.insert(FileSlot::InFlight(None, By::Main)),
            self.files.insert(FileSlot::InFlight(None, By::Main)),
        );
        self.uring.start_linked((Target::File(slots.0), first), (Target::File(slots.1), second));
        slots
    }

    pub(super) fn file_completed(&mut self, slot: u32, completion: Completion) {
        let operation = completion.ended.expect("a file operation completes once");
        let place = self.files.get_mut(slot).expect("a slot stays until its operation has ended");
        let FileSlot::InFlight(waker, by) = mem::replace(place, FileSlot::Abandoned) else {
            self.files.remove(slot);
            return;
        };
        *place = FileSlot::Done((completion.result, operation), by);
        self.wakers.extend(waker);
        if by == By::Main {
            self.files_unclaimed += 1;
            self.files_news = true;
        }
    }

    fn poll_file(&mut self, slot: u32, waker: &Waker, by: By) -> Poll<FileOutcome> {
        let place = self.files.get_mut(slot).expect("a slot stays until its future has picked it up");
        if let FileSlot::InFlight(..) = place {
            *place = FileSlot::InFlight(Some(waker.clone()), by);
            return Poll::Pending;
        }
        match self.files.remove(slot) {
            Some(FileSlot::Done(outcome, by)) => {
                self.claim(by);
                Poll::Ready(outcome)
            }
            _ => unreachable!("checked above, and abandoned only by its future's end"),
        }
    }

    /// A finished operation has been picked up: once that holds for all, they are no news.
    fn claim(&mut self, by: By) {
        if by == By::Main {
            self.files_unclaimed -= 1;
            self.files_news &= self.files_unclaimed > 0;
        }
    }

    fn abandon_file(&mut self, slot: u32) {
        match self.files.get_mut(slot) {
            Some(place @ FileSlot::InFlight(..)) => *place = FileSlot::Abandoned,
            _ => {
                if let Some(FileSlot::Done(_, by)) = self.files.remove(slot) {
                    self.claim(by);
                }
            }
        }
    }
}

/// One file operation. It has begun; dropping the future does not end it, but frees its memory only afterwards.
pub(crate) struct FileOperation {
    core: Rc<Core>,
    slot: Option<u32>,
}

impl FileOperation {
    pub(super) fn new(core: &Rc<Core>, slot: u32) -> FileOperation {
        FileOperation { core: Rc::clone(core), slot: Some(slot) }
    }
}

impl Future for FileOperation {
    type Output = FileOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<FileOutcome> {
        let slot = self.slot.expect("polled after it was ready");
        let by = if self.core.is_background() { By::Background } else { By::Main };
        let outcome = self.core.with(|state| state.poll_file(slot, context.waker(), by));
        match (&outcome, by) {
            (Poll::Ready(_), _) => self.slot = None,
            (Poll::Pending, By::Background) => self.core.want_pump(),
            // The main loop submits when it waits, or is seen to be suspended elsewhere.
            (Poll::Pending, By::Main) => {}
        }
        outcome
    }
}

impl Drop for FileOperation {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.core.with(|state| state.abandon_file(slot));
        }
    }
}
