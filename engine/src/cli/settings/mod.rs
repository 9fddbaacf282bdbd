//! The settings of `ringraft serve`: one name in three spellings.
//!
//! Flag `--a-b` = environment `RINGRAFT_A_B` = `a_b` in the TOML file of `--config`. A flag wins over the
//! environment, the environment over the file, the file over the default. `--print-config` shows the result
//! and where each value comes from. Everything here is checked before a file is touched.

mod address;
mod args;
mod check;
mod layers;

pub use address::{Address, Member};
pub use args::ServeArgs;
pub use layers::{Kind, Layers, Origin, Setting, SettingsError};

use crate::cli::quantity;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting: the one list that flags, environment, file and `--print-config` share.
pub const SETTINGS: &[Setting] = &[
    Setting::new("node", Kind::Integer, None),
    Setting::new("data", Kind::Text, None),
    Setting::new("cluster", Kind::List, None),
    Setting::new("client", Kind::Text, Some("127.0.0.1:6101")),
    Setting::new("advertise", Kind::Text, None),
    Setting::new("http", Kind::Text, None),
    Setting::new("shards", Kind::Integer, None),
    Setting::new("groups", Kind::Integer, None),
    Setting::new("redirect", Kind::Text, Some("proxy")),
    Setting::new("deadline", Kind::Text, Some("2s")),
    Setting::new("snapshot_after_mib", Kind::Integer, Some("256")),
    Setting::new("save_mib_per_second", Kind::Integer, Some("16")),
    Setting::new("state_memory_mib", Kind::Integer, Some("1024")),
    Setting::new("mapped_memory_mib", Kind::Integer, None),
    Setting::new("check_at_start_mib", Kind::Integer, Some("128")),
    Setting::new("scrub_every", Kind::Text, Some("24h")),
    Setting::new("lease_reads", Kind::Switch, Some("false")),
    Setting::new("insecure", Kind::Switch, Some("false")),
];

/// What a port does with a key that is led elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// It passes the request on: the cluster looks like one standalone Redis.
    Proxy,
    /// It answers `-MOVED`: every port is a node of a Redis Cluster.
    Moved,
}

/// The settings of one node, typed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node, one of `cluster`.
    pub node: u16,
    /// The data directory.
    pub data: PathBuf,
    /// All members and their peer addresses (shard 0), in the order of their ids. After the cluster has
    /// formed it only says whom to ask first.
    pub cluster: Vec<Member>,
    /// Where shard 0 listens for clients; shard k listens on port + k.
    pub client: Address,
    /// The host that clients and peers are told instead of a wildcard `client`.
    pub advertise: Option<String>,
    /// Where the admin pages are served, if anywhere.
    pub http: Option<Address>,
    /// Shards; `None`: what the data directory says, else the allowed cores.
    pub shards: Option<u32>,
    /// Groups; `None`: what the data directory says, else 16 and at least nodes x shards.
    pub groups: Option<u32>,
    /// What happens to keys led elsewhere.
    pub redirect: Redirect,
    /// How long a request may be held before it is answered with an error.
    pub deadline: Duration,
    /// A shard saves its groups' states once so many MiB of log were written since: what a restart replays at most.
    pub snapshot_after_mib: u32,
    /// While clients are served, a shard saves no more MiB in a second than this, or than twice what its log writes.
    pub save_mib_per_second: u32,
    /// Memory of the node for the keys that are saved, in MiB.
    pub state_memory_mib: u32,
    /// Of snapshot files, so much is kept in memory; none: half of what there is.
    pub mapped_memory_mib: Option<u32>,
    /// So much of each shard's snapshot files a start checks whole.
    pub check_at_start_mib: u32,
    /// The log's entries are read and verified so often.
    pub scrub_every: Duration,
    /// Whether leaders answer reads by lease, without asking a quorum first.
    pub lease_reads: bool,
    /// Whether addresses other hosts can reach are allowed although nobody has to log in.
    pub insecure: bool,
}

