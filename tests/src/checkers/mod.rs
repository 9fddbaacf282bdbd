//! Judges of histories. A checker answers one of three things and never mixes them up: allowed, a
//! violation with the shortest evidence it finds, or undecided because its budget ran out.
//!
//! - [`linearizable`]: any mix of requests on a key, by search.
//! - [`append_list`]: keys that are only appended to and read, in linear time.
//! - [`witness`]: everything, where the order of the log is known.

pub mod append_list;
pub mod linearizable;
mod prepare;
mod search;
mod table;
mod values;
pub mod witness;
