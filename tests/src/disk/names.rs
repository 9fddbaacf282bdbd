//! Names of a simulated disk: creation, renaming, removal, and what a crash leaves of them.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    at,
    machine::{Fault, Machine, Removed},
    pages::Pages,
};

/// A change of a name that may be lost.
#[derive(Clone)]
pub(super) enum Naming {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Machine {
    /// Each name that is not durable changed or did not.
    pub(super) fn crash_names(&mut self, rng: &mut fastrand::Rng) {
        for naming in std::mem::take(&mut self.unsynced_names) {
            if rng.bool() {
                self.rename_safely(&naming);
            }
        }
        self.names = self.safe_names.clone();
    }

    fn rename_safely(&mut self, naming: &Naming) {
        match naming {
            Naming::Create(path, inode) => {
                self.safe_names.insert(path.clone(), *inode);
            }
            Naming::Rename(from, to) => {
                if let Some(inode) = self.safe_names.remove(from) {
                    self.safe_names.insert(to.clone(), inode);
                }
            }
            Naming::Remove(path) => {
                self.safe_names.remove(path);
            }
        }
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        let known = path.parent().is_none_or(|dir| self.dirs.contains(dir));
        if known { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    pub(super) fn create(&mut self, path: &Path, file_bytes: u64) -> io::Result<u64> {
        self.count(Some(Fault::Create))?;
        self.parent_exists(path)?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(free) = &mut self.free_bytes {
            *free = free.checked_sub(file_bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        let mut bytes = Pages::default();
        bytes.resize(at(file_bytes));
        let inode = self.add_inode(bytes);
        self.names.insert(path.to_owned(), inode);
        self.unsynced_names.push(Naming::Create(path.to_owned(), inode));
        Ok(inode)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.count(None)?;
        self.dirs.insert(path.to_owned());
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.powered()?;
        if !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = self.names.keys().filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let files = within.filter_map(name);
        let dirs = self.dirs.iter().filter(|path| path.parent() == Some(dir)).filter_map(name);
        let mut all: Vec<String> = files.chain(dirs).collect();
        all.sort();
        Ok(all)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.count(None)?;
        self.parent_exists(to)?;
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), inode);
        self.unsynced_names.push(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.count(None)?;
        let inode = self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        // One is the inode's own, one this look's.
        let was_open = std::rc::Rc::strong_count(&self.handle(inode)) > 2;
        self.removed.push(Removed { path: path.to_owned(), was_open });
        self.unsynced_names.push(Naming::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.count(Some(Fault::SyncDir))?;
        let (now, later) =
            std::mem::take(&mut self.unsynced_names).into_iter().partition(|naming| match naming {
                Naming::Create(path, _) | Naming::Remove(path) => path.parent() == Some(dir),
                Naming::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
            });
        self.unsynced_names = later;
        let now: Vec<Naming> = now;
        now.iter().for_each(|naming| self.rename_safely(naming));
        Ok(())
    }
}