impl Settings {
    /// Layers flags, this process's environment, the settings file and the defaults, and checks the result.
    ///
    /// # Errors
    /// A sentence that names the setting, and the file, variable or flag at fault. The caller ends with
    /// [`Exit::Usage`](crate::cli::Exit::Usage).
    pub fn load(args: &ServeArgs) -> Result<(Settings, Layers), SettingsError> {
        let environment = |name: &str| std::env::var(name).ok();
        let config = args.config.clone().or_else(|| environment("RINGRAFT_CONFIG").map(PathBuf::from));
        let text = config.as_deref().map(|path| {
            std::fs::read_to_string(path)
                .map_err(|error| SettingsError::new(format!("cannot read {}: {error}", path.display())))
        });
        let text = text.transpose()?;
        let file = config.as_deref().zip(text.as_deref());
        Settings::resolve(args, environment, file)
    }

    /// [`Settings::load`] with the environment and the file handed in.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn resolve(
        args: &ServeArgs,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
    ) -> Result<(Settings, Layers), SettingsError> {
        let layers = Layers::resolve(SETTINGS, &args.flags(), environment, file)?;
        let settings = Settings::from_layers(&layers)?;
        check::check(&settings)?;
        Ok((settings, layers))
    }

    fn from_layers(layers: &Layers) -> Result<Settings, SettingsError> {
        let mut cluster = layers.required("cluster", address::parse_members)?;
        cluster.sort_by_key(|member| member.node);
        Ok(Settings {
            node: layers.required("node", parse_node)?,
            data: layers.required("data", parse_path)?,
            cluster,
            client: layers.required("client", str::parse)?,
            advertise: layers.optional("advertise", parse_host)?,
            http: layers.optional("http", str::parse)?,
            shards: layers.optional("shards", |text| parse_count(text, check::SHARDS_MAX))?,
            groups: layers.optional("groups", |text| parse_count(text, check::GROUPS_MAX))?,
            redirect: layers.required("redirect", parse_redirect)?,
            deadline: layers.required("deadline", quantity::parse_duration)?,
            snapshot_after_mib: layers
                .required("snapshot_after_mib", |text| parse_count(text, check::SNAPSHOT_AFTER_MIB_MAX))?,
            state_memory_mib: layers
                .required("state_memory_mib", |text| parse_count(text, check::STATE_MEMORY_MIB_MAX))?,
            save_mib_per_second: layers
                .required("save_mib_per_second", |text| parse_count(text, check::STATE_MEMORY_MIB_MAX))?,
            mapped_memory_mib: layers
                .optional("mapped_memory_mib", |text| parse_count(text, check::STATE_MEMORY_MIB_MAX))?,
            check_at_start_mib: layers
                .required("check_at_start_mib", |text| parse_count(text, check::STATE_MEMORY_MIB_MAX))?,
            scrub_every: layers.required("scrub_every", quantity::parse_duration)?,
            lease_reads: layers.required("lease_reads", parse_switch)?,
            insecure: layers.required("insecure", parse_switch)?,
        })
    }
}

fn parse_node(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(node) if node > 0 => Ok(node),
        _ => Err("a node is a number from 1 to 65535".into()),
    }
}

fn parse_count(text: &str, max: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("not a number from 1 to {max}")),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "say true or false".into())
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("an empty path".into()) } else { Ok(PathBuf::from(text)) }
}

fn parse_host(text: &str) -> Result<String, String> {
    let port_given = text.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') && !host.is_empty());
    if text.is_empty() || port_given {
        return Err("give a host name or an IP address without a port".into());
    }
    Ok(text.trim_matches(['[', ']']).to_owned())
}

fn parse_redirect(text: &str) -> Result<Redirect, String> {
    match text {
        "proxy" => Ok(Redirect::Proxy),
        "moved" => Ok(Redirect::Moved),
        _ => Err("say proxy or moved".into()),
    }
}

#[cfg(test)]
mod tests;
