//! A replicated storage engine.

pub mod kv;
pub mod state_machine;
