//! What a leader has proposed and not committed, in bytes: a bound on memory, not on entries.

use smallvec::SmallVec;

use crate::id::Index;

/// Bytes proposed and not committed. Proposals are kept in about this many heaps, so that many small
/// ones cost no memory.
const QUOTA_HEAPS: u64 = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Quota {
    bytes: u64,
    heaps: SmallVec<[(Index, u64); 1]>,
}

impl Quota {
    /// One proposal always fits, however large.
    pub(crate) fn fits(&self, bytes: u64, bytes_max: u64) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= bytes_max
    }

    pub(crate) fn add(&mut self, last: Index, bytes: u64, bytes_max: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.heaps.last_mut() {
            Some(heap) if heap.1.saturating_add(bytes) <= bytes_max / QUOTA_HEAPS => {
                *heap = (last, heap.1 + bytes);
            }
            _ => self.heaps.push((last, bytes)),
        }
    }

    /// Gives back memory that a resting group does not need.
    pub(crate) fn shrink(&mut self) {
        self.heaps = SmallVec::new();
    }

    pub(crate) fn release(&mut self, committed: Index) {
        if self.heaps.last().is_some_and(|&(last, _)| last <= committed) {
            self.heaps.clear();
            self.bytes = 0;
        }
        while let Some(&(last, bytes)) = self.heaps.first()
            && last <= committed
        {
            self.heaps.remove(0);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}
