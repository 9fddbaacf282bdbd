//! The log against a model, on a disk that loses what a disk may lose.
//!
//! The numbers of invariants in the tests' comments are those of the table in `docs/TESTING.md`.

mod copies;
mod crashes;
mod damage;
mod every_io;
mod found;
mod harness;
mod incarnations;
mod indexes;
mod inspect;
mod lost;
mod marks;
mod measures;
mod once_per_use;
mod pipeline;
mod racing_reads;
mod reading;
mod real;
mod refused;
mod space;
mod tiers;
