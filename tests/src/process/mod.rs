//! Real processes: clusters of the `ringraft` binary, and Redis to compare with.
//!
//! Whatever is started here ends with the test: when its owner is dropped, also by a panic; and when the
//! test process itself is killed, because each node's standard input is a pipe that then closes
//! (`--until-stdin-closes`).

mod child;
mod cluster;
mod operator;
mod options;
mod ports;
mod redis;
mod status;
mod waits;

use std::path::{Path, PathBuf};

pub use child::{Process, Spec};
pub use cluster::Cluster;
pub use options::{Options, Place, Redirect};
pub use ports::free_ports;
pub use redis::{Redis, find_program};
pub use status::{GroupStatus, NodeStatus};
pub use tempfile::TempDir;

/// The environment variable that names the binary under test.
pub const BINARY_VARIABLE: &str = "RINGRAFT_BIN";

/// Finds the `ringraft` binary: `$RINGRAFT_BIN`, or the one that was built into the same target directory
/// as the running executable.
///
/// # Errors
///
/// A sentence that says where it was expected and how to build it.
pub fn find_ringraft() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{BINARY_VARIABLE}={} is no file", path.display()))
        };
    }
    built_binary("ringraft").map_err(|error| format!("{error}, or set {BINARY_VARIABLE}"))
}

/// Finds a binary of the same build as the running executable.
///
/// # Errors
///
/// A sentence that says where it was expected and how to build it.
pub fn built_binary(name: &str) -> Result<PathBuf, String> {
    let built = build_dir()?.join(name);
    if built.is_file() {
        return Ok(built);
    }
    let build = if cfg!(debug_assertions) { "cargo build" } else { "cargo build --release" };
    Err(format!("{} does not exist: run `{build}` first", built.display()))
}

/// A directory for a test's data, which removes itself: in the target directory, because temporary
/// directories may be in memory, where there is nothing to sync.
///
/// # Errors
///
/// A sentence, when it cannot be made.
pub fn data_dir() -> Result<TempDir, String> {
    let parent = build_dir()?.join("tmp");
    let made = std::fs::create_dir_all(&parent).and_then(|()| TempDir::with_prefix_in("ringraft-", &parent));
    made.map_err(|error| format!("{}: {error}", parent.display()))
}

/// Where Cargo puts this build's executables.
fn build_dir() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| format!("the running executable: {error}"))?;
    let dir = this.parent().unwrap_or(Path::new("."));
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_path_buf())
}
