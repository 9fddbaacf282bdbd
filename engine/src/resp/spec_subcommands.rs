//! The table of subcommands: the other half of the [table of commands](super::spec_table).

use super::spec::{Spec, Verb};
use super::spec_table::{NO_KEYS, command};

/// A subcommand: as a command, without keys.
const fn sub(
    (verb, name, full_name, arity): (Verb, &'static str, &'static str, i8),
    flags: &'static str,
    (categories, tips): (&'static str, &'static str),
    (since, summary): (&'static str, &'static str),
) -> Spec {
    let spec = command((verb, name, arity), flags, NO_KEYS, (categories, tips), ("", since, summary));
    Spec { full_name, ..spec }
}

pub(super) static CLIENT: [Spec; 9] = [
    sub(
        (Verb::ClientGetName, "getname", "client|getname", 2),
        "noscript loading stale",
        ("@connection", ""),
        ("2.6.9", "The name of the connection"),
    ),
    sub(
        (Verb::Help, "help", "client|help", 2),
        "loading stale",
        ("@connection", ""),
        ("5.0.0", "Lists the subcommands"),
    ),
    sub(
        (Verb::ClientId, "id", "client|id", 2),
        "noscript loading stale",
        ("@connection", ""),
        ("5.0.0", "The number of the connection"),
    ),
    sub(
        (Verb::ClientInfo, "info", "client|info", 2),
        "noscript loading stale",
        ("@connection", "nondeterministic_output"),
        ("6.2.0", "A line about this connection"),
    ),
    sub(
        (Verb::ClientList, "list", "client|list", -2),
        "admin noscript loading stale",
        ("@connection", "nondeterministic_output"),
        ("2.4.0", "A line about each connection asked for"),
    ),
    sub(
        (Verb::ClientNoEvict, "no-evict", "client|no-evict", 3),
        "admin noscript loading stale",
        ("@connection", ""),
        ("7.0.0", "Accepted: clients are never evicted"),
    ),
    sub(
        (Verb::ClientNoTouch, "no-touch", "client|no-touch", 3),
        "noscript loading stale",
        ("@connection", ""),
        ("7.2.0", "Accepted: accesses leave no trace on keys"),
    ),
    sub(
        (Verb::ClientSetInfo, "setinfo", "client|setinfo", 4),
        "noscript loading stale",
        ("@connection", ""),
        ("7.2.0", "Tells which library the client uses"),
    ),
    sub(
        (Verb::ClientSetName, "setname", "client|setname", 3),
        "noscript loading stale",
        ("@connection", ""),
        ("2.6.9", "Names the connection"),
    ),
];

pub(super) static CLUSTER: [Spec; 9] = [
    sub(
        (Verb::ClusterCountKeysInSlot, "countkeysinslot", "cluster|countkeysinslot", 3),
        "stale",
        ("", ""),
        ("3.0.0", "How many keys a slot has"),
    ),
    sub(
        (Verb::ClusterGetKeysInSlot, "getkeysinslot", "cluster|getkeysinslot", 4),
        "stale",
        ("", "nondeterministic_output"),
        ("3.0.0", "Some keys of a slot"),
    ),
    sub(
        (Verb::Help, "help", "cluster|help", 2),
        "loading stale",
        ("", ""),
        ("5.0.0", "Lists the subcommands"),
    ),
    sub(
        (Verb::ClusterInfo, "info", "cluster|info", 2),
        "stale",
        ("", "nondeterministic_output"),
        ("3.0.0", "The state of the cluster"),
    ),
    sub(
        (Verb::ClusterKeySlot, "keyslot", "cluster|keyslot", 3),
        "stale",
        ("", ""),
        ("3.0.0", "The slot of a key"),
    ),
    sub(
        (Verb::ClusterMyId, "myid", "cluster|myid", 2),
        "stale",
        ("", ""),
        ("3.0.0", "The identity of this port"),
    ),
    sub(
        (Verb::ClusterNodes, "nodes", "cluster|nodes", 2),
        "stale",
        ("", "nondeterministic_output"),
        ("3.0.0", "A line about each shard of each node"),
    ),
    sub(
        (Verb::ClusterShards, "shards", "cluster|shards", 2),
        "stale",
        ("", "nondeterministic_output"),
        ("7.0.0", "Each shard with the slots it leads"),
    ),
    sub(
        (Verb::ClusterSlots, "slots", "cluster|slots", 2),
        "stale",
        ("", "nondeterministic_output"),
        ("3.0.0", "Each range of slots with who leads it"),
    ),
];

