//! What a replica is started with.

use core::time::Duration;

use crate::config::Config;
use crate::id::{EntryId, Index, NodeId, Term};
use crate::message::TermRun;
use crate::progress::Window;

/// How replicas behave. Shared by all groups of a shard, and the same on all nodes but for `node` and `seed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
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
    /// A group with nothing to do for this long rests: its replicas keep no timer and say nothing, until somebody
    /// asks for something or [`crate::Raft::peer_lost`] says that the leader's shard is not there any more. `None`:
    /// never. Only for a shard that watches its peers' shards.
    pub quiesce_after: Option<Duration>,
    /// Reads by lease (thesis 6.4.1): a leader serves reads without asking for this long after it sent what a quorum
    /// has acknowledged. Must be shorter than `election_timeout_min` by more than clocks may drift apart in that
    /// time. A voter that runs with it neither votes nor campaigns for `election_timeout_min` after its start. `None`:
    /// reads ask.
    pub lease: Option<Duration>,
}

impl Settings {
    /// For how long a voter elects nobody else after it heard a leader that may read by lease.
    pub(crate) fn promise(&self) -> Option<Duration> {
        self.lease.map(|_| self.election_timeout_min)
    }

    pub(crate) fn window(&self) -> Window {
        let appends_max = u32::try_from(self.inflight_appends_max).unwrap_or(u32::MAX);
        Window { appends_max, bytes_max: self.inflight_bytes_max }
    }
}

/// Whether a replica may take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It may.
    #[default]
    Normal,
    /// It came later than its group and has not caught up with a leader: it votes, as it has forgotten nothing, but does
    /// not campaign. Configurations from before its time may name its node, when that was another disk, perhaps as the
    /// only voter. Whoever creates a replica for a disk that did not found the group starts it so.
    Joining,
    /// It may lack entries it has acknowledged: it takes entries from a leader, and does nothing else until it has
    /// caught up. See [`crate::Raft::recover`].
    Recovering,
    /// What it knows contradicts itself: it does nothing until it is removed and added again.
    Faulted,
}

impl Standing {
    /// Whether it may vote: it has forgotten nothing it promised.
    pub(crate) fn votes(self) -> bool {
        matches!(self, Standing::Normal | Standing::Joining)
    }

    /// Whether it has to catch up with a leader first.
    pub(crate) fn is_behind(self) -> bool {
        matches!(self, Standing::Joining | Standing::Recovering)
    }
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
    /// Whether the replica may take part.
    pub standing: Standing,
}

/// What a replica knew when it last stopped. All zero, but for the configuration, for a new group.
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
    /// The configuration in force at `compacted`. Empty for a replica that was just created and has not heard from
    /// its leader.
    pub config: Config,
    /// The configurations among the entries after `compacted`, ascending.
    pub configs: Vec<(Index, Config)>,
    /// The newest index applied to the state machine.
    pub applied: Index,
}
