//! The log against a model, on a disk that loses what a disk may lose.
//!
//! The numbers in the tests' comments are the invariants of the design: see `raftlog/FORMAT.md`.

mod crashes;
mod harness;
