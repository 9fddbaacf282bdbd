//! A replicated storage engine.

pub mod kv;
pub mod resp;
pub mod state_machine;
