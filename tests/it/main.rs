//! Every integration test of the project, in one binary.

mod clients;
mod kill;
