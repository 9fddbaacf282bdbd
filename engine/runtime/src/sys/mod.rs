//! The only unsafe code of the crate.
mod receive_pool;
pub use receive_pool::ReceivedBuffer;
