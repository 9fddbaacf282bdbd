//! Plans for both views of the cluster, and what only we answer.

use super::fixture::{FakeCluster, FakeView};
use super::*;
use crate::kv::{Command, KEY_BYTES_MAX, Position, SLOT_COUNT, VALUE_BYTES_MAX, key_slot};
use net::resp::Proto;
use raft::{GroupId, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

fn place(node: u16, shard: u16) -> Place {
    Place { node: NodeId(node), shard }
}

/// A key of a group.
fn key_in(view: &FakeView, group: u32) -> String {
    (0..)
        .map(|n| format!("k{n}"))
        .find(|key| view.map.group(key_slot(key.as_bytes())) == GroupId(group))
        .unwrap()
}

#[test]
fn one_key_commands_become_one_request_for_its_group() {
    let view = FakeView::new(16, Redirect::Proxy);
    let mut session = FakeCluster::new(16, Redirect::Proxy).session;
    let mut out = Vec::new();
    let args: [&[u8]; 2] = [b"gEt", b"foo"];
    let Plan::One(request) = plan(&mut session, &args, &view, &mut out) else { panic!("one group has it") };
    let expected = Request { group: GroupId(12), slot: 12182, command: Command::Get { key: b"foo" } };
    assert_eq!((request, out.is_empty()), (expected, true));
    assert_eq!(session.last_command, "get");
    let args: [&[u8]; 3] = [b"DECRBY", b"foo", b"5"];
    let Plan::One(request) = plan(&mut session, &args, &view, &mut out) else { panic!("one group has it") };
    assert_eq!(request.command, Command::IncrBy { key: b"foo", by: -5 });
    assert!(request.is_write());
}

#[test]
fn commands_on_keys_of_many_groups_scatter_and_gather() {
    let mut cluster = FakeCluster::new(16, Redirect::Proxy);
    let keys: Vec<String> = (1..=16).map(|group| key_in(&cluster.view, group)).collect();
    for (n, key) in keys.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
        assert_eq!(cluster.line(&format!("SET {key} value{n}")), "+OK\r\n");
    }
    assert_eq!(cluster.line("DBSIZE"), ":10\r\n");
    let (a, b, c) = (&keys[7], &keys[0], &keys[2]);
    assert_eq!(
        cluster.line(&format!("MGET {a} {b} {c} {a}")),
        "*4\r\n$6\r\nvalue7\r\n$-1\r\n$6\r\nvalue2\r\n$6\r\nvalue7\r\n"
    );
    assert_eq!(cluster.line(&format!("EXISTS {a} {b} {c} {a}")), ":3\r\n");
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    assert_eq!(cluster.line(&format!("MSET {a} 1 {b} 2")), crossed);
    assert_eq!(cluster.line("MSET {t}a 1 {t}b 2"), "+OK\r\n");
    assert_eq!(cluster.line(&format!("DEL {a} {b} {c} {a} {{t}}a")), ":3\r\n");
    assert_eq!(cluster.line("FLUSHALL"), "+OK\r\n");
    assert_eq!(cluster.line("DBSIZE"), ":0\r\n");
    let mut alone = FakeCluster::new(1, Redirect::Proxy);
    assert_eq!(alone.line(&format!("MSET {a} 1 {b} 2")), "+OK\r\n");
}

#[test]
fn cluster_nodes_send_clients_to_the_leader() {
    let mut cluster = FakeCluster::new(6, Redirect::Moved);
    let (own, other) = (key_in(&cluster.view, 1), key_in(&cluster.view, 4));
    assert_eq!(cluster.line(&format!("SET {own} 1")), "+OK\r\n");
    let slot = key_slot(other.as_bytes());
    for command in
        [format!("GET {other}"), format!("SET {other} 1"), format!("DEL {other}"), format!("MGET {other}")]
    {
        assert_eq!(cluster.line(&command), format!("-MOVED {slot} 127.0.0.1:6201\r\n"), "{command}");
    }
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    assert_eq!(cluster.line(&format!("MGET {own} {other}")), crossed);
    assert_eq!(cluster.line(&format!("DEL {own} {other}")), crossed);
    // Nobody leads it now: the request waits in the engine for the end of the election.
    cluster.view.leaders[3] = Some(Leader { place: place(2, 1), current: false });
    assert_eq!(cluster.line(&format!("SET {other} 1")), "+OK\r\n");
    cluster.view.leaders[3] = None;
    assert_eq!(cluster.line(&format!("GET {other}")), "$1\r\n1\r\n");
    assert_eq!(cluster.line("SELECT 1"), "-ERR SELECT is not allowed in cluster mode\r\n");
    let mut out = Vec::new();
    moved(&cluster.view, 5, place(9, 0), &mut out);
    assert_eq!(out, b"-CLUSTERDOWN Hash slot not served\r\n", "the leader's node is not known yet");
}

