//! Files that are only read, at once.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{Buffer, Disk, File};

/// The file system, for tools that only look: every call blocks until it is answered, and what would change something is
/// refused. What a start does to make itself safe from a crash is left undone, as nothing is built upon it: syncs do
/// nothing, and what is left over from an interrupted creation stays.
#[derive(Clone, Copy, Debug)]
pub struct ReadDisk;

impl ReadDisk {
    /// What a future says that waits for nothing but a `ReadDisk`.
    ///
    /// # Panics
    /// If it waits for something else.
    pub fn answer<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits for something else than a ReadDisk, which answers at once"),
        }
    }
}

/// A file opened for reading.
#[derive(Clone, Debug)]
pub struct ReadFile {
    file: Rc<fs::File>,
    path: PathBuf,
    file_bytes: u64,
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "files are only looked at here"))
}

impl Disk for ReadDisk {
    type File = ReadFile;

    async fn open(&self, path: &Path) -> io::Result<ReadFile> {
        let file = fs::File::open(path)?;
        let file_bytes = file.metadata()?.len();
        Ok(ReadFile { file: Rc::new(file), path: path.to_owned(), file_bytes })
    }

    async fn create(&self, _path: &Path, _file_bytes: u64) -> io::Result<ReadFile> {
        refused()
    }

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    async fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl File for ReadFile {
    fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    async fn read_at(&self, offset: u64, len: usize) -> io::Result<Buffer> {
        let left = usize::try_from(self.file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Buffer::copy_from(&bytes))
    }

    async fn write_at(&self, _offset: u64, _data: Buffer) -> io::Result<()> {
        refused()
    }

    async fn write_durable(&self, _offset: u64, _data: Buffer) -> io::Result<()> {
        refused()
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    async fn set_len(&self, _file_bytes: u64) -> io::Result<()> {
        refused()
    }

    fn map_path(&self) -> PathBuf {
        self.path.clone()
    }
}
