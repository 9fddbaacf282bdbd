//! The same commands to a Redis server and to our code: the replies must be the same to the byte.
//!
//! Needs a `redis-server` of version 7.0 in the path; without one these tests say so and pass.

mod generator;
mod redis;

use super::Redirect;
use super::fixture::FakeCluster;
use generator::Generator;
use net::resp::{Reply, read_reply};
use redis::Redis;

fn parsed(reply: &[u8]) -> Reply {
    let (parsed, bytes) = read_reply(reply).unwrap().expect("a whole reply");
    assert_eq!(bytes, reply.len(), "exactly one reply");
    parsed
}

/// With all that has no order in one: sets, the pairs of maps, and the elements of arrays if `arrays`.
fn sorted(reply: Reply, arrays: bool) -> Reply {
    let sort = |replies: Vec<Reply>, order: bool| {
        let mut replies: Vec<Reply> = replies.into_iter().map(|reply| sorted(reply, arrays)).collect();
        if order {
            replies.sort_by_key(|reply| format!("{reply:?}"));
        }
        replies
    };
    match reply {
        Reply::Array(replies) => Reply::Array(sort(replies, arrays)),
        Reply::Set(replies) => Reply::Set(sort(replies, true)),
        Reply::Map(pairs) => {
            let mut pairs: Vec<(Reply, Reply)> =
                pairs.into_iter().map(|(key, value)| (key, sorted(value, arrays))).collect();
            pairs.retain(|(key, _)| *key != Reply::Bulk(b"notes".to_vec()));
            pairs.sort_by_key(|pair| format!("{pair:?}"));
            Reply::Map(pairs)
        }
        other => other,
    }
}

fn show(args: &[&[u8]]) -> String {
    args.iter().map(|arg| format!("'{}' ", arg[..arg.len().min(200)].escape_ascii())).collect()
}

fn compare_random_commands(groups: u16, one_slot: bool, seeds: std::ops::Range<u64>) {
    let Some(mut redis) = Redis::start() else { return };
    for seed in seeds {
        println!("{groups} groups, seed {seed}");
        let mut ours = FakeCluster::new(groups, Redirect::Proxy);
        let mut generator = Generator { rng: fastrand::Rng::with_seed(seed), one_slot };
        let hello: [&[u8]; 2] = [b"HELLO", if seed % 2 == 0 { b"2" } else { b"3" }];
        for args in [&hello[..], &[b"FLUSHALL"]] {
            redis.run(args);
            ours.run(args);
        }
        for step in 0..3000 {
            let args = generator.command();
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let (theirs, ours) = (redis.run(&args), ours.run(&args));
            let unordered = ["keys", "scan"].iter().any(|name| args[0].eq_ignore_ascii_case(name.as_bytes()));
            if unordered && groups > 1 && args[0].eq_ignore_ascii_case(b"scan") {
                continue; // comes in several steps, see below
            }
            let same =
                theirs == ours || unordered && sorted(parsed(&theirs), true) == sorted(parsed(&ours), true);
            assert!(
                same,
                "seed {seed} step {step}: {}\nRedis: {}\nours:  {}",
                show(&args),
                theirs.escape_ascii(),
                ours.escape_ascii()
            );
        }
        let pattern = generator.pattern();
        assert_eq!(
            scan(&pattern, |args| redis.run(args)),
            scan(&pattern, |args| ours.run(args)),
            "seed {seed}"
        );
    }
}

