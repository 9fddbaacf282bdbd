//! The simulator's parts, checkers, and every integration test.
pub mod disk;
