//! Files in memory of their own, for disks that no system maps.

use std::rc::Rc;

use runtime::{Disk, File as _};
use snapshot::{Bytes, CheckPass, Run, SnapshotError};

use super::{OpenRun, SLICE_BYTES, check_some};

/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;

/// Reads files through the disk seam.
pub(crate) fn read_runs<D: Disk>(disk: &D) -> OpenRun {
    let disk = disk.clone();
    Rc::new(move |path, check, pause| {
        let disk = disk.clone();
        Box::pin(async move {
            let failed = |action| {
                let path = path.clone();
                move |source| SnapshotError::Io { path, action, source }
            };
            let file = disk.open(&path).await.map_err(failed("open"))?;
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < file.file_bytes() {
                let read = file.read_at(bytes.len() as u64, READ_BYTES).await.map_err(failed("read"))?;
                if read.is_empty() {
                    break; // cut short: what is missing is found missing
                }
                bytes.extend_from_slice(&read);
            }
            let run = Run::open(Bytes::Held(bytes), &path)?;
            let mut pass = CheckPass::default();
            while check_some(&run, &mut pass, SLICE_BYTES, check)? {
                pause().await;
            }
            Ok(run)
        })
    })
}
