#![doc = include_str!("../FORMAT.md")]

mod build;
mod cache;
mod checkpoint;
mod damages;
mod doubt;
mod error;
mod extents;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod groups;
mod holes;
mod indexed;
pub mod inspect;
mod issue;
mod listing;
mod log;
mod lost;
mod measures;
mod open;
mod options;
mod pipeline;
mod promises;
mod read;
mod recover;
mod relocate;
mod replay;
mod rewrite;
mod salvage;
mod scan;
mod scrub;
mod segment_index;
mod segments;
mod spare;
mod stats;
mod survey;
mod window;

use std::fmt;

pub use error::{LogError, Loss, OpenError, ReadError};
pub use log::Log;
pub use lost::Lost;
pub use measures::{Spread, Took};
pub use open::{Phases, Recovered, RecoveredGroup, Report};
pub use options::{Options, Progress};
pub use read::Cached;
pub use relocate::{Relocation, RelocationJob};
pub use scrub::{ScrubJob, Scrubbed};
pub use segments::{PreparedSegment, SegmentJob};
pub use stats::Stats;

/// The number of a batch of one shard's log. Grows for ever, across starts, with gaps at starts; 0 is before the
/// first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchSeq(
    /// The bare number, as it stands in files and frames.
    pub u64,
);

impl fmt::Debug for BatchSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Display for BatchSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
