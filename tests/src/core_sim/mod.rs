//! The Raft core under simulation: random lives of small clusters, judged after every step by
//! [`checks`] and followed step by step by a naive Raft, [`spec`]. See `docs/TESTING.md`.

pub mod beats;
pub mod calm;
pub mod chaos;
pub mod checks;
pub mod disk;
pub mod exhaustive;
pub mod graphs;
pub mod input;
pub mod machine;
pub mod mutants;
pub mod node;
pub mod operator;
pub mod profile;
pub mod run;
pub mod spec;
pub mod trace;
pub mod violation;
pub mod world;
