//! The table of commands: how each is called, and what COMMAND tells about it.
//!
//! Names, arities, flags, key positions, categories and tips are those of Redis 7.0.15, so that clients that read
//! COMMAND treat these commands as they treat Redis's. A test compares them with a Redis server.

use super::spec::{Keys, Spec, Verb};
use super::spec_subcommands::{CLIENT, CLUSTER, COMMAND, CONFIG, FUNCTION, RINGRAFT};

/// A command: its verb, name and arity; flags; keys and what it does to them; categories and tips; documentation.
pub(super) const fn command(
    (verb, name, arity): (Verb, &'static str, i8),
    flags: &'static str,
    (keys, key_flags): (Keys, &'static str),
    (categories, tips): (&'static str, &'static str),
    (group, since, summary): (&'static str, &'static str, &'static str),
) -> Spec {
    Spec {
        verb,
        name,
        full_name: name,
        arity,
        flags,
        keys,
        key_flags,
        categories,
        tips,
        group,
        since,
        summary,
        subcommands: &[],
    }
}

pub(super) const NO_KEYS: (Keys, &str) = (Keys::NONE, "");

/// All commands, by name.
pub(super) static COMMANDS: [Spec; 47] = [
    command(
        (Verb::Append, "append", 3),
        "write denyoom fast",
        (Keys::ONE, "RW insert"),
        ("@string", ""),
        ("string", "2.0.0", "Appends to the value of a key"),
    ),
    command(
        (Verb::Asking, "asking", 1),
        "fast",
        NO_KEYS,
        ("@connection", ""),
        ("cluster", "3.0.0", "Announces that an -ASK redirect is being followed"),
    ),
    command(
        (Verb::Auth, "auth", -2),
        "noscript loading stale fast no_auth allow_busy",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "1.0.0", "Authenticates the connection"),
    ),
    Spec {
        subcommands: &CLIENT,
        ..command(
            (Verb::Container, "client", -2),
            "",
            NO_KEYS,
            ("", ""),
            ("connection", "2.4.0", "Commands about the connection"),
        )
    },
    Spec {
        subcommands: &CLUSTER,
        ..command(
            (Verb::Container, "cluster", -2),
            "",
            NO_KEYS,
            ("", ""),
            ("cluster", "3.0.0", "Commands about the cluster"),
        )
    },
    Spec {
        subcommands: &COMMAND,
        ..command(
            (Verb::Command, "command", -1),
            "loading stale",
            NO_KEYS,
            ("@connection", "nondeterministic_output_order"),
            ("server", "2.8.13", "Describes all commands"),
        )
    },
    Spec {
        subcommands: &CONFIG,
        ..command(
            (Verb::Container, "config", -2),
            "",
            NO_KEYS,
            ("", ""),
            ("server", "2.0.0", "Commands about settings"),
        )
    },
    command(
        (Verb::DbSize, "dbsize", 1),
        "readonly fast",
        NO_KEYS,
        ("@keyspace", "request_policy:all_shards response_policy:agg_sum"),
        ("server", "1.0.0", "How many keys there are"),
    ),
    command(
        (Verb::Decr, "decr", 2),
        "write denyoom fast",
        (Keys::ONE, "RW access update"),
        ("@string", ""),
        ("string", "1.0.0", "Takes one from the integer of a key"),
    ),
    command(
        (Verb::DecrBy, "decrby", 3),
        "write denyoom fast",
        (Keys::ONE, "RW access update"),
        ("@string", ""),
        ("string", "1.0.0", "Takes a number from the integer of a key"),
    ),
    command(
        (Verb::Del, "del", -2),
        "write",
        (Keys::ALL, "RM delete"),
        ("@keyspace", "request_policy:multi_shard response_policy:agg_sum"),
        ("generic", "1.0.0", "Deletes keys"),
    ),
    command(
        (Verb::Echo, "echo", 2),
        "loading stale fast",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "1.0.0", "Answers its argument"),
    ),
    command(
        (Verb::Exists, "exists", -2),
        "readonly fast",
        (Keys::ALL, "RO"),
        ("@keyspace", "request_policy:multi_shard response_policy:agg_sum"),
        ("generic", "1.0.0", "How many of the keys exist"),
    ),
    command(
        (Verb::FlushAll, "flushall", -1),
        "write",
        NO_KEYS,
        ("@keyspace @dangerous", "request_policy:all_shards response_policy:all_succeeded"),
        ("server", "1.0.0", "Deletes all keys"),
    ),
    command(
        (Verb::FlushDb, "flushdb", -1),
        "write",
        NO_KEYS,
        ("@keyspace @dangerous", "request_policy:all_shards response_policy:all_succeeded"),
        ("server", "1.0.0", "Deletes all keys"),
    ),
    Spec {
        subcommands: &FUNCTION,
        ..command(
            (Verb::Container, "function", -2),
            "",
            NO_KEYS,
            ("", ""),
            ("scripting", "7.0.0", "There are no functions; flushing them succeeds"),
        )
    },
    command(
        (Verb::Get, "get", 2),
        "readonly fast",
        (Keys::ONE, "RO access"),
        ("@string", ""),
        ("string", "1.0.0", "The value of a key"),
    ),
    command(
        (Verb::GetDel, "getdel", 2),
        "write fast",
        (Keys::ONE, "RW access delete"),
        ("@string", ""),
        ("string", "6.2.0", "The value of a key, which is deleted"),
    ),
    command(
        (Verb::GetRange, "getrange", 4),
        "readonly",
        (Keys::ONE, "RO access"),
        ("@string", ""),
        ("string", "2.4.0", "A part of the value of a key"),
    ),
    command(
        (Verb::GetSet, "getset", 3),
        "write denyoom fast",
        (Keys::ONE, "RW access update"),
        ("@string", ""),
        ("string", "1.0.0", "Sets a key and answers its old value"),
    ),
    command(
        (Verb::Hello, "hello", -1),
        "noscript loading stale fast no_auth allow_busy",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "6.0.0", "Chooses the protocol"),
    ),
    command(
        (Verb::Incr, "incr", 2),
        "write denyoom fast",
        (Keys::ONE, "RW access update"),
        ("@string", ""),
        ("string", "1.0.0", "Adds one to the integer of a key"),
    ),
    command(
        (Verb::IncrBy, "incrby", 3),
        "write denyoom fast",
        (Keys::ONE, "RW access update"),
        ("@string", ""),
        ("string", "1.0.0", "Adds a number to the integer of a key"),
    ),
    command(
        (Verb::Info, "info", -1),
        "loading stale",
        NO_KEYS,
        ("@dangerous", "nondeterministic_output request_policy:all_shards response_policy:special"),
        ("server", "1.0.0", "The state of the server"),
    ),
    command(
        (Verb::Keys, "keys", 2),
        "readonly",
        NO_KEYS,
        ("@keyspace @dangerous", "request_policy:all_shards nondeterministic_output_order"),
        ("generic", "1.0.0", "All keys that match a pattern"),
    ),
    command(
        (Verb::MGet, "mget", -2),
        "readonly fast",
        (Keys::ALL, "RO access"),
        ("@string", "request_policy:multi_shard"),
        ("string", "1.0.0", "The values of keys"),
    ),
    command(
        (Verb::MSet, "mset", -3),
        "write denyoom",
        (Keys::PAIRS, "OW update"),
        ("@string", "request_policy:multi_shard response_policy:all_succeeded"),
        ("string", "1.0.1", "Sets keys"),
    ),
    command(
        (Verb::Ping, "ping", -1),
        "fast",
        NO_KEYS,
        ("@connection", "request_policy:all_shards response_policy:all_succeeded"),
        ("connection", "1.0.0", "Answers"),
    ),
    command(
        (Verb::Quit, "quit", -1),
        "noscript loading stale fast no_auth allow_busy",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "1.0.0", "Closes the connection"),
    ),
    command(
        (Verb::RandomKey, "randomkey", 1),
        "readonly",
        NO_KEYS,
        ("@keyspace", "request_policy:all_shards nondeterministic_output"),
        ("generic", "1.0.0", "Any key"),
    ),
    command(
        (Verb::ReadOnly, "readonly", 1),
        "loading stale fast",
        NO_KEYS,
        ("@connection", ""),
        ("cluster", "3.0.0", "Accepted: reads are answered by leaders all the same"),
    ),
    command(
        (Verb::ReadWrite, "readwrite", 1),
        "loading stale fast",
        NO_KEYS,
        ("@connection", ""),
        ("cluster", "3.0.0", "Takes READONLY back"),
    ),
    command(
        (Verb::Reset, "reset", 1),
        "noscript loading stale fast no_auth allow_busy",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "6.2.0", "Makes the connection as good as new"),
    ),
    Spec {
        subcommands: &RINGRAFT,
        ..command(
            (Verb::Container, "ringraft", -2),
            "",
            NO_KEYS,
            ("", ""),
            ("server", "7.0.0", "Commands beyond Redis"),
        )
    },
    command(
        (Verb::Role, "role", 1),
        "noscript loading stale fast",
        NO_KEYS,
        ("@admin @dangerous", ""),
        ("server", "2.8.12", "Always a master"),
    ),
    command(
        (Verb::Scan, "scan", -2),
        "readonly",
        NO_KEYS,
        ("@keyspace", "nondeterministic_output request_policy:special"),
        ("generic", "2.8.0", "Goes through the keys"),
    ),
    command(
        (Verb::Select, "select", 2),
        "loading stale fast",
        NO_KEYS,
        ("@connection", ""),
        ("connection", "1.0.0", "Accepted for database 0, the only one"),
    ),
    command(
        (Verb::Set, "set", -3),
        "write denyoom",
        (Keys::ONE, "RW access update variable_flags"),
        ("@string", ""),
        ("string", "1.0.0", "Sets a key"),
    ),
    command(
        (Verb::SetNx, "setnx", 3),
        "write denyoom fast",
        (Keys::ONE, "OW insert"),
        ("@string", ""),
        ("string", "1.0.0", "Sets a key that does not exist"),
    ),
    command(
        (Verb::SetRange, "setrange", 4),
        "write denyoom",
        (Keys::ONE, "RW update"),
        ("@string", ""),
        ("string", "2.2.0", "Overwrites a part of the value of a key"),
    ),
    command(
        (Verb::StrLen, "strlen", 2),
        "readonly fast",
        (Keys::ONE, "RO"),
        ("@string", ""),
        ("string", "2.2.0", "The length of the value of a key"),
    ),
    command(
        (Verb::SubStr, "substr", 4),
        "readonly",
        (Keys::ONE, "RO access"),
        ("@string", ""),
        ("string", "1.0.0", "A part of the value of a key"),
    ),
    command(
        (Verb::Time, "time", 1),
        "loading stale fast",
        NO_KEYS,
        ("", "nondeterministic_output"),
        ("server", "2.6.0", "The time of day here"),
    ),
    command(
        (Verb::Touch, "touch", -2),
        "readonly fast",
        (Keys::ALL, "RO"),
        ("@keyspace", "request_policy:multi_shard response_policy:agg_sum"),
        ("generic", "3.2.1", "How many of the keys exist"),
    ),
    command(
        (Verb::Type, "type", 2),
        "readonly fast",
        (Keys::ONE, "RO"),
        ("@keyspace", ""),
        ("generic", "1.0.0", "The type of a key"),
    ),
    command(
        (Verb::Unlink, "unlink", -2),
        "write fast",
        (Keys::ALL, "RM delete"),
        ("@keyspace", "request_policy:multi_shard response_policy:agg_sum"),
        ("generic", "4.0.0", "Deletes keys"),
    ),
    command(
        (Verb::Wait, "wait", 3),
        "noscript",
        NO_KEYS,
        ("@connection", "request_policy:all_shards response_policy:agg_min"),
        ("generic", "3.0.0", "Waits until replicas hold the writes of this connection"),
    ),
];
