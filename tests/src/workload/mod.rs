//! Clients that write, read and record while a test breaks things, and the judgement of what they saw.
//!
//! Each client is a thread with a recorder of its own. It takes any node, keeps to it until the connection
//! breaks, and never repeats a request. Keys come in families, by their first letter, because the checkers
//! can say more about keys that are used in one way:
//!
//! | key | requests | judged by |
//! |---|---|---|
//! | `r..` | GET, SET | search |
//! | `d..` | GET, SET, DEL | search |
//! | `c..` | GET, INCRBY | search |
//! | `p..` | SET and GET in one write, one client per key | search; the GET sees the SET |
//! | `l..` | GET, APPEND of a unique token | append list |
//! | `w..` | SET once per key | what was acknowledged is there at the end |
//!
//! A run of many hours cannot keep what it recorded. With [`Plan::window`] the clients take new keys every so often, and
//! what they recorded about the old ones is handed over once all of them are done with it
//! ([`Workload::take_window`]): nothing more will be asked of those keys, so they are judged on their own.

pub(crate) mod session;
mod verdict;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::history::{Bytes, Clock, Operation};
pub use verdict::{Judgement, Recorded, judge};

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all choices. What the server's timing makes of them is not repeatable.
    pub seed: u64,
    /// Threads.
    pub clients: u32,
    /// Keys of each shared family.
    pub keys: usize,
    /// Writes of requests per second and client, at most: the checkers want long histories, not dense ones.
    pub rate: u32,
    /// How long a client waits for a reply before it gives up on the connection.
    pub timeout: Duration,
    /// Requests that a client sends in one write. With many keys to choose from, few of them meet at one.
    pub pipeline: usize,
    /// How long the clients use the same keys; `None`: for ever.
    pub window: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            seed: 0,
            clients: 6,
            keys: 8,
            rate: 200,
            timeout: Duration::from_secs(6),
            pipeline: 1,
            window: None,
        }
    }
}

/// What one client brings home.
#[derive(Default)]
struct Brought {
    operations: Vec<Operation>,
    durable: Vec<(Bytes, Bytes)>,
    faults: Vec<String>,
}

impl Brought {
    fn add(&mut self, more: Brought) {
        self.operations.extend(more.operations);
        self.durable.extend(more.durable);
        self.faults.extend(more.faults);
    }
}

/// What clients have brought home of one window, and how many of them.
type Parts = (u32, Brought);

/// What clients and the test share.
struct Shared {
    plan: Plan,
    targets: Mutex<Vec<SocketAddr>>,
    clock: Clock,
    started: Instant,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    /// Windows that some client is done with.
    windows: Mutex<BTreeMap<u64, Parts>>,
}

impl Shared {
    fn targets(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the window now.
    fn window(&self) -> u64 {
        let number = |window: Duration| self.started.elapsed().as_millis() / window.as_millis().max(1);
        self.plan.window.map_or(0, |window| u64::try_from(number(window)).unwrap_or(u64::MAX))
    }

    fn windows(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Parts>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is done with a window. Every client says so once of every window in which it began.
    fn hand_over(&self, window: u64, brought: Brought) {
        let mut windows = self.windows();
        let (parts, all) = windows.entry(window).or_default();
        *parts += 1;
        all.add(brought);
    }
}

/// Running clients.
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Starts the clients of `plan` on `targets`.
    pub fn start(targets: Vec<SocketAddr>, plan: Plan) -> Workload {
        let shared = Arc::new(Shared {
            targets: Mutex::new(targets),
            clock: Clock::default(),
            started: Instant::now(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            windows: Mutex::default(),
            plan,
        });
        let run = |number| {
            let shared = shared.clone();
            std::thread::spawn(move || session::run(&shared, number))
        };
        let threads = (0..shared.plan.clients).map(run).collect();
        Workload { shared, threads }
    }

    /// How many requests have been answered with success so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Where clients connect to from now on, when they have no connection.
    pub fn retarget(&self, targets: Vec<SocketAddr>) {
        *self.shared.targets() = targets;
    }

    /// What was recorded in the oldest window, once every client is done with it.
    pub fn take_window(&self) -> Option<Recorded> {
        let mut windows = self.shared.windows();
        let complete = windows.first_entry().filter(|window| window.get().0 == self.shared.plan.clients)?;
        Some(Recorded::new(self.shared.clock.clone(), complete.remove().1))
    }

    /// Ends the clients and collects what they recorded and nobody has taken.
    ///
    /// # Panics
    ///
    /// If a client thread panicked.
    pub fn stop(mut self) -> Recorded {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client thread panicked"));
        let mut all = Brought::default();
        std::mem::take(&mut *self.shared.windows()).into_values().for_each(|(_, brought)| all.add(brought));
        Recorded::new(self.shared.clock.clone(), all)
    }
}

impl Drop for Workload {
    /// A test that fails must not leave clients behind.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
