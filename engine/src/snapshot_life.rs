//! The life of a snapshot in eleven steps: each is counted for INFO (docs/METRICS.md) and leaves a line in the log, so that one
//! can be followed with `RINGRAFT_LOG=info,ringraft::snapshots=debug`, on every node that has a part in it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A step of it. The order is that of one snapshot's life: 1 to 5 where it is made, 6 and 7 on a leader that has a follower which is
/// too far behind for its log, 8 to 10 on that follower, 11 wherever a newer one took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// A group is to be saved: its log has grown, a follower or an operator asks for it, or something in its log is damaged.
    Due,
    /// Its state is frozen, at an entry that is applied and durable.
    Frozen,
    /// The file is whole: synced, renamed, its directory synced.
    Written,
    /// The log's record that names the file is durable: that is the state a start begins with.
    Published,
    /// The entries that it stands for are dropped.
    Shortened,
    /// The leader offers it to a follower.
    Offered,
    /// Its file is held and read, to be sent.
    Sending,
    /// The follower begins to receive it.
    Receiving,
    /// All of it came and was verified, and its state stands ready.
    Loaded,
    /// It is the follower's state, and the record of that is durable: the leader is told.
    Installed,
    /// Files that nobody needs any more are deleted.
    Collected,
}

/// How INFO names the counts, and the log the steps.
const STEPS: [(Milestone, &str, &str); 11] = [
    (Milestone::Due, "ringraft_snapshots_due_total", "due"),
    (Milestone::Frozen, "ringraft_snapshots_frozen_total", "frozen"),
    (Milestone::Written, "ringraft_snapshots_written_total", "written"),
    (Milestone::Published, "ringraft_snapshots_published_total", "published"),
    (Milestone::Shortened, "ringraft_snapshots_shortened_total", "shortened the log"),
    (Milestone::Offered, "ringraft_snapshots_offered_total", "offered"),
    (Milestone::Sending, "ringraft_snapshots_sending_total", "sending"),
    (Milestone::Receiving, "ringraft_snapshots_receiving_total", "receiving"),
    (Milestone::Loaded, "ringraft_snapshots_loaded_total", "loaded"),
    (Milestone::Installed, "ringraft_snapshots_installed_total", "installed"),
    (Milestone::Collected, "ringraft_snapshots_collected_total", "collected"),
];

impl Milestone {
    /// 1 to 11.
    pub(crate) fn number(self) -> usize {
        self as usize + 1
    }

    pub(crate) fn name(self) -> &'static str {
        STEPS[self as usize].2
    }
}

/// How often each step was taken on a shard since the node's start.
#[derive(Default)]
pub(crate) struct SnapshotFacts {
    counts: [AtomicU64; STEPS.len()],
}

impl SnapshotFacts {
    pub(crate) fn count(&self, milestone: Milestone) {
        self.counts[milestone as usize].fetch_add(1, Relaxed);
    }

    /// The sums over `shards`, by name.
    pub(crate) fn sums<'a>(
        shards: impl Iterator<Item = &'a SnapshotFacts> + Clone,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        STEPS.iter().map(move |(milestone, name, _)| {
            let counts = shards.clone().map(|shard| shard.counts[*milestone as usize].load(Relaxed));
            (*name, counts.sum())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_milestone_stands_in_its_place_and_is_described() {
        let facts = [SnapshotFacts::default(), SnapshotFacts::default()];
        let page = include_str!("../../docs/METRICS.md");
        for (at, (milestone, name, _)) in STEPS.iter().enumerate() {
            assert_eq!(milestone.number(), at + 1, "{milestone:?}");
            facts.iter().for_each(|facts| facts.count(*milestone));
            let sum = SnapshotFacts::sums(facts.iter()).nth(at);
            assert_eq!(sum, Some((*name, 2)));
            assert!(page.contains(&format!("| `{name}` |")), "docs/METRICS.md lacks {name}");
        }
        assert_eq!(page.matches("| `ringraft_snapshots_").count(), STEPS.len());
    }
}
