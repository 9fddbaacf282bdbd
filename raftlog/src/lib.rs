//! One append-only segmented log for all groups of a shard.
