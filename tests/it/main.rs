//! Every integration test of the project, in one binary.

mod backups;
mod bad_disk;
mod bad_input;
mod clients;
mod core_sim;
mod crowds;
mod data_dir;
mod founding;
mod harness;
mod kill;
mod log_tool;
mod membership;
mod metrics;
mod node_sim;
mod partitions;
mod pauses;
mod power;
mod raftlog;
mod rest;
mod returning;
mod rotten;
mod scripted_sim;
mod service;
mod snapshot_life;
mod snapshot_tool;
mod tidy;
