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
    /// The kernel has it. No waker: the main loop will look again after its next wake.
    InFlight(Option<Waker>),
    /// Done, and not yet picked up. Whether a waker was woken for it.
    Done(FileOutcome, Claimed),
    /// The kernel has it, and its future is gone.
    Abandoned,
}

/// Whether somebody was woken for a finished operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    Yes,
    No,
}

impl State {
    pub(super) fn start_file(&mut self, operation: Operation) -> u32 {
        let slot = self.files.insert(FileSlot::InFlight(None));
        self.uring.start(Target::File(slot), operation);
        slot
    }

    pub(super) fn start_linked_files(&mut self, first: Operation, second: Operation) -> (u32, u32) {
        let slots =
            (self.files.insert(FileSlot::InFlight(None)), self.files.insert(FileSlot::InFlight(None)));
        self.uring.start_linked((Target::File(slots.0), first), (Target::File(slots.1), second));
        slots
    }

    pub(super) fn file_completed(&mut self, slot: u32, completion: Completion) {
        let operation = completion.ended.expect("a file operation completes once");
        let place = self.files.get_mut(slot).expect("a slot stays until its operation has ended");
        let claimed = match mem::replace(place, FileSlot::Abandoned) {
            FileSlot::Abandoned => {
                self.files.remove(slot);
                return;
            }
            FileSlot::InFlight(Some(waker)) => {
                self.files_awaited -= 1;
                self.wakers.push(waker);
                Claimed::Yes
            }
            FileSlot::InFlight(None) => {
                self.files_unclaimed += 1;
                self.files_news = true;
                Claimed::No
            }
            FileSlot::Done(..) => unreachable!("a file operation completes once"),
        };
        *place = FileSlot::Done((completion.result, operation), claimed);
    }

    fn poll_file(&mut self, slot: u32, waker: &Waker) -> Poll<FileOutcome> {
        let place = self.files.get_mut(slot).expect("a slot stays until its future has picked it up");
        if let FileSlot::InFlight(known) = place {
            // A no-op waker says: I shall look again by myself, do not wake me.
            let waker = (!waker.will_wake(Waker::noop())).then(|| waker.clone());
            self.files_awaited -= usize::from(known.is_some());
            self.files_awaited += usize::from(waker.is_some());
            *known = waker;
            return Poll::Pending;
        }
        match self.files.remove(slot) {
            Some(FileSlot::Done(outcome, claimed)) => {
                self.claim(claimed);
                Poll::Ready(outcome)
            }
            _ => unreachable!("checked above, and abandoned only by its future's end"),
        }
    }

    /// A finished operation has been picked up: once that holds for all, they are no news.
    fn claim(&mut self, claimed: Claimed) {
        if claimed == Claimed::No {
            self.files_unclaimed -= 1;
            self.files_news &= self.files_unclaimed > 0;
        }
    }

    fn abandon_file(&mut self, slot: u32) {
        match self.files.get_mut(slot) {
            Some(place @ FileSlot::InFlight(_)) => {
                if let FileSlot::InFlight(Some(_)) = mem::replace(place, FileSlot::Abandoned) {
                    self.files_awaited -= 1;
                }
            }
            _ => {
                if let Some(FileSlot::Done(_, claimed)) = self.files.remove(slot) {
                    self.claim(claimed);
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
        let outcome = self.core.with(|state| state.poll_file(slot, context.waker()));
        match outcome {
            Poll::Ready(_) => self.slot = None,
            Poll::Pending if context.waker().will_wake(Waker::noop()) => {}
            Poll::Pending => self.core.want_pump(),
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
