//! A cluster in memory: replicas, their disks, and the messages between them. Traces and the
//! simulation drive it, each in its own way.
#![allow(dead_code, reason = "each test uses its part")]

pub mod disk;
pub mod node;

use std::time::Duration;

use raft::{GroupId, NodeId, Settings, Time};

/// The group of all stories.
pub const GROUP: GroupId = GroupId(1);

pub fn settings(node: u16, seed: u64) -> Settings {
    Settings {
        node: NodeId(node),
        election_timeout_min: Duration::from_millis(1000),
        election_timeout_max: Duration::from_millis(1500),
        beat_interval: Duration::from_millis(100),
        inflight_appends_max: 4,
        inflight_bytes_max: 64 * 32,
        uncommitted_bytes_max: 64 * 64,
        seed,
        quiesce_after: None,
        lease: None,
    }
}

pub fn voters(count: u16) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

/// Moments count from here, so that "long ago" exists.
pub const START: Time = Time(1_000_000_000);
