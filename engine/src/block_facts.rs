//! What INFO says of snapshot files that are answered from.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The numbers of one shard.
#[derive(Default)]
pub(crate) struct BlockFacts {
    /// What of the files is in memory.
    pub(crate) bytes: AtomicU64,
    /// Blocks that were brought there, asked for or not.
    pub(crate) brought: AtomicU64,
    /// How often a group waited for some.
    pub(crate) waits: AtomicU64,
}

/// A number of a shard.
type Number = fn(&BlockFacts) -> &AtomicU64;

const FIELDS: [(&str, Number); 3] = [
    ("ringraft_blocks_bytes", |facts| &facts.bytes),
    ("ringraft_blocks_brought_total", |facts| &facts.brought),
    ("ringraft_blocks_waits_total", |facts| &facts.waits),
];

impl BlockFacts {
    /// The sums over `shards`, by name.
    pub(crate) fn sums<'a>(
        shards: impl Iterator<Item = &'a BlockFacts> + Clone,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        FIELDS
            .iter()
            .map(move |(name, number)| (*name, shards.clone().map(|facts| number(facts).load(Relaxed)).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_summed_and_described() {
        let facts = [BlockFacts::default(), BlockFacts::default()];
        facts.iter().for_each(|facts| facts.waits.store(3, Relaxed));
        let sums: Vec<_> = BlockFacts::sums(facts.iter()).collect();
        assert_eq!(sums.last(), Some(&("ringraft_blocks_waits_total", 6)));
        let page = include_str!("../../docs/METRICS.md");
        for (name, _) in sums {
            assert!(page.contains(&format!("| `{name}` |")), "docs/METRICS.md lacks {name}");
        }
    }
}
