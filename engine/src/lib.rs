//! A replicated storage engine.

pub mod node;
