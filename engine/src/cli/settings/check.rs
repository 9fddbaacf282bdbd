//! What settings must hold together, checked before anything is touched.

use super::{Address, Settings, SettingsError};
use std::time::Duration;

/// Ports are shards: more than this on one host is a typing error.
pub(super) const SHARDS_MAX: u32 = 1024;
/// One group per hash slot is the finest division there is.
pub(super) const GROUPS_MAX: u32 = 16384;
/// The log of a shard takes at most 4 GiB, and what is saved should leave half of it.
pub(super) const SNAPSHOT_AFTER_MIB_MAX: u32 = 2048;
/// A TiB: more than machines have.
pub(super) const STATE_MEMORY_MIB_MAX: u32 = 1 << 20;
/// Every group has a replica on every node, and more voters only cost.
const NODES_MAX: usize = 7;

pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    members(settings)?;
    advertised(settings)?;
    reachable(settings)?;
    port_ranges(settings)?;
    if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&settings.deadline) {
        return Err(SettingsError::new("deadline must lie between 10ms and 60s"));
    }
    if settings.scrub_every < Duration::from_secs(1) {
        return Err(SettingsError::new("scrub_every must be at least 1s"));
    }
    Ok(())
}

fn members(settings: &Settings) -> Result<(), SettingsError> {
    let cluster = &settings.cluster;
    if cluster.is_empty() || cluster.len() > NODES_MAX {
        return Err(SettingsError::new(format!("cluster must name 1 to {NODES_MAX} members")));
    }
    if let Some(pair) = cluster.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(SettingsError::new(format!("cluster names node {} twice", pair[0].node)));
    }
    if !cluster.iter().any(|member| member.node == settings.node) {
        let ids: Vec<String> = cluster.iter().map(|member| member.node.to_string()).collect();
        let (node, ids) = (settings.node, ids.join(", "));
        return Err(SettingsError::new(format!("node {node} is not in cluster, which names {ids}")));
    }
    match cluster.iter().find(|member| member.address.is_wildcard()) {
        None => Ok(()),
        Some(wildcard) => Err(SettingsError::new(format!(
            "cluster {wildcard}: nodes cannot connect to a wildcard address; name the host"
        ))),
    }
}

fn advertised(settings: &Settings) -> Result<(), SettingsError> {
    if settings.client.is_wildcard() && settings.advertise.is_none() {
        let client = &settings.client;
        return Err(SettingsError::new(format!(
            "client {client} is a wildcard address, which clients cannot be told: give --advertise HOST"
        )));
    }
    Ok(())
}

fn reachable(settings: &Settings) -> Result<(), SettingsError> {
    if settings.insecure {
        return Ok(());
    }
    let refuse = |name: &str, address: &Address| {
        Err(SettingsError::new(format!(
            "{name} {address} can be reached from other hosts, and nobody has to log in: keep it behind a \
             firewall and give --insecure, or use a loopback address"
        )))
    };
    if !settings.client.is_loopback() {
        return refuse("client", &settings.client);
    }
    match settings.cluster.iter().find(|member| !member.address.is_loopback()) {
        Some(member) => refuse("cluster", &member.address),
        None => Ok(()),
    }
}

/// Shard k is at port + k, so addresses on one host need room between them. How many shards the other
/// members have is not known here; this node's number stands for them, and 1 when it is not given.
fn port_ranges(settings: &Settings) -> Result<(), SettingsError> {
    let shards = settings.shards.unwrap_or(1);
    let mut ranges: Vec<(String, &Address, u32)> = Vec::new();
    for member in &settings.cluster {
        ranges.push((format!("cluster {member}"), &member.address, shards));
    }
    ranges.push((format!("client {}", settings.client), &settings.client, shards));
    if let Some(http) = &settings.http {
        ranges.push((format!("http {http}"), http, 1));
    }
    for (name, address, count) in &ranges {
        if u32::from(address.port) + count - 1 > u32::from(u16::MAX) {
            return Err(SettingsError::new(format!("{name}: {count} shards need ports beyond 65535")));
        }
    }
    for (position, (left_name, left, left_count)) in ranges.iter().enumerate() {
        for (right_name, right, right_count) in &ranges[position + 1..] {
            let (l, r) = (u32::from(left.port), u32::from(right.port));
            if same_host(left, right) && l < r + right_count && r < l + left_count {
                return Err(SettingsError::new(format!(
                    "{left_name} and {right_name} overlap: with {shards} shards each address takes the \
                     {shards} ports from its own on"
                )));
            }
        }
    }
    Ok(())
}

fn same_host(left: &Address, right: &Address) -> bool {
    left.host.eq_ignore_ascii_case(&right.host)
        || (left.is_loopback() && right.is_loopback() && (is_name(left) || is_name(right)))
        || (left.is_wildcard() && right.is_loopback())
        || (right.is_wildcard() && left.is_loopback())
}

fn is_name(address: &Address) -> bool {
    address.host.eq_ignore_ascii_case("localhost")
}
