//! Where the nodes of a life keep the few small files beside their shards' data: a directory in memory that goes with the
//! life. Those files have tests of their own; here they are always durable.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A file system in memory, where there is one.
const IN_MEMORY: &str = "/dev/shm";

/// The directory of one life.
pub struct Home(TempDir);

impl Home {
    /// A new one.
    ///
    /// # Panics
    /// If no directory can be made: then nothing can be simulated.
    pub fn new() -> Home {
        let in_memory = Path::new(IN_MEMORY);
        let builder = || tempfile::Builder::new().prefix("ringraft-sim-").to_owned();
        let made = if in_memory.is_dir() { builder().tempdir_in(in_memory) } else { builder().tempdir() };
        Home(made.expect("a temporary directory"))
    }

    /// The directory of a machine's disk of this life of it.
    pub fn dir(&self, machine: usize, life: u64) -> PathBuf {
        self.0.path().join(format!("machine-{machine}-{life}"))
    }

    /// The directory of a backup.
    pub fn backup(&self, number: u64) -> PathBuf {
        self.0.path().join(format!("backup-{number}"))
    }

    /// What is the same in no two runs.
    pub fn prefix(&self) -> String {
        self.0.path().display().to_string()
    }
}
