//! Every integration test of the project, in one binary.

mod bad_disk;
mod bad_input;
mod clients;
mod core_sim;
mod data_dir;
mod kill;
mod membership;
mod power;
mod raftlog;
mod rest;
mod tidy;
