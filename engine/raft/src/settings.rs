//! What a replica is started with.

use core::time::Duration;

use crate::id::{EntryId, GroupId, Index, NodeId, Term};
use crate::message::TermRun;

/// How a replica behaves. The same on all nodes of a group, but for `node`, `seed` and `preferred`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// A follower that hears no leader campaigns no sooner than this after it heard the last one,
    /// and refuses its vote to others for this long. A leader that hears no quorum for this long
    /// steps down. Usually 1.0 s.
    pub election_timeout_min: Duration,
    /// Election timeouts are uniform in `election_timeout_min .. election_timeout_max`. Usually 1.5 s.
    pub election_timeout_max: Duration,
    /// A leader is silent towards a follower for at most about twice this long. Usually 100 ms.
    pub beat_interval: Duration,
    /// Appends a leader sends a follower ahead of its acks.
    pub inflight_appends_max: usize,
    /// Bytes of entries a leader sends a follower ahead of its acks; one append always fits.
    pub inflight_bytes_max: u64,
    /// Bytes of proposed entries that wait for commit; one proposal always fits.
    pub uncommitted_bytes_max: u64,
    /// Seeds the election timeouts; mixed with `node` and `group`, so one seed may serve all.
    pub seed: u64,
    /// This node is where the group's leader should be: its first election comes after 50 to 150 ms.
    pub preferred: bool,
}

/// What must be durable before a replica promises anything (thesis Figure 3.1, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term heard of.
    pub term: Term,
    /// Who was voted for in it.
    pub vote: Option<NodeId>,
    /// An index known to be committed, never beyond what the log holds durably. Recorded lazily:
    /// it saves time after a restart and promises nothing.
    pub commit: Index,
}

/// What a replica knew when it last stopped. All zero, but for the voters, for a new group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The newest durable hard state.
    pub hard_state: HardState,
    /// The last entry that is in the snapshot only.
    pub compacted: EntryId,
    /// The terms of `compacted.index + 1 ..= last`.
    pub runs: Vec<TermRun>,
    /// The newest entry's index.
    pub last: Index,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// The newest index applied to the state machine.
    pub applied: Index,
}
