//! What a life is like: drawn from the seed, so that some lives are quiet and long, some are all
//! elections, some have leases, some have moving members.

use std::time::Duration;

use raft::{NodeId, Settings};

use super::machine::Clock;
use super::node::ENTRY_BYTES;

/// By how much the clocks of nodes may differ in rate, at most, in a thousandth.
pub const DRIFT_PER_MILLE: u64 = 50;

/// A lease that holds even if the leader's clock is the slowest and all others are the fastest:
/// 1000 ms * 950 / 1050 = 904 ms.
pub const LEASE: Duration = Duration::from_millis(900);

/// A kind of life.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How many nodes found the group.
    pub founders: u16,
    /// How many more machines there are, which may be added.
    pub others: u16,
    /// Seeds the nodes' election timeouts.
    pub seed: u64,
    /// Whether the first node is preferred.
    pub preferred: bool,
    /// Of a hundred steps of time, how many are long enough for elections.
    pub restless: u8,
    /// Of a hundred operator's steps, how many change the members.
    pub moving: u8,
    /// Whether disks may lose acknowledged entries of a minority.
    pub lossy: bool,
    /// Whether clocks differ.
    pub drift: bool,
    /// Whether leases are on.
    pub lease: bool,
    /// Whether groups rest, and after how long.
    pub quiesce_after: Option<Duration>,
    /// Whether clocks and timeouts are equal on all nodes.
    pub exact: bool,
    /// Whether the specification follows. Without it only the checks judge.
    pub spec: bool,
    /// The most entries that wait for commit.
    pub uncommitted_max: u64,
}

impl Profile {
    /// Draws a kind of life.
    #[must_use]
    pub fn draw(random: &mut fastrand::Rng) -> Profile {
        let pick = |random: &mut fastrand::Rng, of: &[u16]| of[random.usize(..of.len())];
        let founders = pick(random, &[1, 2, 3, 3, 3, 3, 4, 5]);
        let quiet = [None, Some(150), Some(400), Some(2000)][random.usize(..4)];
        Profile {
            founders,
            others: pick(random, &[0, 1, 2]),
            seed: random.u64(..),
            preferred: random.bool(),
            restless: [0, 10, 40][random.usize(..3)],
            moving: [0, 10, 40][random.usize(..3)],
            lossy: random.u8(..3) == 0,
            drift: random.bool(),
            lease: random.bool(),
            quiesce_after: quiet.map(Duration::from_millis),
            exact: false,
            spec: true,
            uncommitted_max: 64,
        }
    }

    /// A calm cluster of so many voters, for graphs, the exhaustive search and tests.
    #[must_use]
    pub fn plain(founders: u16) -> Profile {
        Profile {
            founders,
            others: 0,
            seed: 7,
            preferred: false,
            restless: 0,
            moving: 0,
            lossy: false,
            drift: false,
            lease: false,
            quiesce_after: None,
            exact: false,
            spec: true,
            uncommitted_max: 64,
        }
    }

    /// Three nodes whose clocks agree and whose timeouts are all the same: for the exhaustive search.
    #[must_use]
    pub fn small() -> Profile {
        Profile { exact: true, ..Profile::plain(3) }
    }

    /// A clock of this life.
    #[must_use]
    pub fn clock(&self, random: &mut fastrand::Rng) -> Clock {
        if self.exact {
            return Clock { offset_us: 0, per_mille: 1000 };
        }
        let off = if self.drift { random.u64(..=2 * DRIFT_PER_MILLE) } else { DRIFT_PER_MILLE };
        Clock { offset_us: random.u64(..1_000_000), per_mille: 1000 - DRIFT_PER_MILLE + off }
    }

    /// The settings of a node of this life.
    #[must_use]
    pub fn settings(&self, node: u16) -> Settings {
        Settings {
            node: NodeId(node),
            election_timeout_min: Duration::from_millis(1000),
            election_timeout_max: Duration::from_millis(if self.exact { 1000 } else { 1500 }),
            beat_interval: Duration::from_millis(100),
            inflight_appends_max: 4,
            inflight_bytes_max: 32 * ENTRY_BYTES,
            uncommitted_bytes_max: self.uncommitted_max * ENTRY_BYTES,
            seed: self.seed,
            quiesce_after: self.quiesce_after,
            lease: self.lease.then_some(LEASE),
        }
    }
}
