//! The directory of a cluster that is started for a moment.

use crate::cli::{Exit, ExitContext, Failure};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that removes itself, unless it is [kept](Directory::keep).
///
/// Only what was made here is removed: the directory itself if it did not exist before, and in it only what
/// [`Directory::subdirectory`] made.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    made: bool,
    subdirectories: Vec<PathBuf>,
    keep: bool,
}

impl Directory {
    /// `given`, which must be empty or absent; else a fresh `<prefix>-XXXX` in the current directory.
    ///
    /// # Errors
    /// [`Exit::Usage`] when `given` holds anything; [`Exit::Failed`] when it cannot be made.
    pub fn new(given: Option<&Path>, prefix: &str) -> Result<Directory, Failure> {
        let (path, made) = match given {
            Some(path) => given_directory(path)?,
            None => (fresh(prefix).exit(Exit::Failed)?, true),
        };
        let path = path.canonicalize().exit(Exit::Failed)?;
        Ok(Directory { path, made, subdirectories: Vec::new(), keep: false })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names a directory in it, which its user makes and fills; it is removed with everything in it.
    pub fn subdirectory(&mut self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        self.subdirectories.push(path.clone());
        path
    }

    /// It stays, with all that is in it.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for path in &self.subdirectories {
            if let Err(error) = fs::remove_dir_all(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
        }
        if self.made
            && let Err(error) = fs::remove_dir(&self.path)
        {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn given_directory(path: &Path) -> Result<(PathBuf, bool), Failure> {
    let shown = path.display();
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok((path.to_owned(), false)),
        Ok(false) => Err(Failure::usage(format!("{shown} is not empty: name an empty or a new directory"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(path).map_err(|error| Failure::failed(format!("cannot make {shown}: {error}")))?;
            Ok((path.to_owned(), true))
        }
        Err(error) => Err(Failure::usage(format!("cannot use {shown}: {error}"))),
    }
}

fn fresh(prefix: &str) -> io::Result<PathBuf> {
    loop {
        let letters: String = std::iter::repeat_with(fastrand::alphanumeric).take(4).collect();
        let path = PathBuf::from(format!("{prefix}-{letters}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| path),
        }
    }
}

/// Whether files at `path` live in memory only, and nothing written there survives a loss of power.
///
/// # Errors
/// The file system cannot be asked.
pub fn is_memory(path: &Path) -> io::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(path)?.f_type;
    Ok([TMPFS, RAMFS].into_iter().any(|memory| i128::from(memory) == i128::from(kind)))
}
