//! What a thread of the pool is given to run, and what became of it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use glommio::TaskQueueHandle;

use super::{Background, Context, ShardPanicked, ShardSpec, panic_message};
use crate::Ring;

pub(super) type Main = Box<dyn FnOnce(Context) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// One run of a shard.
pub(super) struct Job {
    pub(super) spec: ShardSpec,
    pub(super) main: Main,
    pub(super) outcome: Arc<Outcome>,
}

/// Whether and how a shard has ended.
#[derive(Default)]
pub(super) struct Outcome {
    result: Mutex<Option<Result<(), ShardPanicked>>>,
    known: Condvar,
}

impl Outcome {
    pub(super) fn wait(&self) -> Result<(), ShardPanicked> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match result.take() {
                Some(known) => return known,
                None => result = self.known.wait(result).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn report(&self, result: Result<(), ShardPanicked>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.known.notify_all();
    }
}

/// Runs a shard to its end and clears away what it leaves: background work, sockets, I/O in flight.
pub(super) async fn run(
    main: Main,
    name: &str,
    ring: &Ring,
    queue: TaskQueueHandle,
) -> Result<(), ShardPanicked> {
    let background = Background::new(queue, Rc::clone(ring.core()));
    let context = Context::new(ring.clone(), Rc::clone(&background));
    let result = match catch_unwind(AssertUnwindSafe(|| main(context))) {
        Ok(future) => background.run_main(future).await,
        Err(panic) => Err(panic_message(&*panic)),
    };
    background.close().await;
    ring.core().drain().await;
    result.map_err(|message| ShardPanicked { shard: name.to_owned(), message })
}
