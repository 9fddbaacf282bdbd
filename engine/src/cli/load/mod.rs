//! The load client: drives any RESP server at full speed or at a fixed rate, measures honestly, and can check
//! that nothing acknowledged was lost.
//!
//! One thread is one `worker`: a poll loop over its connections, its share of the keys and of the rate.
//! Requests of one pass go out in one write per connection; the path of a request allocates nothing.
//!
//! **Honest latency.** With a rate, requests are due at times fixed in advance, and latency counts from that
//! time: a stall of the server is paid by every request due during it, not by the one that met it
//! (coordinated omission). Without a rate the loop is closed and latency counts from the send.
//!
//! **Verification** is described in [`ledger`].

pub mod gaps;
pub mod keys;
pub mod ledger;
pub mod report;
pub mod schedule;
pub mod stats;
pub mod verdict;
pub mod workload;

mod complete;
mod encode;
mod link;
pub(in crate::cli) mod routes;
mod run;
mod source;
mod worker;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use report::Report;
pub use run::{LoadError, run};
pub use workload::{Bound, Pace, Phase, Progress, Workload};
