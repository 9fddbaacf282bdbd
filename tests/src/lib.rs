//! What the tests stand on: the simulator's parts, checkers, and the harness for real processes.
//!
//! Nothing here is used by the server, and nothing of the server's protocol code is used here: a
//! client that shared its parser with the server would agree with it even where both are wrong.
//!
//! - [`history`]: what clients saw, operation by operation.
//! - [`checkers`]: whether what they saw is allowed.
//! - [`client`]: a small blocking RESP client.
//! - [`disk`]: a disk in memory that loses, tears and fails on demand.
//! - [`probes`]: how long groups of a real cluster are silent.
//! - [`process`]: clusters of real processes that can be killed, frozen and restarted.
//! - [`switch`]: a network of namespaces that can be broken in every way.
//! - [`soak`]: long runs of real clusters under random faults.
//! - [`workload`]: clients that write, read and record while a test breaks things.
//! - [`poll`]: the only place that waits by sleeping.

pub mod checkers;
pub mod client;
pub mod core_sim;
pub mod disk;
pub mod history;
pub mod node_sim;
pub mod poll;
pub mod probes;
pub mod process;
pub mod switch;
pub mod soak;
pub mod workload;
