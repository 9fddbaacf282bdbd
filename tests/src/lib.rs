//! The simulator's parts, checkers, and every integration test.