pub(super) static COMMAND: [Spec; 6] = [
    sub(
        (Verb::CommandCount, "count", "command|count", 2),
        "loading stale",
        ("@connection", ""),
        ("2.8.13", "How many commands there are"),
    ),
    sub(
        (Verb::CommandDocs, "docs", "command|docs", -2),
        "loading stale",
        ("@connection", "nondeterministic_output_order"),
        ("7.0.0", "What commands are for"),
    ),
    sub(
        (Verb::CommandGetKeys, "getkeys", "command|getkeys", -4),
        "loading stale",
        ("@connection", ""),
        ("2.8.13", "The keys in a command"),
    ),
    sub(
        (Verb::Help, "help", "command|help", 2),
        "loading stale",
        ("@connection", ""),
        ("5.0.0", "Lists the subcommands"),
    ),
    sub(
        (Verb::CommandInfo, "info", "command|info", -2),
        "loading stale",
        ("@connection", "nondeterministic_output_order"),
        ("2.8.13", "Describes some commands"),
    ),
    sub(
        (Verb::CommandList, "list", "command|list", -2),
        "loading stale",
        ("@connection", "nondeterministic_output_order"),
        ("7.0.0", "The names of commands"),
    ),
];

pub(super) static CONFIG: [Spec; 4] = [
    sub(
        (Verb::ConfigGet, "get", "config|get", -3),
        "admin noscript loading stale",
        ("", ""),
        ("2.0.0", "The values of settings"),
    ),
    sub(
        (Verb::Help, "help", "config|help", 2),
        "loading stale",
        ("", ""),
        ("5.0.0", "Lists the subcommands"),
    ),
    sub(
        (Verb::ConfigResetStat, "resetstat", "config|resetstat", 2),
        "admin noscript loading stale",
        ("", ""),
        ("2.0.0", "Starts the counters of INFO anew"),
    ),
    sub(
        (Verb::ConfigSet, "set", "config|set", -4),
        "admin noscript loading stale",
        ("", "request_policy:all_nodes response_policy:all_succeeded"),
        ("2.0.0", "Changes settings"),
    ),
];

pub(super) static FUNCTION: [Spec; 2] = [
    sub(
        (Verb::FunctionFlush, "flush", "function|flush", -2),
        "write noscript",
        ("@scripting", "request_policy:all_shards response_policy:all_succeeded"),
        ("7.0.0", "Deletes all functions, of which there are none"),
    ),
    sub(
        (Verb::Help, "help", "function|help", 2),
        "loading stale",
        ("@scripting", ""),
        ("7.0.0", "Lists the subcommands"),
    ),
];

pub(super) static RINGRAFT: [Spec; 7] = [
    sub(
        (Verb::RingraftFiles, "files", "ringraft|files", 3),
        "admin stale",
        ("", "nondeterministic_output"),
        ("7.0.0", "The snapshot files of a group of this shard, kept for RINGRAFT READ: GROUP"),
    ),
    sub(
        (Verb::Help, "help", "ringraft|help", 2),
        "loading stale",
        ("", ""),
        ("7.0.0", "Lists the subcommands"),
    ),
    sub(
        (Verb::RingraftMember, "member", "ringraft|member", -3),
        "admin stale",
        ("", "nondeterministic_output"),
        ("7.0.0", "Adds, removes and lists nodes: ADD NODE=IP:PORT, REMOVE NODE, LIST"),
    ),
    sub(
        (Verb::RingraftRead, "read", "ringraft|read", 5),
        "admin stale",
        ("", "nondeterministic_output"),
        ("7.0.0", "Bytes of a file that RINGRAFT FILES named: FILE OFFSET BYTES"),
    ),
    sub(
        (Verb::RingraftSnapshot, "snapshot", "ringraft|snapshot", -2),
        "admin stale",
        ("", ""),
        ("7.0.0", "Saves all groups of this node in the background, or one of this shard: [GROUP]"),
    ),
    sub(
        (Verb::RingraftStatus, "status", "ringraft|status", -2),
        "loading stale",
        ("", "nondeterministic_output"),
        ("7.0.0", "Nodes, shards and groups"),
    ),
    sub(
        (Verb::RingraftTransfer, "transfer", "ringraft|transfer", 4),
        "admin stale",
        ("", ""),
        ("7.0.0", "Hands the leadership of a group to a node: GROUP NODE"),
    ),
];
