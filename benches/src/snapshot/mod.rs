//! Snapshot files beside other people's stores that serve reads from files.

mod data;
mod ours;
mod reads;
mod theirs;

use std::path::Path;
use std::time::Duration;

/// How long, how often, and on how much.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rounds that count; ratios are medians over them.
    pub rounds: u32,
    /// What each side does in each round.
    pub slice: Duration,
    /// Keys of 16 bytes with values of 128.
    pub keys: u32,
}

/// What `compare snapshot` measures, one part after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Point reads from a resident file, beside redb and fjall with caches that hold everything.
    Reads,
}

/// All of them.
pub const PARTS: [Part; 1] = [Part::Reads];

/// Measures `parts` in `dir` and prints tables and the lines that others read.
///
/// # Errors
/// The disk, or one of the others.
pub fn run(dir: &Path, settings: Settings, parts: &[Part]) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for part in parts {
        println!("{part:?}");
        lines.extend(match part {
            Part::Reads => reads::run(dir, settings)?,
        });
    }
    println!();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
