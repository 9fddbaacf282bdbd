//! Scenarios that need a table or a loop. Those that are stories are in `tests/traces`. Which scenario
//! is shown where is in SCENARIOS.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../stage/mod.rs"]
mod stage;

mod appends;
mod calls;
mod confchange;
mod durability;
mod graphs;
mod leaders;
mod lives;
mod members;
mod reads;
mod rest;
mod restarts;
mod snapshots;
mod timeouts;
mod votes;
