//! The shard's pool of receive buffers.
use std::ops::Deref;
/// Bytes received into one of the shard's pooled buffers, which goes back to the pool on drop.
#[derive(Debug)]
pub struct ReceivedBuffer {
    bytes: Vec<u8>,
}
impl Deref for ReceivedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
