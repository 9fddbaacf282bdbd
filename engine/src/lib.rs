//! A replicated storage engine.

#[cfg(feature = "cli")]
pub mod cli;
