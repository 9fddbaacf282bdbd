//! The only unsafe code of the crate: memory that the kernel works on while an operation is in flight, and a signal handler.
//!
//! [`Uring`] is a safe ring: whoever starts an [`Operation`] gives away all memory and file descriptors it uses, and
//! gets them back with its completion, never before.
#![allow(unsafe_code)]

mod eventfd;
mod lent;
mod operation;
mod receive_pool;
mod sigbus;
mod uring;

pub(crate) use eventfd::EventfdReader;
pub(crate) use lent::{Lent, Pinned};
pub(crate) use operation::{Gathered, Operation, Target};
pub use receive_pool::ReceivedBuffer;
pub use sigbus::end_on_sigbus;
pub(crate) use uring::{Completion, Uring, probe_ring};
