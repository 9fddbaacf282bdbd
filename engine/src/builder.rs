//! The settings of an engine: the builder is the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft::{GroupId, NodeId};

use crate::engine::Engine;
use crate::error::StartError;
use crate::fatal::{Fatal, FatalHook, abort_hook};
use crate::kv::{Kv, SlotMap};
use crate::shard::ServingLimits;
use crate::state_machine::StateMachine;

/// How clients of the Redis protocol reach the groups of this node (design 8, "two views").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirect {
    /// One standalone Redis: any port serves any key, by passing requests on to the leader.
    #[default]
    Proxy,
    /// A Redis cluster: `-MOVED` for keys that another shard or node leads.
    Moved,
}

/// Small states are read and checked whole at a start, and what is damaged in them is healed there: so many bytes a shard take about
/// a tenth of a second.
const CHECKED_AT_START_BYTES: u64 = 128 << 20;

/// Less than that, and the parts that one read needs push each other out.
const MAPPED_BYTES_MIN: u64 = 64 << 20;

/// Everything an engine is started with. Made by [`Engine::builder`].
#[derive(Clone)]
pub struct Builder {
    pub(crate) node: NodeId,
    pub(crate) data_dir: PathBuf,
    pub(crate) cluster: Vec<(NodeId, SocketAddr)>,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) advertise: Option<String>,
    pub(crate) shards: Option<u16>,
    pub(crate) groups: Option<u32>,
    pub(crate) redirect: Redirect,
    pub(crate) segment_bytes: u64,
    pub(crate) log_bytes_max: u64,
    pub(crate) snapshot_after_bytes: u64,
    pub(crate) save_bytes_per_second: u64,
    pub(crate) state_bytes_max: u64,
    pub(crate) mapped_bytes_max: Option<u64>,
    pub(crate) checked_at_start_bytes: u64,
    pub(crate) scrub_every: Duration,
    pub(crate) deadline: Duration,
    pub(crate) lease_reads: bool,
    pub(crate) fatal: FatalHook,
}

impl Builder {
    pub(crate) fn new(node: u16, data_dir: PathBuf) -> Builder {
        Builder {
            node: NodeId(node),
            data_dir,
            cluster: Vec::new(),
            client: None,
            advertise: None,
            shards: None,
            groups: None,
            redirect: Redirect::Proxy,
            segment_bytes: 64 << 20,
            log_bytes_max: 4 << 30,
            snapshot_after_bytes: 256 << 20,
            save_bytes_per_second: 16 << 20,
            state_bytes_max: 1 << 30,
            mapped_bytes_max: None,
            checked_at_start_bytes: CHECKED_AT_START_BYTES,
            scrub_every: Duration::from_secs(24 * 3600),
            deadline: Duration::from_secs(2),
            lease_reads: false,
            fatal: abort_hook(),
        }
    }

    /// Adds a node of the cluster: its number and where its shard 0 listens for peers (shard k listens on
    /// port + k). Name every node, this one included, the same on all of them; after the cluster has formed
    /// the list only says whom to ask first.
    #[must_use]
    pub fn peer(mut self, node: u16, address: SocketAddr) -> Builder {
        self.cluster.push((NodeId(node), address));
        self
    }

    /// Serves the Redis protocol at `address` (shard k at port + k). Only with [`crate::kv::Kv`] machines.
    #[must_use]
    pub fn client(mut self, address: SocketAddr) -> Builder {
        self.client = Some(address);
        self
    }

    /// The host name or address that clients are told to connect to; needed when the client address is a
    /// wildcard.
    #[must_use]
    pub fn advertise(mut self, host: impl Into<String>) -> Builder {
        self.advertise = Some(host.into());
        self
    }

    /// How many shards (threads) this node has: stored at the first start, then used when not given; another
    /// number is refused. Default: the cores this process may use.
    #[must_use]
    pub fn shards(mut self, shards: u16) -> Builder {
        self.shards = Some(shards);
        self
    }

    /// How many groups the cluster has: stored at the first start like the shards. Default: 16, and at least
    /// one for every shard of every node.
    #[must_use]
    pub fn groups(mut self, groups: u32) -> Builder {
        self.groups = Some(groups);
        self
    }

    /// How Redis clients are led to the right node.
    #[must_use]
    pub fn redirect(mut self, redirect: Redirect) -> Builder {
        self.redirect = redirect;
        self
    }