/// All keys that a whole SCAN finds.
fn scan(pattern: &[u8], mut run: impl FnMut(&[&[u8]]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut cursor = b"0".to_vec();
    let mut found = Vec::new();
    loop {
        let Reply::Array(reply) = parsed(&run(&[b"SCAN", &cursor, b"MATCH", pattern, b"COUNT", b"3"])) else {
            panic!("SCAN answers an array")
        };
        let [Reply::Bulk(next), Reply::Array(keys)] = &reply[..] else { panic!("a cursor and keys") };
        found.extend(keys.iter().map(|key| match key {
            Reply::Bulk(key) => key.clone(),
            other => panic!("not a key: {other:?}"),
        }));
        cursor.clone_from(next);
        if cursor == b"0" {
            found.sort();
            found.dedup();
            return found;
        }
    }
}

#[test]
fn random_commands_answer_as_redis_does_with_one_group() {
    compare_random_commands(1, false, 0..6);
}

#[test]
fn random_commands_answer_as_redis_does_with_many_groups() {
    compare_random_commands(64, true, 100..104);
}

#[test]
fn scattered_commands_answer_as_redis_does() {
    let Some(mut redis) = Redis::start() else { return };
    for seed in 200..204 {
        println!("seed {seed}");
        let mut ours = FakeCluster::new(16, Redirect::Proxy);
        let mut generator = Generator { rng: fastrand::Rng::with_seed(seed), one_slot: false };
        redis.run(&[b"FLUSHALL"]);
        for step in 0..3000 {
            let args = generator.command();
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            if ["mset", "keys", "scan"].iter().any(|name| args[0].eq_ignore_ascii_case(name.as_bytes())) {
                continue;
            }
            let (theirs, ours) = (redis.run(&args), ours.run(&args));
            assert_eq!(
                theirs.escape_ascii().to_string(),
                ours.escape_ascii().to_string(),
                "{step}: {}",
                show(&args)
            );
        }
        assert_eq!(scan(b"*", |args| redis.run(args)), scan(b"*", |args| ours.run(args)), "seed {seed}");
    }
}

#[test]
fn connections_are_answered_as_redis_does() {
    let Some(mut redis) = Redis::start() else { return };
    let mut ours = FakeCluster::new(3, Redirect::Proxy);
    let Reply::Integer(id) = parsed(&redis.run(&[b"CLIENT", b"ID"])) else {
        panic!("CLIENT ID is an integer")
    };
    ours.session.id = id.unsigned_abs();
    let mut differences = Vec::new();
    let script = include_str!("connection.txt");
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let args: Vec<Vec<u8>> = line.split(' ').map(unescape).collect();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let (theirs, ours) = (redis.run(&args), ours.run(&args));
        if theirs != ours {
            differences.push(format!(
                "{line}\n  Redis: {}\n  ours:  {}",
                theirs.escape_ascii(),
                ours.escape_ascii()
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// `""` is an empty argument, `~` a blank and `\n` a line end in an argument of the script; `x*200` repeats.
fn unescape(word: &str) -> Vec<u8> {
    if let Some((letter, count)) = word.split_once("**") {
        return letter.repeat(count.parse().unwrap()).into_bytes();
    }
    word.replace("\"\"", "").replace('~', " ").replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}

#[test]
fn commands_are_described_as_redis_does() {
    let Some(mut redis) = Redis::start() else { return };
    let mut ours = FakeCluster::new(3, Redirect::Proxy);
    for hello in [&[&b"HELLO"[..], b"3"][..], &[b"HELLO", b"2"]] {
        redis.run(hello);
        ours.run(hello);
        for spec in super::spec::all().iter().filter(|spec| spec.name != "ringraft") {
            let described = |reply: &[u8]| match parsed(reply) {
                Reply::Array(mut rows) => match rows.pop() {
                    Some(Reply::Array(mut row)) => {
                        assert_eq!(row.len(), 10, "{}", spec.name);
                        (row.pop().unwrap(), row)
                    }
                    other => panic!("{}: no row but {other:?}", spec.name),
                },
                other => panic!("{}: no array but {other:?}", spec.name),
            };
            let args: [&[u8]; 3] = [b"COMMAND", b"INFO", spec.name.as_bytes()];
            let (their_subs, theirs) = described(&redis.run(&args));
            let (our_subs, our_row) = described(&ours.run(&args));
            let resp3 = hello[1] == b"3";
            assert_eq!(
                sorted(Reply::Array(our_row), !resp3),
                sorted(Reply::Array(without_notes(theirs)), !resp3),
                "{}",
                spec.name
            );
            compare_subcommands(our_subs, &their_subs, !resp3);
        }
    }
}

/// In RESP2 a map is an array, so notes are a pair of its elements.
fn without_notes(replies: Vec<Reply>) -> Vec<Reply> {
    let mut kept = Vec::new();
    let mut replies = replies.into_iter();
    while let Some(reply) = replies.next() {
        match reply {
            Reply::Bulk(text) if text == b"notes" => drop(replies.next()),
            Reply::Array(inner) => kept.push(Reply::Array(without_notes(inner))),
            Reply::Set(inner) => kept.push(Reply::Set(without_notes(inner))),
            other => kept.push(other),
        }
    }
    kept
}

/// Ours are some of theirs; two are newer than theirs.
fn compare_subcommands(ours: Reply, theirs: &Reply, arrays: bool) {
    let (Reply::Array(ours) | Reply::Set(ours)) = ours else { panic!("subcommands are a list") };
    let (Reply::Array(theirs) | Reply::Set(theirs)) = theirs else { panic!("subcommands are a list") };
    for our_row in ours {
        let Reply::Array(row) = &our_row else { panic!("a subcommand is a row") };
        if [&b"client|setinfo"[..], b"client|no-touch"]
            .iter()
            .any(|newer| row[0] == Reply::Bulk(newer.to_vec()))
        {
            continue;
        }
        let their_row =
            theirs.iter().find(|theirs| matches!(theirs, Reply::Array(theirs) if theirs[0] == row[0]));
        let their_row = their_row.unwrap_or_else(|| panic!("Redis has no {:?}", row[0])).clone();
        assert_eq!(sorted(our_row, arrays), sorted(their_row, arrays));
    }
}
