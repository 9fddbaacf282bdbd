//! The entry cache: the batch buffers themselves, oldest out first.

use std::collections::VecDeque;

use raft::{GroupId, Index};
use runtime::Buffer;

use crate::{BatchSeq, spare::Spare};

/// One issued batch, as it stands on disk.
struct Batch {
    seq: BatchSeq,
    /// From the batch's header on.
    bytes: Buffer,
    /// What keeping it costs: its memory, not its size.
    cost_bytes: u64,
    /// The newest entry of each group in it.
    holds: Vec<(GroupId, Index)>,
}

/// Issued batches, in order, bounded by bytes.
pub(crate) struct Cache {
    batches: VecDeque<Batch>,
    bytes: u64,
    bytes_max: u64,
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Cache {
        Cache { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the batch `seq`, newer than all before. One without entries is not worth keeping.
    pub(crate) fn insert(
        &mut self,
        seq: BatchSeq,
        bytes: Buffer,
        cost_bytes: u64,
        holds: Vec<(GroupId, Index)>,
    ) {
        if !holds.is_empty() {
            self.bytes += cost_bytes;
            self.batches.push_back(Batch { seq, bytes, cost_bytes, holds });
        }
    }

    /// The bytes of batch `seq`, from its header on, if it is here.
    pub(crate) fn get(&self, seq: BatchSeq) -> Option<&Buffer> {
        let at = self.batches.binary_search_by_key(&seq, |batch| batch.seq).ok()?;
        Some(&self.batches[at].bytes)
    }

    /// Lets go of the oldest batches until the rest fits. An un-durable batch always stays, for its bytes cannot be
    /// read from anywhere else. One with unapplied entries stays up to twice the bound: they are needed soon. Their memory goes
    /// to `spare`.
    pub(crate) fn evict(
        &mut self,
        durable: BatchSeq,
        applied: impl Fn(GroupId, Index) -> bool,
        spare: &mut Spare,
    ) {
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.batches.front()
        {
            let over_twice = self.bytes > 2 * self.bytes_max;
            let unneeded = || oldest.holds.iter().all(|&(group, last)| applied(group, last));
            if oldest.seq > durable || !(over_twice || unneeded()) {
                break;
            }
            self.bytes -= oldest.cost_bytes;
            if let Some(oldest) = self.batches.pop_front() {
                spare.give(oldest.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Cache {
        let mut cache = Cache::new(2 * 4096);
        for seq in 1..=5 {
            cache.insert(BatchSeq(seq), Buffer::copy_from(&[1]), 4096, vec![(GroupId(1), Index(seq))]);
        }
        cache
    }

    #[test]
    fn undurable_batches_stay_whatever_the_bound() {
        let mut cache = filled();
        cache.evict(BatchSeq(1), |_, _| true, &mut Spare::default());
        assert!(cache.get(BatchSeq(1)).is_none() && cache.get(BatchSeq(2)).is_some());
        assert_eq!(cache.bytes(), 4 * 4096);
    }

    #[test]
    fn unapplied_batches_stay_up_to_twice_the_bound() {
        let mut cache = filled();
        cache.evict(BatchSeq(5), |_, _| false, &mut Spare::default());
        assert_eq!(cache.bytes(), 4 * 4096);
        cache.evict(BatchSeq(5), |_, index| index <= Index(2), &mut Spare::default());
        assert_eq!(cache.bytes(), 3 * 4096);
        cache.evict(BatchSeq(5), |_, _| true, &mut Spare::default());
        assert_eq!(cache.bytes(), 2 * 4096);
        assert!(cache.get(BatchSeq(4)).is_some());
    }

    #[test]
    fn batches_without_entries_are_not_kept() {
        let mut cache = Cache::new(4096);
        cache.insert(BatchSeq(9), Buffer::copy_from(&[1]), 4096, Vec::new());
        assert!(cache.get(BatchSeq(9)).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
