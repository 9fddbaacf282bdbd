//! Snapshots beside other people's stores that serve reads from files, beside plain copies of files, and in whole nodes.

mod amplification;
mod catch_up;
mod data;
mod files;
mod foreground;
mod handle;
mod large;
mod merge;
mod nodes;
mod ours;
mod reads;
mod restart;
mod stream;
mod theirs;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::disk::Device;
use crate::host;

/// How long, how often, and on how much.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Rounds that count; the ratios are medians over them.
    #[arg(long, default_value_t = 7)]
    pub rounds: u32,
    /// Seconds of each side in a round of reads.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    pub seconds: Duration,
    /// Keys of 16 bytes, with values of 128, in the files that are read, merged and sent.
    #[arg(long, default_value_t = 2_000_000)]
    pub keys: u32,
    /// The data of the nodes that are restarted, in MiB of keys and values, growing.
    #[arg(long, value_delimiter = ',', default_values_t = [256, 1024])]
    pub restart_mib: Vec<u64>,
    /// Restarts with each of them.
    #[arg(long, default_value_t = 4)]
    pub restarts: u16,
    /// The data that is overwritten to count what a node writes, in MiB of keys and values.
    #[arg(long, default_value_t = 1024)]
    pub overwrite_mib: u64,
    /// The data of the one large node, in MiB of keys and values.
    #[arg(long, default_value_t = 16 << 10)]
    pub large_mib: u64,
    /// Of its keys, one in so many is overwritten.
    #[arg(long, default_value_t = 2)]
    pub large_overwritten_parts: u64,
    /// The data of a node that merges under load, in MiB of keys and values.
    #[arg(long, default_value_t = 512)]
    pub foreground_mib: u64,
    /// Writes while a node is away, to as many keys.
    #[arg(long, default_value_t = 1_000_000)]
    pub writes: u64,
    /// Returns of that node.
    #[arg(long, default_value_t = 3)]
    pub returns: u16,
    /// Merges under load.
    #[arg(long, default_value_t = 5)]
    pub merges: u16,
    /// Requests per second where latencies are measured.
    #[arg(long, default_value_t = 10_000.0)]
    pub rate: f64,
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// What `compare snapshot` measures, one part after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Point reads from resident files, beside redb and fjall with caches that hold everything.
    Reads,
    /// Point reads through a handle of the library, beside redb and fjall called directly.
    Handle,
    /// Merging two files, beside dd.
    Merge,
    /// Sending a file over loopback, beside cp and sync.
    Stream,
    /// What a node writes for each byte that is overwritten.
    Amplification,
    /// A node that was away while its peers took writes and let go of their log.
    CatchUp,
    /// A killed node's way back to the first answer, and its memory then.
    Restart,
    /// Latencies while files are merged.
    Foreground,
    /// One node with more data than memory: what it writes, and its way back. Half an hour, and 50 GB of disk.
    Large,
}

/// All of them that take minutes.
pub const PARTS: [Part; 8] = [
    Part::Reads,
    Part::Handle,
    Part::Merge,
    Part::Stream,
    Part::Amplification,
    Part::CatchUp,
    Part::Restart,
    Part::Foreground,
];

/// Takes what is clean of a file, or of all files below a directory, out of the page cache.
fn forget_cache(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            forget_cache(&entry?.path())?;
        }
        return Ok(());
    }
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Measures `parts` in `dir` and prints tables and the lines that others read.
///
/// # Errors
/// The disk, one of the others, or a node.
pub fn run(dir: &Path, settings: &Settings, parts: &[Part]) -> anyhow::Result<()> {
    println!("{}, load average {}", Device::of(dir)?.describe(), host::load_average()?);
    let mut lines = Vec::new();
    for part in parts {
        let place = dir.join(format!("{part:?}").to_lowercase());
        std::fs::create_dir(&place)?;
        println!("\n{part:?}");
        lines.extend(match part {
            Part::Reads => reads::run(&place, settings)?,
            Part::Handle => handle::run(&place, settings)?,
            Part::Merge => merge::run(&place, settings)?,
            Part::Stream => stream::run(&place, settings)?,
            Part::Amplification => amplification::run(&place, settings)?,
            Part::CatchUp => catch_up::run(&place, settings)?,
            Part::Restart => restart::run(&place, settings)?,
            Part::Foreground => foreground::run(&place, settings)?,
            Part::Large => large::run(&place, settings)?,
        });
        std::fs::remove_dir_all(&place)?;
    }
    println!();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
