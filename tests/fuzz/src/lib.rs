//! Fuzz targets: one function per decoder that reads what a client, a peer or a disk may hold.
//!
//! A target is an ordinary function of bytes that panics when something is wrong. So libFuzzer runs it (the binary
//! `fuzz-engine`), and `cargo test` runs it over the kept corpora and the seeds. What each asserts beyond "no panic":
//! what decodes can be encoded again and decodes to the same, and the same bytes in pieces give the same as whole.
//!
//! - [`targets`]: the targets, and [`TARGETS`], the list of them.
//! - [`feed`], [`patches`]: from the fuzzer's bytes to values and to damaged files.
//! - [`disk`]: files in memory.
//! - [`campaign`]: builds and runs the fuzzer.

pub mod campaign;
pub mod disk;
pub mod feed;
pub mod patches;
pub mod targets;

use std::io;
use std::path::{Path, PathBuf};

pub use targets::TARGETS;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of its corpus, and on the command line.
    pub name: &'static str,
    /// Panics when something is wrong with what it makes of the bytes.
    pub run: fn(&[u8]),
    /// Inputs made by the real encoders, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longer inputs are not tried.
    pub bytes_max: usize,
    /// More memory at a time is a finding: a length field must not be able to ask for it.
    pub memory_mib_max: u64,
}

impl Target {
    /// Finds a target by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs it on `data` and bounds the memory that takes.
    ///
    /// # Panics
    /// If that is a finding.
    pub fn check(&self, data: &[u8]) {
        let used = allocation_counter::measure(|| (self.run)(data));
        let bytes_max = self.memory_mib_max << 20;
        assert!(
            used.bytes_max <= bytes_max,
            "{} bytes of memory for {} of input",
            used.bytes_max,
            data.len()
        );
    }

    /// The folder of its kept corpus.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// The inputs of its kept corpus, by name.
    ///
    /// # Errors
    /// The folder cannot be read; that there is none is no error.
    pub fn kept(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut kept = Vec::new();
        let entries = match std::fs::read_dir(self.corpus()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            kept.push((name, std::fs::read(&path)?));
        }
        kept.sort();
        Ok(kept)
    }
}
