//! The log against a model, on a disk that loses what a disk may lose.
//!
//! The numbers in the tests' comments are those of "What must hold" in `raftlog/FORMAT.md`.

mod crashes;
mod damage;
mod found;
mod harness;
mod indexes;
mod inspect;
mod lost;
mod marks;
mod measures;
mod pipeline;
mod reading;
mod real;
mod refused;
mod space;
mod tiers;