/// SCAN through to the end; answers how many steps it took.
fn scan(cluster: &mut FakeCluster, count: usize) -> (BTreeSet<String>, usize) {
    let (mut cursor, mut found, mut steps) = ("0".to_string(), BTreeSet::new(), 0);
    loop {
        let reply = cluster.line(&format!("SCAN {cursor} COUNT {count}"));
        let mut lines = reply.split("\r\n");
        cursor = lines.nth(2).unwrap().to_string();
        found.extend(lines.skip(2).step_by(2).filter(|key| !key.is_empty()).map(str::to_string));
        steps += 1;
        if cursor == "0" {
            return (found, steps);
        }
    }
}

#[test]
fn commands_on_all_keys_cover_the_cluster_or_what_this_shard_leads() {
    for redirect in [Redirect::Proxy, Redirect::Moved] {
        let mut cluster = FakeCluster::new(12, Redirect::Proxy);
        let all: BTreeSet<String> = (0..500).map(|n| format!("key{n}")).collect();
        all.iter().for_each(|key| assert_eq!(cluster.line(&format!("SET {key} x")), "+OK\r\n"));
        cluster.view.redirect = redirect;
        // As a cluster node this shard, (1, 0), leads groups 1 and 7.
        let visible = |key: &&String| {
            let group = cluster.view.map.group(key_slot(key.as_bytes())).0;
            redirect == Redirect::Proxy || group == 1 || group == 7
        };
        let visible: BTreeSet<String> = all.iter().filter(visible).cloned().collect();
        assert_eq!(cluster.line("DBSIZE"), format!(":{}\r\n", visible.len()));
        for count in [1, 10, 1000] {
            let (found, steps) = scan(&mut cluster, count);
            assert_eq!(found, visible, "{redirect:?} by {count}");
            assert!(steps >= if redirect == Redirect::Proxy { 12 } else { 2 });
        }
        let keys = cluster.line("KEYS key*");
        assert!(keys.starts_with(&format!("*{}\r\n", visible.len())));
        for _ in 0..50 {
            let random = cluster.line("RANDOMKEY");
            assert!(visible.contains(random.lines().nth(1).unwrap()), "{random:?}");
        }
        assert_eq!(cluster.line("FLUSHALL"), "+OK\r\n");
        cluster.view.redirect = Redirect::Proxy;
        assert_eq!(cluster.line("DBSIZE"), format!(":{}\r\n", all.len() - visible.len()));
    }
}

