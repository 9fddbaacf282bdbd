//! Disk work that goes on while something else is done.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::error::SnapshotError;

type Outcome<T> = Result<T, SnapshotError>;

/// Work that has begun.
pub(crate) enum Begun<'a, T> {
    UnderWay(Pin<Box<dyn Future<Output = Outcome<T>> + 'a>>),
    Done(Outcome<T>),
}

impl<'a, T> Begun<'a, T> {
    /// Futures do nothing before they are polled for the first time.
    pub async fn new(work: impl Future<Output = Outcome<T>> + 'a) -> Begun<'a, T> {
        let mut work: Pin<Box<dyn Future<Output = Outcome<T>> + 'a>> = Box::pin(work);
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(outcome) => Begun::Done(outcome),
            Poll::Pending => Begun::UnderWay(work),
        }
    }

    pub async fn end(self) -> Outcome<T> {
        match self {
            Begun::UnderWay(work) => work.await,
            Begun::Done(outcome) => outcome,
        }
    }
}
