//! A replicated storage engine.
