//! The Raft core: no I/O, no clock, no payload bytes.
