//! Which way to make a write durable is the faster one here.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{BLOCK_BYTES, BufferMut, Disk, File, RealDisk, SyncMode, clock::now};

/// How long the probe may take in all.
const PROBE_FOR: Duration = Duration::from_millis(100);
/// How many writes of each kind are enough.
const WRITES: usize = 32;
/// fdatasync goes by way of a kernel thread for each write: it must be faster by a tenth to be worth that.
const FASTER_BY: u32 = 10;
/// The file the probe writes over and over.
const FILE_BYTES: u64 = 64 * BLOCK_BYTES as u64;
const NAME: &str = ".sync-probe";

impl RealDisk {
    /// Measures for at most about 100 ms, in `dir`, which way to make one block durable is faster, uses it from now on,
    /// and logs it.
    ///
    /// # Errors
    ///
    /// What the file system says of the probe's file. The mode is as before then.
    pub async fn probe(&self, dir: &Path) -> io::Result<SyncMode> {
        let path = dir.join(NAME);
        match self.remove(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let before = self.sync_mode();
        let medians = self.measure(&path).await;
        self.set_sync_mode(before);
        let removed = self.remove(&path).await;
        let (dsync, linked) = medians?;
        removed?;
        let is_worth_it = linked < dsync - dsync / FASTER_BY;
        let mode = if is_worth_it { SyncMode::LinkedSync } else { SyncMode::Dsync };
        self.set_sync_mode(mode);
        tracing::info!(?mode, ?dsync, ?linked, dir = %dir.display(), "probed how to make writes durable");
        Ok(mode)
    }

    /// The median time of a durable write, by O_DSYNC and by fdatasync.
    async fn measure(&self, path: &Path) -> io::Result<(Duration, Duration)> {
        let file = self.create(path, FILE_BYTES).await?;
        let data = BufferMut::zeroed(BLOCK_BYTES).freeze();
        let (mut dsync, mut linked) = (Vec::new(), Vec::new());
        let end = now() + PROBE_FOR;
        // By turns, so that a slow moment of the device slows both.
        for write in 0..WRITES {
            for (mode, times) in [(SyncMode::Dsync, &mut dsync), (SyncMode::LinkedSync, &mut linked)] {
                self.set_sync_mode(mode);
                let began = Instant::now();
                file.write_durable(write as u64 * BLOCK_BYTES as u64, data.clone()).await?;
                times.push(began.elapsed());
            }
            if now() >= end {
                break;
            }
        }
        Ok((median(dsync), median(linked)))
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
