//! Reading an eventfd through glommio, so that its executor parks and is woken by it.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;

/// An eventfd as glommio sees it: a file whose read of eight bytes waits until somebody signals.
pub(crate) struct EventfdReader {
    file: BufferedFile,
}

impl EventfdReader {
    /// Must be called on an executor's thread.
    pub(crate) fn new(eventfd: OwnedFd) -> EventfdReader {
        // SAFETY: the descriptor is open and owned, and its ownership passes to the file.
        let file = unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
        EventfdReader { file }
    }

    /// Waits for a signal and takes all signals so far. Must not be dropped before it is done: the read would go on
    /// and take a later signal with it.
    pub(crate) async fn signalled(&self) {
        if let Err(error) = self.file.read_at(0, size_of::<u64>()).await {
            // Without it the shard would never wake again, and there is no one to tell.
            eprintln!("fatal: reading a shard's eventfd failed: {error}");
            std::process::abort();
        }
    }
}