#[test]
fn a_shard_that_leads_nothing_has_no_keys() {
    let mut cluster = FakeCluster::new(3, Redirect::Moved);
    cluster.view.own = place(3, 1);
    assert_eq!(cluster.line("DBSIZE"), ":0\r\n");
    assert_eq!(cluster.line("KEYS *"), "*0\r\n");
    assert_eq!(cluster.line("RANDOMKEY"), "$-1\r\n");
    assert_eq!(cluster.line("SCAN 0"), "*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(cluster.line("FLUSHDB"), "+OK\r\n");
}

#[test]
fn scan_cursors_from_anywhere_are_safe() {
    let mut cluster = FakeCluster::new(5, Redirect::Proxy);
    let end = Position::slot_start(SLOT_COUNT).cursor();
    for cursor in [end - 1, end, end + 1, u64::MAX] {
        assert_eq!(cluster.line(&format!("SCAN {cursor}")), "*2\r\n$1\r\n0\r\n*0\r\n");
    }
    assert_eq!(cluster.line("SCAN 12345"), format!("*2\r\n${}\r\n", next_digits(&cluster)) + &next(&cluster));
}

fn next(cluster: &FakeCluster) -> String {
    let start = cluster.view.map.slots(GroupId(2)).start;
    format!("{}\r\n*0\r\n", Position::slot_start(start).cursor())
}

fn next_digits(cluster: &FakeCluster) -> usize {
    next(cluster).find('\r').unwrap()
}

#[test]
fn keys_and_values_have_limits() {
    let mut cluster = FakeCluster::new(2, Redirect::Proxy);
    let (key, long_key) = (vec![b'k'; KEY_BYTES_MAX], vec![b'k'; KEY_BYTES_MAX + 1]);
    let (value, long_value) = (vec![0; VALUE_BYTES_MAX], vec![0; VALUE_BYTES_MAX + 1]);
    assert_eq!(cluster.run(&[b"SET", &key, b"v"]), b"+OK\r\n");
    let too_long = b"-ERR key exceeds maximum allowed size (65536 bytes)\r\n";
    assert_eq!(cluster.run(&[b"SET", &long_key, b"v"]), too_long);
    assert_eq!(cluster.run(&[b"MGET", b"a", &long_key]), too_long);
    assert_eq!(cluster.run(&[b"MSET", b"a", &long_key]), b"+OK\r\n", "as a value it is short");
    let too_long = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(cluster.run(&[b"SET", b"a", &long_value]), too_long);
    assert_eq!(cluster.run(&[b"MSET", b"a", &long_value]), too_long);
    assert_eq!(cluster.run(&[b"SET", b"a", &value]), b"+OK\r\n");
    assert_eq!(cluster.run(&[b"APPEND", b"a", b"x"]), too_long);
    assert_eq!(cluster.run(&[b"SETRANGE", b"a", b"16777215", b"xx"]), too_long);
    assert_eq!(cluster.run(&[b"SETRANGE", b"a", b"16777215", b"x"]), b":16777216\r\n");
}

#[test]
fn expiry_options_are_refused_by_name() {
    let mut cluster = FakeCluster::new(1, Redirect::Proxy);
    for option in ["EX 10", "px 10", "EXAT 10", "PXAT 10", "KEEPTTL", "NX EX 5 GET"] {
        let reply = cluster.line(&format!("SET k v {option}"));
        assert!(
            reply.starts_with("-ERR SET option ") && reply.ends_with("keys do not expire yet\r\n"),
            "{reply}"
        );
    }
    assert_eq!(cluster.line("GET k"), "$-1\r\n");
}

#[test]
fn the_shape_of_the_cluster_in_all_its_forms() {
    let mut cluster = FakeCluster::new(6, Redirect::Proxy);
    cluster.view.leaders[1] = Some(Leader { place: place(1, 0), current: true });
    cluster.view.leaders[5] = None;
    let id = node_id(*b"cluster-identity", place(1, 0));
    assert!(id.len() == 40 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(cluster.line("CLUSTER MYID"), format!("$40\r\n{id}\r\n"));
    // Groups 1 and 2 are neighbours of one leader; group 6 never had one.
    let slots = cluster.line("CLUSTER SLOTS");
    let first = format!("*4\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:6100\r\n$40\r\n{id}\r\n*0\r\n");
    assert!(slots.starts_with(&first), "{slots}");
    let nodes = cluster.line("CLUSTER NODES");
    let lines: Vec<&str> = nodes.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], format!("{id} 127.0.0.1:6100@16100 myself,master - 0 0 7 connected 0-5460"));
    assert!(lines[1].ends_with(":6101@16101 master - 0 0 7 connected"), "{}", lines[1]);
    let ids: BTreeSet<&str> = lines.iter().map(|line| &line[..40]).collect();
    assert_eq!(ids.len(), 6);
    let shards = cluster.line("CLUSTER SHARDS");
    assert!(
        shards.starts_with("*6\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:5460\r\n$5\r\nnodes\r\n*1\r\n*14\r\n"),
        "{shards}"
    );
    let info = cluster.line("CLUSTER INFO");
    for line in
        ["cluster_state:fail", "cluster_slots_assigned:13653", "cluster_known_nodes:6", "cluster_size:4"]
    {
        assert!(info.contains(line), "{line} in {info}");
    }
    cluster.view.leaders[5] = Some(Leader { place: place(3, 1), current: true });
    assert!(cluster.line("CLUSTER INFO").contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
    assert_eq!(cluster.line("CLUSTER KEYSLOT foo"), ":12182\r\n");
}

#[test]
fn slots_can_be_looked_into() {
    let mut cluster = FakeCluster::new(7, Redirect::Moved);
    cluster.view.redirect = Redirect::Proxy;
    for key in ["{foo}1", "{foo}2", "{foo}3"] {
        cluster.line(&format!("SET {key} x"));
    }
    assert_eq!(cluster.line("CLUSTER COUNTKEYSINSLOT 12182"), ":3\r\n");
    assert!(cluster.line("CLUSTER GETKEYSINSLOT 12182 2").starts_with("*2\r\n$6\r\n{foo}"));
    assert_eq!(cluster.line("CLUSTER GETKEYSINSLOT 12182 0"), "*0\r\n");
    assert_eq!(cluster.line("CLUSTER COUNTKEYSINSLOT 16384"), "-ERR Invalid slot\r\n");
    assert_eq!(cluster.line("CLUSTER COUNTKEYSINSLOT x"), "-ERR value is not an integer or out of range\r\n");
    assert_eq!(cluster.line("CLUSTER GETKEYSINSLOT 1 -1"), "-ERR Invalid slot or number of keys\r\n");
}

#[test]
fn info_says_what_tools_look_for() {
    let mut cluster = FakeCluster::new(3, Redirect::Proxy);
    cluster.view.statistics =
        Statistics { keys: 42, clients: 7, memory_bytes: 1 << 20, ..Statistics::default() };
    let info = cluster.line("INFO");
    for line in [
        "redis_version:7.0.15",
        "redis_mode:standalone",
        "ringraft_version:",
        "role:master",
        "connected_clients:7",
        "used_memory:1048576",
        "used_memory_human:1.00M",
        "cluster_enabled:0",
        "tcp_port:6100",
        "db0:keys=42,expires=0,avg_ttl=0",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    let keyspace = "# Keyspace\r\ndb0:keys=42,expires=0,avg_ttl=0\r\n";
    assert_eq!(cluster.line("INFO keyspace"), format!("${}\r\n{keyspace}\r\n", keyspace.len()));
    let two = cluster.line("INFO CLUSTER cpu");
    assert!(two.contains("# CPU\r\n") && two.contains("\r\n\r\n# Cluster\r\n") && !two.contains("# Server"));
    assert_eq!(cluster.line("INFO nothing"), "$0\r\n\r\n");
    cluster.view.redirect = Redirect::Moved;
    assert!(
        cluster.line("INFO").contains("redis_mode:cluster")
            && cluster.line("INFO").contains("cluster_enabled:1")
    );
    cluster.line("HELLO 3");
    assert!(cluster.line("INFO cpu").starts_with("=58\r\ntxt:# CPU\r\n"), "{}", cluster.line("INFO cpu"));
    assert!(cluster.line("HELLO").contains("$4\r\nmode\r\n$7\r\ncluster\r\n"));
}

#[test]
fn connections_tell_about_themselves() {
    let mut cluster = FakeCluster::new(1, Redirect::Proxy);
    cluster.line("CLIENT SETNAME me");
    assert_eq!(cluster.line("CLIENT SETINFO LIB-NAME redis-py"), "+OK\r\n");
    assert_eq!(cluster.line("CLIENT SETINFO lib-ver 8.1"), "+OK\r\n");
    assert_eq!(cluster.line("CLIENT SETINFO FOO x"), "-ERR Unrecognized option 'FOO'\r\n");
    let bad = "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(cluster.run(&[b"CLIENT", b"SETINFO", b"LIB-VER", b"a b"]), bad.as_bytes());
    let info = cluster.line("CLIENT INFO");
    for field in [
        "id=5 ",
        "addr=127.0.0.1:50000 laddr=127.0.0.1:6100 ",
        "name=me age=0 ",
        "cmd=client|info ",
        "resp=2 ",
    ] {
        assert!(info.contains(field), "{field} in {info}");
    }
    assert!(info.ends_with("lib-name=redis-py lib-ver=8.1\n\r\n"));
    assert_eq!(cluster.line("CLIENT LIST ID 5 6"), info.replace("client|info", "client|list"));
    assert_eq!(cluster.line("TIME"), "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n");
    cluster.line("HELLO 3");
    assert_eq!(cluster.session.proto, Proto::Resp3);
    assert_eq!(cluster.line("GET nosuch"), "_\r\n");
    assert_eq!(cluster.line("READONLY"), "+OK\r\n");
    assert!(cluster.session.readonly);
    assert_eq!(cluster.line("ASKING"), "+OK\r\n");
    assert!(cluster.session.asking);
    assert_eq!(cluster.line("PING"), "+PONG\r\n");
    assert!(!cluster.session.asking, "it holds for one command");
    assert_eq!(cluster.line("RESET"), "+RESET\r\n");
    assert!(
        cluster.session.proto == Proto::Resp2 && !cluster.session.readonly && cluster.session.name.is_empty()
    );
    assert_eq!(cluster.line("QUIT"), "+OK\r\n");
    assert!(cluster.closed);
}

#[test]
fn waits_and_statuses_are_the_engines_business() {
    let view = FakeView::new(2, Redirect::Proxy);
    let mut session = FakeCluster::new(2, Redirect::Proxy).session;
    let mut out = Vec::new();
    let wait: [&[u8]; 3] = [b"WAIT", b"2", b"1500"];
    let planned = plan(&mut session, &wait, &view, &mut out);
    let expected = Some(Duration::from_millis(1500));
    assert!(matches!(planned, Plan::Wait { replicas: 2, timeout } if timeout == expected));
    let wait: [&[u8]; 3] = [b"WAIT", b"-1", b"0"];
    let planned = plan(&mut session, &wait, &view, &mut out);
    assert!(matches!(planned, Plan::Wait { replicas: 0, timeout: None }));
    let status: [&[u8]; 3] = [b"ringraft", b"status", b"json"];
    let planned = plan(&mut session, &status, &view, &mut out);
    assert!(matches!(planned, Plan::Status([b"json"])));
    assert!(matches!(plan(&mut session, &[], &view, &mut out), Plan::Done));
    assert!(out.is_empty());
    let reset: [&[u8]; 2] = [b"CONFIG", b"RESETSTAT"];
    assert!(matches!(plan(&mut session, &reset, &view, &mut out), Plan::ResetStatistics));
    assert_eq!(out, b"+OK\r\n");
    let snapshot: [&[u8]; 2] = [b"RINGRAFT", b"SNAPSHOT"];
    assert!(matches!(plan(&mut session, &snapshot, &view, &mut out), Plan::TakeSnapshots));
}

#[test]
fn settings_tell_the_truth_and_only_harmless_ones_change() {
    let mut cluster = FakeCluster::new(1, Redirect::Moved);
    assert_eq!(cluster.line("CONFIG GET appendonly"), "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n");
    assert_eq!(cluster.line("CONFIG GET save"), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert_eq!(cluster.line("CONFIG GET databases"), "*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n");
    assert_eq!(cluster.line("CONFIG GET cluster-en*"), "*2\r\n$15\r\ncluster-enabled\r\n$3\r\nyes\r\n");
    assert_eq!(
        cluster.line("CONFIG GET p?rt maxcl*"),
        "*4\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n$4\r\nport\r\n$4\r\n6100\r\n"
    );
    assert_eq!(cluster.line("CONFIG SET hash-max-listpack-entries 5 hz 20"), "+OK\r\n");
    assert_eq!(cluster.line("CONFIG SET appendonly yes"), "+OK\r\n");
    assert_eq!(
        cluster.line("CONFIG SET appendonly no"),
        "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - can't set immutable config\r\n"
    );
}

#[test]
fn help_lists_the_subcommands_that_exist() {
    let mut cluster = FakeCluster::new(1, Redirect::Proxy);
    for container in ["CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "RINGRAFT"] {
        let help = cluster.line(&format!("{container} HELP"));
        let title = format!("+{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n");
        assert!(help.contains(&title) && help.contains("\r\n+HELP\r\n"), "{help}");
    }
    assert!(cluster.line("COMMAND DOCS get").starts_with("*2\r\n$3\r\nget\r\n*6\r\n$7\r\nsummary\r\n"));
    let count = spec::all().len();
    assert_eq!(cluster.line("COMMAND COUNT"), format!(":{count}\r\n"));
    assert!(cluster.line("COMMAND").starts_with(&format!("*{count}\r\n*10\r\n")));
    assert!(cluster.line("COMMAND DOCS").starts_with(&format!("*{}\r\n", 2 * count)));
    assert!(cluster.line("COMMAND LIST FILTERBY ACLCAT connection").contains("\r\nping\r\n"));
}
