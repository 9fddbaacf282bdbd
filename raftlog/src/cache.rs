//! The entry cache: the batch buffers themselves, oldest out first.

use std::collections::VecDeque;

use raft::{GroupId, Index};
use runtime::Buffer;

use crate::{BatchSeq, spare::Spare};

/// What is kept though nobody is known to need it, in bytes: for whoever was heard of late. It fits a processor's own cache.
const KEPT_BYTES: u64 = 2 << 20;

/// What entries are still needed for, the most urgent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Nothing that is known.
    Nobody,
    /// A peer may lack them.
    Send,
    /// The state machine lacks them.
    Apply,
}

/// One issued batch, as it stands on disk.
struct Batch {
    seq: BatchSeq,
    /// From the batch's header on.
    bytes: Buffer,
    /// Where its bodies start.
    bodies_start: usize,
    /// What keeping it costs: its memory, not its size.
    cost_bytes: u64,
    /// The newest entry of each group in it that may still be needed.
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
        bodies_start: usize,
        cost_bytes: u64,
        holds: Vec<(GroupId, Index)>,
    ) {
        if !holds.is_empty() {
            self.bytes += cost_bytes;
            self.batches.push_back(Batch { seq, bytes, bodies_start, cost_bytes, holds });
        }
    }

    /// The bytes of batch `seq`, from its header on, and where its bodies start, if it is here.
    pub(crate) fn get(&self, seq: BatchSeq) -> Option<(&Buffer, usize)> {
        let at = self.batches.binary_search_by_key(&seq, |batch| batch.seq).ok()?;
        Some((&self.batches[at].bytes, self.batches[at].bodies_start))
    }

    /// Lets go of the oldest batches that nobody needs, and of more if the rest does not fit. An un-durable batch always stays,
    /// for its bytes cannot be read from anywhere else. One that a peer lacks stays up to the bound; one with unapplied entries
    /// up to twice the bound: they are needed soon. The memory goes to `spare`.
    pub(crate) fn evict(
        &mut self,
        durable: BatchSeq,
        need: impl Fn(GroupId, Index) -> Need,
        spare: &mut Spare,
    ) {
        while self.bytes > KEPT_BYTES.min(self.bytes_max)
            && let Some(oldest) = self.batches.front_mut()
            && oldest.seq <= durable
        {
            let stays = match self.bytes {
                bytes if bytes > 2 * self.bytes_max => None,
                bytes if bytes > self.bytes_max => Some(Need::Apply),
                _ => Some(Need::Send),
            };
            if stays.is_some_and(|least| oldest.is_needed(least, &need)) {
                break;
            }
            self.bytes -= oldest.cost_bytes;
            if let Some(oldest) = self.batches.pop_front() {
                spare.give(oldest.bytes);
            }
        }
    }
}

impl Batch {
    /// Whether an entry in it is needed as much as `least`. Entries that were found not to be are not looked at again.
    fn is_needed(&mut self, least: Need, need: impl Fn(GroupId, Index) -> Need) -> bool {
        while let Some((group, last)) = self.holds.last() {
            let needed = need(*group, *last);
            if needed >= least {
                return true;
            }
            if needed > Need::Nobody {
                // Needed less than that: it counts again once there is more room.
                return self.holds.iter().any(|(group, last)| need(*group, *last) >= least);
            }
            self.holds.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: u64 = 1 << 20;

    fn filled() -> Cache {
        let mut cache = Cache::new(4 * EACH);
        for seq in 1..=9 {
            cache.insert(BatchSeq(seq), Buffer::copy_from(&[1]), 0, EACH, vec![(GroupId(1), Index(seq))]);
        }
        cache
    }

    fn evict(cache: &mut Cache, durable: u64, need: impl Fn(Index) -> Need) -> u64 {
        cache.evict(BatchSeq(durable), |_, index| need(index), &mut Spare::default());
        cache.bytes() / EACH
    }

    #[test]
    fn undurable_batches_stay_whatever_the_bound() {
        let mut cache = filled();
        assert_eq!(evict(&mut cache, 1, |_| Need::Nobody), 8);
        assert!(cache.get(BatchSeq(1)).is_none() && cache.get(BatchSeq(2)).is_some());
    }

    #[test]
    fn what_nobody_needs_goes_at_once_but_for_the_newest() {
        assert_eq!(evict(&mut filled(), 9, |_| Need::Nobody), KEPT_BYTES / EACH);
    }

    #[test]
    fn what_a_peer_lacks_stays_up_to_the_bound_and_the_unapplied_up_to_twice_that() {
        let mut cache = filled();
        assert_eq!(evict(&mut cache, 9, |_| Need::Apply), 8);
        assert_eq!(evict(&mut cache, 9, |index| if index < Index(4) { Need::Send } else { Need::Apply }), 6);
        assert_eq!(evict(&mut cache, 9, |_| Need::Send), 4);
        assert_eq!(evict(&mut cache, 9, |index| if index < Index(7) { Need::Nobody } else { Need::Send }), 3);
        assert!(cache.get(BatchSeq(6)).is_none() && cache.get(BatchSeq(7)).is_some());
    }

    #[test]
    fn every_group_of_a_batch_counts() {
        let mut cache = Cache::new(20 * EACH);
        let holds = vec![(GroupId(1), Index(1)), (GroupId(2), Index(1)), (GroupId(3), Index(1))];
        cache.insert(BatchSeq(1), Buffer::copy_from(&[1]), 0, 8 * EACH, holds);
        let needed = |group: u32| {
            move |asked: GroupId, _: Index| if asked.0 == group { Need::Apply } else { Need::Nobody }
        };
        let mut is_kept_for = |group| {
            cache.evict(BatchSeq(1), needed(group), &mut Spare::default());
            cache.get(BatchSeq(1)).is_some()
        };
        assert!(is_kept_for(3) && is_kept_for(2) && is_kept_for(1));
        assert!(!is_kept_for(4));
    }

    #[test]
    fn batches_without_entries_are_not_kept() {
        let mut cache = Cache::new(4096);
        cache.insert(BatchSeq(9), Buffer::copy_from(&[1]), 0, 4096, Vec::new());
        assert!(cache.get(BatchSeq(9)).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
