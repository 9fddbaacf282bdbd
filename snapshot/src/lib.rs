//! One file format for state that serves, restarts and travels.
//!
//! A snapshot is a few immutable files of sorted items, each the state of one group at one log entry. The same
//! bytes answer reads, are what a restart maps, and are what a peer receives.
//!
//! - [`Builder`] writes a file in slices; [`Run`] reads one in place, [`FileRun`] through the disk seam; [`Files`] and [`Merge`]
//!   read several as if they were one.
//! - [`Store`] knows the files of a shard, who uses them, and which may go; [`Manifest`] is what the log says
//!   about them.
//! - [`transfer`] moves a file to a peer, over whatever carries its messages.
//!
//! Nothing here knows what the items mean, and nothing but [`Map`] is unsafe.

mod aside;
mod begun;
mod block;
mod block_builder;
mod builder;
mod checksums;
mod error;
mod file_run;
mod files;
mod filter;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod index;
mod index_builder;
mod layout;
mod limits;
mod manifest;
mod merge;
mod mmap;
mod name;
mod order;
mod output;
mod registry;
mod residence;
mod run;
mod store;
pub mod transfer;

#[doc = include_str!("../FORMAT.md")]
pub mod format_spec {}

#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod tests;

pub use block::{Block, Item};
pub use builder::{BuildSpec, Builder, Finished, ItemError, Room};
pub use error::SnapshotError;
pub use file_run::{Blocks, FileRun, Scan};
pub use files::{Bytes, Files, FilesItems, Miss, Served};
pub use format::{
    BLOCK_BYTES, CHUNK_BYTES, KEY_BYTES_MAX, MEMBERSHIP_BYTES_MAX, PAGE_BYTES, VALUE_BYTES_MAX, VERSION,
};
pub use layout::Summary;
pub use limits::{Limits, RateLimit, TRANSFER_BURST_BYTES, TRANSFER_BYTES_PER_SECOND};
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, RUNS_MAX, RunReference};
pub use merge::Merge;
pub use mmap::Map;
pub use name::{NameError, SnapshotName, Stage};
pub use registry::{FileStatus, Refused, Use};
pub use residence::BlockPlace;
pub use run::{Access, CheckPass, Run, RunItems};
pub use store::{Guard, OpenReport, Slot, Store};

#[cfg(not(target_endian = "little"))]
compile_error!("the file format is little-endian, and its structs are used as they lie in memory");
