//! The process-wide pool of shard threads.
//!
//! A glommio executor that ends leaks its pending tasks with their descriptors, and wakers that other threads still
//! hold would be used after they are freed. So no executor ever ends: a thread whose shard is done waits for the next
//! one, and its bell, rescue and pump tasks live as long as the process. A job reaches it through its doorbell, not
//! through a waker.

use std::{
    ffi::CString,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use glommio::{
    Latency, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle,
};

use super::{
    Context, ShardSpec, ShardThread,
    job::{self, Job, Outcome},
    panic_message,
};
use crate::{
    Doorbell, Ring, StartError,
    doorbell::Bell,
    host, refusal,
    ring::Core,
    sys::{EventfdReader, Uring},
    watchdog::{self, Watched},
};

/// glommio's own buffers, of which nothing here makes use: its minimum.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Threads per shard that may block.
const BLOCKING_THREADS: usize = 2;
/// glommio's own value. With a much smaller one its executor parks with runnable tasks within seconds: see
/// [`watchdog`].
const PREEMPT_EVERY: Duration = Duration::from_millis(100);
/// How long a thread may take to start, and how often that is tried.
const START_PATIENCE: Duration = Duration::from_secs(2);
const START_ATTEMPTS: usize = 5;
/// The weight of background work against the main loop's 1000.
const BACKGROUND_SHARES: usize = 100;

static IDLE: Mutex<Vec<Arc<Worker>>> = Mutex::new(Vec::new());

/// What other threads hold of a thread of the pool.
struct Worker {
    doorbell: Doorbell,
    watched: Arc<Watched>,
    job: Mutex<Option<Job>>,
}

/// Runs `main` as a shard: on a thread of its own with an executor and a ring, taken from the process-wide pool or made
/// new. When `main`'s future ends or panics, its background work is cancelled, everything on its ring is brought to an
/// end, and the thread goes back to the pool.
///
/// # Errors
///
/// When no thread, ring or executor could be made; the message says what to change. [`check_host`](crate::check_host)
/// finds most of these beforehand.
pub fn spawn_shard<F, Fut>(spec: ShardSpec, main: F) -> Result<ShardThread, StartError>
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let idle = lock(&IDLE).pop();
    let worker = match idle {
        Some(worker) => worker,
        None => {
            watchdog::start().map_err(|error| {
                StartError::Thread(format!("cannot start the watchdog's thread: {error}"))
            })?;
            start_worker(PREEMPT_EVERY)?
        }
    };
    let main: job::Main = Box::new(move |context| Box::pin(main(context)));
    Ok(give(&worker, spec, main))
}

