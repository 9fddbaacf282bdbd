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

pub(crate) mod session;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

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
    /// Requests per second and client, at most: the checkers want long histories, not dense ones.
    pub rate: u32,
    /// How long a client waits for a reply before it gives up on the connection.
    pub timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { seed: 0, clients: 6, keys: 8, rate: 200, timeout: Duration::from_secs(6) }
    }
}

/// What one client brings home.
#[derive(Default)]
struct Brought {
    operations: Vec<Operation>,
    durable: Vec<(Bytes, Bytes)>,
    faults: Vec<String>,
}

/// What clients and the test share.
struct Shared {
    plan: Plan,
    targets: Vec<SocketAddr>,
    clock: Clock,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// Running clients.
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Brought>>,
}

impl Workload {
    /// Starts the clients of `plan` on `targets`.
    pub fn start(targets: Vec<SocketAddr>, plan: Plan) -> Workload {
        let shared = Arc::new(Shared {
            targets,
            clock: Clock::default(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
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

    /// Ends the clients and collects what they recorded.
    ///
    /// # Panics
    ///
    /// If a client thread panicked.
    pub fn stop(mut self) -> Recorded {
        self.shared.stop.store(true, Ordering::Relaxed);
        let joined = self.threads.drain(..).map(|thread| thread.join().expect("a client thread panicked"));
        let mut all = Brought::default();
        for brought in joined {
            all.operations.extend(brought.operations);
            all.durable.extend(brought.durable);
            all.faults.extend(brought.faults);
        }
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
