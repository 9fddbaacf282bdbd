//! How many bytes a leader takes on before they are committed.

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

    /// Gives back memory that a resting group does not need.
    pub(crate) fn shrink(&mut self) {
        self.heaps.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_released_and_one_proposal_always_fits() {
        let mut quota = Quota::default();
        assert!(quota.fits(1 << 40, 6400), "alone");
        for index in 1..=100 {
            assert!(quota.fits(64, 6400), "{index}");
            quota.add(Index(index), 64, 6400);
        }
        assert!(!quota.fits(64, 6400));
        quota.release(Index(50));
        assert!(quota.fits(50 * 64, 6400) && !quota.fits(51 * 64, 6400));
        quota.release(Index(100));
        assert!(quota.fits(6400, 6400));
    }
}
