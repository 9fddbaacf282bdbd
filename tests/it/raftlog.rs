//! The log against a model, on a disk that loses what a disk may lose.
//!
//! The numbers of invariants in the tests' comments are those of the table in `docs/TESTING.md`.

mod copies;
mod crashes;
mod damage;
mod every_io;
mod harness;
mod incarnations;
mod indexes;
mod inspect;
mod marks;
mod once_per_use;
mod pipeline;
mod racing_reads;
mod reading;
mod real;
mod space;
mod tiers;
