//! INFO: the state of the server as text, in Redis's sections and under Redis's names.

use super::plan::{Context, Plan};
use super::session::Session;
use super::view::{ClusterView, Redirect, Statistics};
use super::{REDIS_VERSION, cluster};
use net::resp::reply;
use std::fmt::Write;
use std::time::Duration;

/// Section names in the order in which they come.
const SECTIONS: [&str; 10] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "cluster",
    "ringraft",
    "keyspace",
];

/// INFO answers at once. Its number of keys is this node's own count (`Statistics::keys`), not the whole
/// cluster's: DBSIZE asks every group.
pub(super) fn plan<'a>(session: &Session, context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let Context { args, view } = context;
    let asked = |section: &str| {
        let all = [section, "all", "everything", "default"];
        args.len() == 1
            || args[1..].iter().any(|arg| all.iter().any(|name| arg.eq_ignore_ascii_case(name.as_bytes())))
    };
    let statistics = view.statistics();
    let mut text = String::new();
    for section in SECTIONS.into_iter().filter(|section| asked(section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        let title = if section == "cpu" { "CPU".into() } else { first.to_ascii_uppercase() + rest };
        write!(text, "# {title}\r\n").expect("writing to memory cannot fail");
        for (name, value) in fields(section, &statistics, view) {
            write!(text, "{name}:{value}\r\n").expect("writing to memory cannot fail");
        }
    }
    reply::verbatim(out, *b"txt", text.as_bytes(), session.proto);
    Plan::Done
}

type Fields = Vec<(&'static str, String)>;

fn fields(section: &str, statistics: &Statistics, view: &dyn ClusterView) -> Fields {
    let clustered = view.redirect() == Redirect::Moved;
    match section {
        "server" => server(statistics, view),
        "clients" => vec![
            ("connected_clients", statistics.clients.to_string()),
            ("cluster_connections", "0".into()),
            ("maxclients", statistics.clients_max.to_string()),
            ("blocked_clients", "0".into()),
        ],
        "memory" => vec![
            ("used_memory", statistics.memory_bytes.to_string()),
            ("used_memory_human", human(statistics.memory_bytes)),
            ("used_memory_rss", statistics.memory_bytes.to_string()),
            ("used_memory_peak", statistics.memory_bytes_peak.to_string()),
            ("used_memory_peak_human", human(statistics.memory_bytes_peak)),
            ("maxmemory", "0".into()),
            ("maxmemory_human", "0B".into()),
            ("maxmemory_policy", "noeviction".into()),
        ],
        "persistence" => vec![
            ("loading", "0".into()),
            ("rdb_changes_since_last_save", "0".into()),
            ("rdb_bgsave_in_progress", "0".into()),
            ("aof_enabled", "1".into()),
            ("aof_rewrite_in_progress", "0".into()),
            ("aof_last_write_status", "ok".into()),
        ],
        "stats" => vec![
            ("total_connections_received", statistics.connections_total.to_string()),
            ("total_commands_processed", statistics.commands_total.to_string()),
            ("instantaneous_ops_per_sec", statistics.commands_per_second.to_string()),
            ("total_net_input_bytes", statistics.received_bytes_total.to_string()),
            ("total_net_output_bytes", statistics.sent_bytes_total.to_string()),
            ("rejected_connections", "0".into()),
            ("expired_keys", "0".into()),
            ("evicted_keys", "0".into()),
            ("keyspace_hits", statistics.hits_total.to_string()),
            ("keyspace_misses", statistics.misses_total.to_string()),
        ],
        "replication" => vec![
            ("role", "master".into()),
            ("connected_slaves", "0".into()),
            ("master_failover_state", "no-failover".into()),
            ("master_repl_offset", "0".into()),
        ],
        "cpu" => vec![
            ("used_cpu_sys", seconds(statistics.cpu_system)),
            ("used_cpu_user", seconds(statistics.cpu_user)),
        ],
        "cluster" => vec![("cluster_enabled", u8::from(clustered).to_string())],
        "ringraft" => ringraft(statistics, view),
        "keyspace" if statistics.keys > 0 => {
            vec![("db0", format!("keys={},expires=0,avg_ttl=0", statistics.keys))]
        }
        _ => Vec::new(),
    }
}

fn ringraft(statistics: &Statistics, view: &dyn ClusterView) -> Fields {
    let mut fields: Fields = vec![
        ("ringraft_version", env!("CARGO_PKG_VERSION").into()),
        ("ringraft_node", view.own().node.0.to_string()),
        ("ringraft_shard", view.own().shard.to_string()),
        ("ringraft_nodes", view.nodes().len().to_string()),
        ("ringraft_groups", view.slot_map().groups().to_string()),
        ("ringraft_groups_led", statistics.groups_led.to_string()),
        ("ringraft_groups_recovering", statistics.groups_recovering.to_string()),
        ("ringraft_groups_faulted", statistics.groups_faulted.to_string()),
        ("ringraft_applied_total", statistics.applied_total.to_string()),
    ];
    fields.extend(statistics.snapshots.iter().map(|(name, value)| (*name, value.to_string())));
    fields.extend(statistics.logs.iter().map(|(name, value)| (*name, value.to_string())));
    fields
}

fn server(statistics: &Statistics, view: &dyn ClusterView) -> Fields {
    let own = view.own();
    let port =
        view.nodes().iter().find(|node| node.id == own.node).map_or(0, |node| node.shard_port(own.shard));
    let uptime = statistics.uptime.as_secs();
    let mode = if view.redirect() == Redirect::Moved { "cluster" } else { "standalone" };
    vec![
        ("redis_version", REDIS_VERSION.into()),
        ("redis_git_sha1", "00000000".into()),
        ("redis_git_dirty", "0".into()),
        ("redis_mode", mode.into()),
        ("ringraft_version", env!("CARGO_PKG_VERSION").into()),
        ("os", "Linux".into()),
        ("arch_bits", usize::BITS.to_string()),
        ("multiplexing_api", "io_uring".into()),
        ("process_id", std::process::id().to_string()),
        ("run_id", cluster::node_id(view.cluster_id(), own)),
        ("tcp_port", port.to_string()),
        ("server_time_usec", view.unix_time().as_micros().to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
        ("hz", "10".into()),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// Bytes for people: `1.50M`.
fn human(bytes: u64) -> String {
    let units = ["K", "M", "G", "T"];
    let mut unit_bytes = 1024_u64;
    let mut name = None;
    for unit in units {
        if bytes < unit_bytes {
            break;
        }
        name = Some((unit, unit_bytes));
        unit_bytes *= 1024;
    }
    match name {
        None => format!("{bytes}B"),
        Some((unit, unit_bytes)) => {
            let hundredths = u128::from(bytes) * 100 / u128::from(unit_bytes);
            format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let cases = [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (1 << 30, "1.00G")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(u64::MAX), "16777215.99T");
        assert_eq!(seconds(Duration::from_micros(1_000_001)), "1.000001");
    }
}
