//! Small files that are whole or not there at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::DataDirError;

/// What a small file is written under before it is whole.
pub(super) const ASIDE_SUFFIX: &str = ".tmp";

/// Replaces `dir/name` by `content`: written aside, synced, renamed, the directory synced. After a crash the file has
/// the old content or the new one.
pub(super) fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), DataDirError> {
    let path = dir.join(name);
    let aside = dir.join(format!("{name}{ASIDE_SUFFIX}"));
    let written = (|| {
        let mut file = fs::File::create(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, &path)
    })();
    written.map_err(|source| DataDirError::io("write", &path, source))?;
    sync_dir(dir)
}

/// Reads `dir/name`, at most `bytes_max` bytes; None if there is no such file.
pub(super) fn read(dir: &Path, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, DataDirError> {
    let path = dir.join(name);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataDirError::io("read", &path, error)),
    };
    if size > bytes_max {
        return Err(DataDirError::damaged(&path, format!("it has {size} bytes, more than {bytes_max}")));
    }
    fs::read(&path).map(Some).map_err(|source| DataDirError::io("read", &path, source))
}

/// Makes the entries of `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), DataDirError> {
    let synced = fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| DataDirError::io("sync", dir, source))
}

/// Creates `dir` and what is missing above it, each entry durable.
pub(super) fn create_dirs(dir: &Path) -> Result<(), DataDirError> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut above = dir;
    while !above.as_os_str().is_empty() && !above.exists() {
        missing.push(above.to_path_buf());
        let Some(parent) = above.parent() else { break };
        above = parent;
    }
    for dir in missing.iter().rev() {
        match fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DataDirError::io("create", dir, error)),
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}
