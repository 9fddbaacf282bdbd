//! Shards: threads with an executor each, what runs on them, and how they end.

mod background;
mod job;
mod worker;

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

pub(crate) use background::Background;
pub use worker::spawn_shard;

use crate::{RealDisk, Ring, watchdog::Watched};
use job::Outcome;

/// How long background work that has time rests between slices of at most a millisecond while the main loop is busy.
pub const REST: Duration = Duration::from_millis(2);

/// What a shard thread is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardSpec {
    /// The name of the thread; the system shows its first 15 bytes.
    pub name: String,
    /// The core to run on, and no other. A core that is not among [`allowed_cpus`](crate::allowed_cpus), or a refusal,
    /// leaves the shard unpinned: slower perhaps, but working.
    pub cpu: Option<usize>,
}

/// The shard's main future, or background work of it, panicked. The shard has been ended; nothing it held is in use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("shard {shard} panicked: {message}")]
pub struct ShardPanicked {
    /// The shard's name.
    pub shard: String,
    /// What the panic said.
    pub message: String,
}

/// A running shard. Dropping it does not end the shard.
pub struct ShardThread {
    outcome: Arc<Outcome>,
    watched: Arc<Watched>,
}

impl ShardThread {
    /// Blocks until the shard's main future has ended, its background work has been cancelled, and all its sockets and
    /// I/O have come to an end. Not to be called on a shard thread: it would block that shard.
    ///
    /// # Errors
    ///
    /// When the shard panicked.
    pub fn join(self) -> Result<(), ShardPanicked> {
        self.outcome.wait()
    }

    /// Whether [`ShardThread::join`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_known()
    }

    /// How many times the watchdog has found this shard's thread asleep although it had something to do, over the life
    /// of the thread. See [`rescues`](crate::rescues).
    pub fn rescues(&self) -> u64 {
        self.watched.rescues()
    }
}

impl fmt::Debug for ShardThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardThread").field("finished", &self.is_finished()).finish()
    }
}

/// What a shard's main future works with. Clones are the same; it stays on its thread.
#[derive(Clone)]
pub struct Context {
    ring: Ring,
    disk: RealDisk,
    background: Rc<Background>,
}

impl Context {
    fn new(ring: Ring, background: Rc<Background>) -> Context {
        Context { disk: RealDisk::new(ring.clone()), ring, background }
    }

    /// The shard's ring.
    pub fn ring(&self) -> Ring {
        self.ring.clone()
    }

    /// The file system, on the shard's ring. All of a shard's clones share the sync mode.
    pub fn disk(&self) -> RealDisk {
        self.disk.clone()
    }

    /// Runs `work` beside the main future, at low priority. It is cancelled when the main future ends; should it panic,
    /// the shard ends with that panic. Work that computes calls [`Context::pause`] between slices of at most 1 ms.
    ///
    /// Does nothing once the shard has ended.
    pub fn spawn_background(&self, work: impl Future<Output = ()> + 'static) {
        self.background.spawn(work);
    }

    /// Lets the main loop go first: returns when it is idle, or after about `rest` if it is not, and once it has run in any case.
    /// [`REST`] for what has time. Only for background work.
    pub async fn pause(&self, rest: Duration) {
        self.ring.core().pause(rest).await;
    }

    /// Runs `work` on a thread that may block. One such thread serves the whole shard, so nothing takes it for more than some
    /// milliseconds at a time. A panic goes on in the caller.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let done = blocking(&self.ring, move || Ok(work())).await;
        done.expect("it never fails")
    }

    /// How many times the watchdog has found this thread asleep although it had something to do.
    pub fn rescues(&self) -> u64 {
        self.ring.core().watched().rescues()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

/// Runs `work` on a thread that may block, for what no ring does. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(
    ring: &Ring,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _blocking = ring.core().watched().blocking();
    // A panic that reached glommio's thread would end it, and leave the caller waiting for ever.
    let work = move || catch_unwind(AssertUnwindSafe(work));
    glommio::executor().spawn_blocking(work).await.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What a caught panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
