//! The flags of `ringraft serve`.

use clap::Args;
use std::path::PathBuf;

/// Flags of `ringraft serve`. Values stay text here: they are parsed after all layers are merged, so that
/// an error can say which layer it came from.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Each setting can also be given as RINGRAFT_<NAME> in the environment, or as <name> in the \
    file of --config;\na flag wins over the environment, the environment over the file."
)]
pub struct ServeArgs {
    /// This node's id, one of --cluster
    #[arg(long, value_name = "ID")]
    pub node: Option<String>,
    /// Data directory; created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// All members as ID=HOST:PORT, separated by commas: the peer address of shard 0; shard k uses PORT + k
    #[arg(long, value_name = "ID=HOST:PORT,...")]
    pub cluster: Option<String>,
    /// Where clients connect to shard 0; shard k listens on PORT + k [default: 127.0.0.1:6101]
    #[arg(long, value_name = "HOST:PORT")]
    pub client: Option<String>,
    /// The host that clients are told when --client is a wildcard address
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Where metrics and health pages are served [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Shards, fixed at the first start [default: the allowed cores]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Groups, fixed when the cluster forms [default: 16, and at least nodes x shards]
    #[arg(long, value_name = "N")]
    pub groups: Option<String>,
    /// Keys led elsewhere are passed on (proxy) or answered with -MOVED (moved) [default: proxy]
    #[arg(long, value_name = "HOW")]
    pub redirect: Option<String>,
    /// How long a request may be held, over an election for instance [default: 2s]
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// A shard saves its groups' states after so many MiB of log: less for quicker restarts, more for fewer writes
    /// [default: 256]
    #[arg(long, value_name = "MIB")]
    pub snapshot_after_mib: Option<String>,
    /// While clients are served, a shard saves no faster than this, or than twice what its log writes: less for steadier
    /// answers, more for shorter logs [default: 16]
    #[arg(long, value_name = "MIB")]
    pub save_mib_per_second: Option<String>,
    /// Memory for the keys that are saved; what is more is read from the snapshot files [default: 1024]
    #[arg(long, value_name = "MIB")]
    pub state_memory_mib: Option<String>,
    /// Memory for parts of the snapshot files that are read [default: half of the machine's]
    #[arg(long, value_name = "MIB")]
    pub mapped_memory_mib: Option<String>,
    /// Snapshot files of a shard up to so much in all are read and checked whole before it starts; larger ones are served at
    /// once, and checked bit by bit [default: 128]
    #[arg(long, value_name = "MIB")]
    pub check_at_start_mib: Option<String>,
    /// The log's entries are read and verified so often, so that rot is found while other nodes can mend it [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub scrub_every: Option<String>,
    /// Leaders answer reads by lease, without a round of messages: for clocks that run within 20 % of each other's
    /// speed; the same on all nodes [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub lease_reads: Option<String>,
    /// Allow addresses that other hosts can reach, although nobody has to log in
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure: Option<String>,
    /// Settings file in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show the settings and where each value comes from, then end
    #[arg(long)]
    pub print_config: bool,
    /// End as on SIGTERM once standard input closes: a launcher's children die with it
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
    /// The size of a log segment file in bytes: tests take small ones
    #[arg(long, hide = true, value_name = "BYTES")]
    pub segment_bytes: Option<u64>,
    /// The bytes that a shard's log may take: tests take few
    #[arg(long, hide = true, value_name = "BYTES")]
    pub log_bytes_max: Option<u64>,
}

impl ServeArgs {
    /// The flags as the topmost layer of [`SETTINGS`](super::SETTINGS).
    pub(super) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let flags = [
            ("node", &self.node),
            ("data", &self.data),
            ("cluster", &self.cluster),
            ("client", &self.client),
            ("advertise", &self.advertise),
            ("http", &self.http),
            ("shards", &self.shards),
            ("groups", &self.groups),
            ("redirect", &self.redirect),
            ("deadline", &self.deadline),
            ("snapshot_after_mib", &self.snapshot_after_mib),
            ("save_mib_per_second", &self.save_mib_per_second),
            ("state_memory_mib", &self.state_memory_mib),
            ("mapped_memory_mib", &self.mapped_memory_mib),
            ("check_at_start_mib", &self.check_at_start_mib),
            ("scrub_every", &self.scrub_every),
            ("lease_reads", &self.lease_reads),
            ("insecure", &self.insecure),
        ];
        flags.into_iter().map(|(name, value)| (name, value.clone())).collect()
    }
}