    /// The size of one log segment file, a multiple of 1 MiB. Default 64 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Builder {
        self.segment_bytes = bytes;
        self
    }

    /// The disk space the log of one shard may take at most. Default 4 GiB.
    #[must_use]
    pub fn log_bytes_max(mut self, bytes: u64) -> Builder {
        self.log_bytes_max = bytes;
        self
    }

    /// A shard saves its groups' states once this many bytes of log were written since: what a restart
    /// replays at most. Default 256 MiB.
    #[must_use]
    pub fn snapshot_after_bytes(mut self, bytes: u64) -> Builder {
        self.snapshot_after_bytes = bytes;
        self
    }

    /// While others are served, a shard's saves move no more than this in a second, or than twice what its log writes if that is
    /// more: less for steadier answers, more for shorter logs. There is no limit while nobody waits, and once the next save is due
    /// before this one is through. At least 1; default 16 MiB.
    #[must_use]
    pub fn save_bytes_per_second(mut self, bytes: u64) -> Builder {
        self.save_bytes_per_second = bytes;
        self
    }

    /// Memory of this node for the keys of [`start_kv`](Builder::start_kv) that are saved, in even parts for its groups: what is more
    /// is read where it lies in the snapshot files. What was written since the last save comes on top. Default 1 GiB.
    #[must_use]
    pub fn state_bytes_max(mut self, bytes: u64) -> Builder {
        self.state_bytes_max = bytes;
        self
    }

    /// How much of its snapshot files this node keeps in memory, to read them without a disk, in even parts for its shards. It is
    /// page cache, mapped: what is read most stays, and the system takes back what it cannot spare. Reads of what is not there
    /// wait for it, and nobody else does. At least 64 MiB. Default: half of the memory that there is.
    #[must_use]
    pub fn mapped_bytes_max(mut self, bytes: u64) -> Builder {
        self.mapped_bytes_max = Some(bytes.max(MAPPED_BYTES_MIN));
        self
    }

    /// A start reads and checks so many bytes of each shard's snapshot files whole, which takes about a second for each GiB, and
    /// heals what is damaged in them before it serves. Larger files are served at once and looked at block by block: damage that
    /// is found then ends the node, and the start after that heals. Default 128 MiB.
    #[must_use]
    pub fn checked_at_start_bytes(mut self, bytes: u64) -> Builder {
        self.checked_at_start_bytes = bytes;
        self
    }

    /// However little of each shard's snapshot files is kept in memory, and read and checked whole at a start.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    #[must_use]
    pub fn serving_bytes(mut self, mapped_bytes_max: u64, checked_at_start_bytes: u64) -> Builder {
        self.mapped_bytes_max = Some(mapped_bytes_max);
        self.checked_at_start_bytes = checked_at_start_bytes;
        self
    }

    /// What of its files each of so many shards holds, and checks at a start.
    pub(crate) fn serving(&self, shards: u16) -> ServingLimits {
        let mapped = self.mapped_bytes_max.unwrap_or_else(|| runtime::memory_bytes() / 2);
        ServingLimits {
            mapped_bytes_max: mapped / u64::from(shards.max(1)),
            checked_at_start_bytes: self.checked_at_start_bytes,
        }
    }

    /// All that a log holds is read and verified so often, at 4 MiB a second for each shard, so that rot is found while other
    /// nodes can mend it. The first time comes after a 24th of it. Default 24 h.
    #[must_use]
    pub fn scrub_every(mut self, every: Duration) -> Builder {
        self.scrub_every = every;
        self
    }

    /// How long a request may wait for an answer. Default 2 s: over one election.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.deadline = deadline;
        self
    }

    /// Leaders answer reads by lease: without asking a quorum, for 0.8 s after a quorum last answered (Raft thesis
    /// 6.4.1). Reads stay linearizable as long as no node's clock runs more than 20 % faster or slower than another's.
    /// Give it on all nodes: a leader counts only followers that promise to elect nobody else meanwhile. A node that has
    /// promised keeps its word after a restart too: it waits 1 s before it votes, also at the first start without.
    /// Default off.
    #[must_use]
    pub fn lease_reads(mut self, lease_reads: bool) -> Builder {
        self.lease_reads = lease_reads;
        self
    }

    /// Called once when the node cannot go on, in place of the default, which says why and aborts the
    /// process. All shards are silent by then, and handles answer `Dead`.
    #[must_use]
    pub fn on_fatal(mut self, hook: impl Fn(&Fatal) + Send + Sync + 'static) -> Builder {
        self.fatal = Arc::new(hook);
        self
    }

    /// Opens the data directory, recovers, listens, and returns once this node has recovered, with or
    /// without a quorum. `factory` makes each group's machine, on the shard that owns the group.
    ///
    /// # Errors
    /// See [`StartError`]; nothing that existed was changed when settings or the directory are refused.
    pub fn start<S: StateMachine>(
        self,
        factory: impl Fn(GroupId) -> S + Send + Sync + 'static,
    ) -> Result<Engine, StartError> {
        Engine::start(self, |_groups| Arc::new(factory))
    }

    /// [`Builder::start`] with the key-value machine in every group: what `ringraft serve` runs.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start_kv(self) -> Result<Engine, StartError> {
        let state_bytes_max = self.state_bytes_max;
        Engine::start(self, move |groups| {
            let slots = SlotMap::new(u16::try_from(groups).expect("the data directory bounds the groups"));
            let bytes_max = state_bytes_max / u64::from(groups.max(1));
            Arc::new(move |group| Kv::with_memory(slots.slots(group), bytes_max))
        })
    }
}
