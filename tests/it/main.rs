//! Every integration test of the project, in one binary.

mod bad_input;
mod clients;
mod core_sim;
mod data_dir;
mod harness;
mod kill;
mod membership;
mod raftlog;
mod rest;
mod tidy;
