//! Shard threads.
use crate::{RealDisk, Ring, StartError};
use std::future::Future;
/// What a shard thread is to be.
#[derive(Clone, Debug)]
pub struct ShardSpec {
    /// Name of the thread.
    pub name: String,
    /// The core to pin it to, if any. Not pinned when that is refused.
    pub cpu: Option<usize>,
}
/// The main future of the shard, or background work of it, panicked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("shard {shard} panicked: {message}")]
pub struct ShardPanicked {
    /// The shard's name.
    pub shard: String,
    /// What the panic said.
    pub message: String,
}
/// A running shard.
pub struct ShardThread {}
/// What a shard's main future works with.
#[derive(Clone)]
pub struct Context {}

#[allow(clippy::unimplemented, unused_variables, missing_docs, reason = "bodies follow")]
pub fn spawn_shard<F, Fut>(spec: ShardSpec, main: F) -> Result<ShardThread, StartError>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    unimplemented!()
}
#[allow(clippy::unimplemented, missing_docs, reason = "bodies follow")]
impl ShardThread {
    pub fn join(self) -> Result<(), ShardPanicked> {
        unimplemented!()
    }
    pub fn is_finished(&self) -> bool {
        unimplemented!()
    }
}
#[allow(clippy::unimplemented, unused_variables, missing_docs, reason = "bodies follow")]
impl Context {
    pub fn ring(&self) -> Ring {
        unimplemented!()
    }
    pub fn disk(&self) -> RealDisk {
        unimplemented!()
    }
    pub fn spawn_background(&self, work: impl Future<Output = ()> + 'static) {
        unimplemented!()
    }
    pub async fn pause(&self) {
        unimplemented!()
    }
}