/// Gives an idle thread a shard to run.
fn give(worker: &Worker, spec: ShardSpec, main: job::Main) -> ShardThread {
    let outcome = Arc::new(Outcome::default());
    let job = Job { spec, main, outcome: Arc::clone(&outcome) };
    worker.watched.set_working(true);
    watchdog::wake();
    *lock(&worker.job) = Some(job);
    worker.doorbell.ring();
    ShardThread { outcome, watched: Arc::clone(&worker.watched) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No code that could panic halfway through a change runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Ready = mpsc::Sender<Result<Arc<Worker>, StartError>>;

/// Starts a thread of the pool. Its executor may park with runnable tasks before even the first of them has run, and
/// then there is nothing yet that could wake it: so after a while another thread is tried. Should the first merely be
/// slow, it goes to the pool when it is ready.
fn start_worker(preempt_every: Duration) -> Result<Arc<Worker>, StartError> {
    for _ in 0..START_ATTEMPTS {
        let (ready, started) = mpsc::channel();
        std::thread::Builder::new()
            .name("ringraft-shard".into())
            .spawn(move || match make_worker(preempt_every) {
                Ok((executor, worker, ring)) => run_worker(&executor, worker, ring, ready),
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|error| StartError::Thread(format!("cannot start a shard's thread: {error}")))?;
        match started.recv_timeout(START_PATIENCE) {
            Ok(result) => return result,
            Err(error) => tracing::warn!(%error, "a shard's thread does not start: trying another"),
        }
    }
    Err(StartError::Thread("the machine is too busy to start a shard's thread".into()))
}

/// Makes all that a thread of the pool needs, on that thread. The ring first: where io_uring is missing or forbidden it
/// fails with an error, and glommio would panic.
fn make_worker(preempt_every: Duration) -> Result<(LocalExecutor, Arc<Worker>, Ring), StartError> {
    let bell = Bell::new().map_err(|error| refusal::ring_error(&error.into()))?;
    let bell = Arc::new(bell);
    let uring =
        Uring::new(rustix::fd::AsFd::as_fd(bell.eventfd())).map_err(|error| refusal::ring_error(&error))?;
    let descriptor = uring.descriptor().map_err(|error| refusal::ring_error(&error))?;
    let watched = Arc::new(Watched::new(Arc::clone(&bell), descriptor));
    host::check_memlock()?;
    let make = || {
        LocalExecutorBuilder::new(Placement::Unbound)
            .name("ringraft-shard")
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(preempt_every)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make()
    };
    let executor = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(Ok(executor)) => executor,
        Ok(Err(error)) => return Err(StartError::Executor(error.to_string())),
        Err(panic) => return Err(StartError::Executor(panic_message(&*panic))),
    };
    let bell_eventfd = bell.ring_eventfd().try_clone().map_err(|error| refusal::ring_error(&error))?;
    let core = Core::new(uring, bell, bell_eventfd, Arc::clone(&watched));
    let ring = Ring::new(core);
    let worker = Arc::new(Worker { doorbell: ring.doorbell(), watched, job: Mutex::new(None) });
    Ok((executor, worker, ring))
}

/// Never returns.
fn run_worker(executor: &LocalExecutor, worker: Arc<Worker>, ring: Ring, ready: Ready) {
    let run = AssertUnwindSafe(|| executor.run(serve(worker, ring, ready)));
    let Err(panic) = catch_unwind(run);
    // All code of a shard runs under `catch_panic`; this is a fault of the executor, which cannot be gone on with.
    eprintln!("fatal: a shard's executor panicked: {}", panic_message(&*panic));
    std::process::abort();
}

/// The life of a thread of the pool.
async fn serve(worker: Arc<Worker>, ring: Ring, ready: Ready) -> std::convert::Infallible {
    start_immortal_tasks(&ring);
    watchdog::watch(Arc::clone(&worker.watched));
    if ready.send(Ok(Arc::clone(&worker))).is_err() {
        lock(&IDLE).push(Arc::clone(&worker));
    }
    let queue = glommio::executor().create_task_queue(
        Shares::Static(BACKGROUND_SHARES),
        Latency::NotImportant,
        "background",
    );
    loop {
        let job = lock(&worker.job).take();
        match job {
            Some(job) => run_job(job, &worker, &ring, queue).await,
            None => ring.wait().await,
        }
    }
}

async fn run_job(job: Job, worker: &Arc<Worker>, ring: &Ring, queue: TaskQueueHandle) {
    let Job { spec, main, outcome } = job;
    set_thread_name(&spec.name);
    host::pin_thread(spec.cpu);
    let result = job::run(main, &spec.name, ring, queue).await;
    set_thread_name("ringraft-idle");
    worker.watched.set_working(false);
    // Before the report: whoever joins this shard and starts the next one gets this thread.
    lock(&IDLE).push(Arc::clone(worker));
    outcome.report(result);
}

fn set_thread_name(name: &str) {
    // A name is for people: one with a zero byte is not worth an error.
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// The tasks that live as long as the thread: see [`Core`] and [`watchdog`].
fn start_immortal_tasks(ring: &Ring) {
    let core = Rc::clone(ring.core());
    let bell = reader(core.bell().eventfd());
    glommio::spawn_local(async move {
        loop {
            bell.signalled().await;
            core.on_bell();
        }
    })
    .detach();
    let core = Rc::clone(ring.core());
    glommio::spawn_local(async move { core.rescue().await }).detach();
    let core = Rc::clone(ring.core());
    glommio::spawn_local(async move { core.pump().await }).detach();
}

fn reader(eventfd: &std::os::fd::OwnedFd) -> EventfdReader {
    match eventfd.try_clone() {
        Ok(eventfd) => EventfdReader::new(eventfd),
        Err(error) => {
            eprintln!("fatal: duplicating a shard's eventfd failed: {error}");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::now;

    /// With a preemption timer of 200 us the executor parks with runnable tasks every few thousand turns, for ever
    /// unless it is woken: the watchdog must do that each time.
    #[test]
    fn the_watchdog_wakes_an_executor_that_parks_with_runnable_tasks() {
        watchdog::start().unwrap();
        let worker = start_worker(Duration::from_micros(200)).unwrap();
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, turned) = (Arc::clone(&stop), Arc::clone(&turns));
        let spec = ShardSpec { name: "soak".into(), cpu: None };
        let main: job::Main = Box::new(move |context| {
            Box::pin(async move {
                let (ring, pauser) = (context.ring(), context.clone());
                context.spawn_background(async move {
                    loop {
                        pauser.pause(crate::REST).await;
                    }
                });
                while !stopped.load(Ordering::Relaxed) {
                    ring.set_timer(now() + Duration::from_micros(150));
                    ring.wait().await;
                    turned.fetch_add(1, Ordering::Relaxed);
                    let end = now() + Duration::from_micros(50);
                    while now() < end {
                        std::hint::spin_loop();
                    }
                }
            })
        });
        let shard = give(&worker, spec, main);
        let end = now() + Duration::from_secs(120);
        // Until it has been seen to work, or so many turns went well that the executor must have been cured.
        while shard.rescues() < 3 && turns.load(Ordering::Relaxed) < 50_000 {
            assert!(now() < end, "{} turns, {} rescues", turns.load(Ordering::Relaxed), shard.rescues());
            worker.doorbell.ring();
            std::thread::park_timeout(Duration::from_micros(50));
        }
        println!("{} rescues in {} turns", shard.rescues(), turns.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        worker.doorbell.ring();
        shard.join().unwrap();
    }
}
