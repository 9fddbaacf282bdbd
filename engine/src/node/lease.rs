//! The marker of a node that may have promised leases: it binds starts to come.

use std::fs;

use super::data_dir::DataDir;
use super::durable;
use super::error::DataDirError;

/// There while the node may have promised leases.
pub(super) const LEASE_FILE_NAME: &str = "lease";
const NOTE: &str =
    "This node has run with lease_reads: its next start waits before it votes. Do not remove.\n";

impl DataDir {
    /// Whether an earlier start promised leases (see [`crate::Builder::lease_reads`]) and none has outwaited them since.
    pub fn has_promised_leases(&self) -> bool {
        self.dir().join(LEASE_FILE_NAME).exists()
    }

    /// Notes, durably, that this node promises leases.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn promise_leases(&mut self) -> Result<(), DataDirError> {
        if self.has_promised_leases() {
            // Perhaps a crash came before it was durable.
            return durable::sync_dir(self.dir());
        }
        durable::replace(self.dir(), LEASE_FILE_NAME, NOTE.as_bytes())
    }

    /// No lease that this node promised can be in force any more.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn forget_leases(&mut self) -> Result<(), DataDirError> {
        let path = self.dir().join(LEASE_FILE_NAME);
        fs::remove_file(&path).map_err(|source| DataDirError::io("remove", &path, source))?;
        durable::sync_dir(self.dir())
    }
}
