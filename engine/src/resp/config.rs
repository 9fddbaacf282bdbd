//! CONFIG: the settings that Redis's clients and tools ask for.

use super::plan::{Context, Plan, refuse_bytes, syntax_error};
use super::session::Session;
use super::spec::Verb;
use super::view::{ClusterView, Redirect};
use crate::kv::{VALUE_BYTES_MAX, glob};
use net::resp::{Proto, reply};
use std::borrow::Cow;

/// Settings that are as they are: what tools decide on, answered truthfully.
const FIXED: [(&str, &str); 20] = [
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("bind", ""),
    ("databases", "1"),
    ("dbfilename", ""),
    ("dir", ""),
    ("io-threads", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("maxmemory-samples", "5"),
    ("min-replicas-max-lag", "10"),
    ("min-replicas-to-write", "0"),
    ("notify-keyspace-events", ""),
    ("protected-mode", "yes"),
    ("replica-read-only", "yes"),
    ("requirepass", ""),
    ("save", ""),
    ("tcp-keepalive", "300"),
    ("timeout", "0"),
    ("unixsocket", ""),
];

/// Settings of things that are not there, with Redis's values. Setting them is accepted and changes nothing.
const HARMLESS: [(&str, &str); 32] = [
    ("activedefrag", "no"),
    ("activerehashing", "yes"),
    ("auto-aof-rewrite-percentage", "100"),
    ("client-query-buffer-limit", "1073741824"),
    ("dynamic-hz", "yes"),
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("hash-max-ziplist-entries", "512"),
    ("hash-max-ziplist-value", "64"),
    ("hz", "10"),
    ("latency-monitor-threshold", "0"),
    ("latency-tracking", "yes"),
    ("lazyfree-lazy-eviction", "no"),
    ("lazyfree-lazy-expire", "no"),
    ("lazyfree-lazy-server-del", "no"),
    ("lazyfree-lazy-user-del", "no"),
    ("lazyfree-lazy-user-flush", "no"),
    ("lfu-decay-time", "1"),
    ("lfu-log-factor", "10"),
    ("list-compress-depth", "0"),
    ("list-max-listpack-size", "-2"),
    ("list-max-ziplist-size", "-2"),
    ("loglevel", "notice"),
    ("lua-time-limit", "5000"),
    ("set-max-intset-entries", "512"),
    ("slowlog-log-slower-than", "10000"),
    ("slowlog-max-len", "128"),
    ("stream-node-max-entries", "100"),
    ("tracking-table-max-keys", "1000000"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("zset-max-ziplist-entries", "128"),
];

pub(super) fn plan<'a>(
    verb: Verb,
    session: &mut Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let Context { args, view } = context;
    match verb {
        Verb::ConfigGet => get(&args[2..], view, session.proto, out),
        Verb::ConfigSet => set(&args[2..], view, out),
        Verb::ConfigResetStat => {
            reply::ok(out);
            Plan::ResetStatistics
        }
        _ => unreachable!("{verb:?} is not of CONFIG"),
    }
}

/// A setting asked for by its very name is answered under the name as it was asked for, like Redis does.
fn get<'a>(patterns: &[&[u8]], view: &dyn ClusterView, proto: Proto, out: &mut Vec<u8>) -> Plan<'a> {
    let all = all(view);
    let found = all.iter().filter_map(|(name, value)| {
        let name = name.as_bytes();
        let exact = patterns.iter().find(|pattern| pattern.eq_ignore_ascii_case(name));
        let matches = || patterns.iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name));
        let shown = exact.copied().or_else(|| matches().then_some(name))?;
        Some((shown, value))
    });
    reply::map_header(out, found.clone().count(), proto);
    for (name, value) in found {
        reply::bulk(out, name);
        reply::bulk(out, value.as_bytes());
    }
    Plan::Done
}

fn all(view: &dyn ClusterView) -> Vec<(&'static str, Cow<'static, str>)> {
    let cluster = if view.redirect() == Redirect::Moved { "yes" } else { "no" };
    let own = view.own();
    let port =
        view.nodes().iter().find(|node| node.id == own.node).map_or(0, |node| node.shard_port(own.shard));
    let fixed = FIXED.iter().chain(&HARMLESS).map(|&(name, value)| (name, Cow::Borrowed(value)));
    let variable = [
        ("cluster-enabled", Cow::Borrowed(cluster)),
        ("maxclients", view.statistics().clients_max.to_string().into()),
        ("port", port.to_string().into()),
        ("proto-max-bulk-len", VALUE_BYTES_MAX.to_string().into()),
    ];
    fixed.chain(variable).collect()
}

fn set<'a>(pairs: &[&[u8]], view: &dyn ClusterView, out: &mut Vec<u8>) -> Plan<'a> {
    if !pairs.len().is_multiple_of(2) {
        return syntax_error(out);
    }
    let all = all(view);
    let find = |name: &[u8]| all.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
    for pair in pairs.chunks(2) {
        let Some((name, value)) = find(pair[0]) else {
            let text = b"ERR Unknown option or number of arguments for CONFIG SET - '";
            return refuse_bytes(out, &[text, pair[0], b"'"]);
        };
        let harmless = HARMLESS.iter().any(|(known, _)| known == name);
        if !harmless && value.as_bytes() != pair[1] {
            let text = b"ERR CONFIG SET failed (possibly related to argument '";
            return refuse_bytes(out, &[text, pair[0], b"') - can't set immutable config"]);
        }
    }
    reply::ok(out);
    Plan::Done
}
