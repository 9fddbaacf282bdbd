//! What strangers send and what disks return: answered, refused or named, never fatal.
//!
//! Malformed requests are compared with Redis: the same table runs against it where it is installed.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value, encode};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Redis};

const TIMEOUT: Duration = Duration::from_secs(10);

fn connect(address: SocketAddr) -> Client {
    Client::connect(address, TIMEOUT).unwrap_or_else(|error| panic!("{address} does not let us in: {error}"))
}

fn single_node() -> Cluster {
    let cluster = Cluster::start(&Options { nodes: 1, shards: 2, ..Options::default() });
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    cluster.wait_leaders(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{error}"));
    cluster
}

fn assert_serves(address: SocketAddr, after: &str) {
    let mut client = connect(address);
    assert_eq!(client.line("SET alive yes").ok(), Some(Value::Simple("OK".into())), "after {after}");
    assert_eq!(client.line("GET alive").ok(), Some(Value::Bulk(b"yes".to_vec())), "after {after}");
}

/// What follows the reply.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Closed,
    Open,
}
use Then::{Closed, Open};

/// Requests, the start of what Redis 7.0 answers, and whether it then closes the connection. Nothing is
/// expected of the answer to a web browser: Redis hangs up on it, and what it had to say may be lost.
const REQUESTS: &[(&[u8], &str, Then)] = &[
    (b"*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n", Closed),
    (b"*9999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n", Closed),
    (b"*1\r\n:3\r\n", "-ERR Protocol error: expected '$', got ':'\r\n", Closed),
    (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n", Closed),
    (b"*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n", Closed),
    (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n", Closed),
    (b"SET \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", Closed),
    (b"PING\r\n*1\r\n$x\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n", Closed),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", Closed),
    (b"POST / HTTP/1.1\r\n\r\n", "", Closed),
    (b"QUIT\r\nPING\r\n", "+OK\r\n", Closed),
    (b"PING\r\n", "+PONG\r\n", Open),
    (b"PING\n", "+PONG\r\n", Open),
    (b"\r\n\r\nPING\r\n", "+PONG\r\n", Open),
    (b"*0\r\nPING\r\n", "+PONG\r\n", Open),
    (b"*-1\r\nPING\r\n", "+PONG\r\n", Open),
    (b"ECHO \"a\\x41\\n b\"\r\n", "$5\r\naA\n b\r\n", Open),
    (b"ECHO 'it\\'s'\r\n", "$4\r\nit's\r\n", Open),
    (b"*1\r\n$3\r\nGET\r\n", "-ERR wrong number of arguments for 'get' command\r\n", Open),
    (b"MSET a 1 b\r\n", "-ERR wrong number of arguments for 'mset' command\r\n", Open),
    (b"NOSUCH a\r\n", "-ERR unknown command", Open),
    (b"*1\r\n$0\r\n\r\n", "-ERR unknown command", Open),
    (b"*2\r\n$4\r\n\xff\r\n\x00\r\n$1\r\nx\r\n", "-ERR unknown command", Open),
    (b"CLIENT NOSUCH\r\n", "-ERR ", Open),
    (b"SET k v NX XX\r\n", "-ERR syntax error\r\n", Open),
    (b"SET k v WHAT\r\n", "-ERR syntax error\r\n", Open),
    (b"SELECT 99\r\n", "-ERR DB index is out of range\r\n", Open),
    (b"SCAN abc\r\n", "-ERR invalid cursor\r\n", Open),
    (b"HELLO 9\r\n", "-NOPROTO ", Open),
    (b"SET word abc\r\nINCR word\r\n", "+OK\r\n-ERR value is not an integer or out of range\r\n", Open),
    (b"INCRBY word x\r\n", "-ERR value is not an integer or out of range\r\n", Open),
    (
        b"SET top 9223372036854775807\r\nINCR top\r\n",
        "+OK\r\n-ERR increment or decrement would overflow\r\n",
        Open,
    ),
    (b"SETRANGE word -1 x\r\n", "-ERR offset is out of range\r\n", Open),
];

/// Requests that never end, by their repeated part: refused before they fill the memory.
const ENDLESS: &[(&[u8], &[u8], &str)] = &[
    (b"", b"x", "-ERR Protocol error: too big inline request\r\n"),
    (b"*", b"1", "-ERR Protocol error: too big mbulk count string\r\n"),
    (b"*1\r\n$", b"1", "-ERR Protocol error: too big bulk count string\r\n"),
];

/// What is asked for behind a request that leaves the connection open.
const SENTINEL: &[u8] = b"the end";
const SENTINEL_REPLY: &[u8] = b"$7\r\nthe end\r\n";

/// What is wrong with the answer to a request.
fn difference(address: SocketAddr, request: &[u8], reply: &str, then: Then) -> Option<String> {
    let mut client = connect(address);
    client.send(request).expect("the connection is new");
    if then == Open {
        client.send(&encode(&[b"ECHO", SENTINEL])).expect("the connection stays open");
    }
    let name = request.escape_ascii();
    let got = match client.receive_until(SENTINEL_REPLY) {
        Ok(got) => got,
        Err(error) => return Some(format!("{name}: no answer and no end: {error}")),
    };
    let went_on = got.ends_with(SENTINEL_REPLY);
    let got = String::from_utf8_lossy(&got);
    let right = match then {
        Open => went_on && got.starts_with(reply),
        Closed => !went_on && (got == reply || reply.is_empty()),
    };
    let end = if went_on { "went on" } else { "closed" };
    (!right).then(|| format!("{name}: answered {got:?} and {end}, where Redis answers {reply:?}"))
}

fn answers_like_redis(address: SocketAddr) {
    let different: Vec<String> = REQUESTS
        .iter()
        .filter_map(|(request, reply, then)| difference(address, request, reply, *then))
        .collect();
    assert!(different.is_empty(), "unlike Redis:\n{}", different.join("\n"));
    for (start, part, reply) in ENDLESS {
        let mut client = connect(address);
        let request = [start, part.repeat(128 << 10).as_slice()].concat();
        let _ = client.send(&request); // It may be cut off in the middle.
        match client.receive() {
            Ok(got) => assert_eq!(got, Value::Error(reply[1..].trim_end().to_string())),
            // Unread bytes at the closing side turn into a reset, which may overtake the reply.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{reply}"),
        }
    }
    assert_serves(address, "malformed requests");
}

fn takes_requests_in_any_pieces(address: SocketAddr) {
    let requests = [
        encode(&[b"SET", b"pieces", b"a\r\nb"]),
        b"GET pieces\r\n".to_vec(),
        encode(&[b"APPEND", b"pieces", b""]),
        encode(&[b"ECHO", b"$3\r\n"]),
    ]
    .concat();
    let mut client = connect(address);
    for byte in requests {
        client.send(&[byte]).expect("a slow client is no bad client");
    }
    let replies: Vec<Value> = (0..4).map(|_| client.receive().expect("a reply")).collect();
    let bulk = |bytes: &[u8]| Value::Bulk(bytes.to_vec());
    assert_eq!(replies, [Value::Simple("OK".into()), bulk(b"a\r\nb"), Value::Integer(4), bulk(b"$3\r\n")]);
}

/// `printf .. | nc` says that it is done before it reads: what it asked for is still answered.
fn answers_after_the_client_is_done_sending(address: SocketAddr) {
    for (request, reply) in [
        (&b"PING\r\n"[..], &b"+PONG\r\n"[..]),
        (b"SET done 1\r\nINCR done\r\nGET done\r\n", b"+OK\r\n:2\r\n$1\r\n2\r\n"),
        (b"PING\r\n*1\r\n$4\r\nPI", b"+PONG\r\n"),
    ] {
        let mut client = connect(address);
        client.send(request).expect("the connection is new");
        client.finish_sending().expect("the connection is new");
        let got = client.receive_to_end().expect("an orderly end");
        assert_eq!(got.escape_ascii().to_string(), reply.escape_ascii().to_string());
    }
}

/// Clients that stop in the middle neither block others nor leave anything behind.
fn survives_half_requests(address: SocketAddr) {
    let whole = encode(&[b"SET", b"half", b"written"]);
    let half: Vec<Client> = (1..whole.len())
        .cycle()
        .take(300)
        .map(|end| {
            let mut client = connect(address);
            client.send(&whole[..end]).expect("the connection is new");
            client
        })
        .collect();
    assert_serves(address, "300 half requests");
    drop(half);
    let mut client = connect(address);
    client.send(&whole.repeat(500)).expect("the connection is new");
    drop(client); // 500 replies that nobody reads.
    assert_serves(address, "clients that left");
    assert_eq!(connect(address).line("GET half").ok(), Some(Value::Bulk(b"written".to_vec())));
}

/// Bytes that mean something in RESP, so that random ones get past the first check.
const PROTOCOL: &[u8] = b"*$:+-\r\n0123\"' SETGET";

fn survives_random_bytes(address: SocketAddr) {
    let mut rng = Rng::with_seed(7);
    for _ in 0..200 {
        let mut bytes = vec![0; rng.usize(1..4096)];
        bytes.fill_with(|| if rng.bool() { PROTOCOL[rng.usize(0..PROTOCOL.len())] } else { rng.u8(..) });
        let Ok(mut stream) = TcpStream::connect(address) else { panic!("{address} does not let us in") };
        let _ = stream.write_all(&bytes); // It may be closed on us.
    }
    assert_serves(address, "random bytes");
}

#[test]
fn malformed_requests_are_answered_as_by_redis() {
    let cluster = single_node();
    for address in cluster.shard_addresses(1) {
        answers_like_redis(address);
        takes_requests_in_any_pieces(address);
        answers_after_the_client_is_done_sending(address);
        survives_half_requests(address);
        survives_random_bytes(address);
    }
}

#[test]
fn the_same_checks_of_malformed_requests_pass_with_redis() {
    let Some(redis) = Redis::start() else { return };
    answers_like_redis(redis.address());
    takes_requests_in_any_pieces(redis.address());
    answers_after_the_client_is_done_sending(redis.address());
    survives_half_requests(redis.address());
    survives_random_bytes(redis.address());
}

#[test]
fn what_is_too_large_is_refused_and_the_rest_served() {
    let cluster = single_node();
    let address = cluster.address(1);
    let (key_max, value_max) = (64 << 10, 16 << 20);
    let stored = Some(Value::Simple("OK".into()));
    let mut client = connect(address);
    let key = vec![b'k'; key_max];
    assert_eq!(client.call(&[b"SET", &key, b"v"]).ok(), stored, "a key of the largest size");
    assert_eq!(client.call(&[b"GET", &key]).ok(), Some(Value::Bulk(b"v".to_vec())));
    let value = vec![b'v'; value_max];
    assert_eq!(client.call(&[b"SET", b"large", &value]).ok(), stored, "a value of the largest size");
    assert_eq!(client.line("STRLEN large").ok(), Some(Value::Integer(16 << 20)));
    let refused: [&[&[u8]]; 4] = [
        &[b"SET", &[key.as_slice(), b"k"].concat(), b"v"],
        &[b"SET", b"larger", &[value.as_slice(), b"v"].concat()],
        &[b"APPEND", b"large", b"v"],
        &[b"SETRANGE", b"large", b"16777216", b"v"],
    ];
    for args in refused {
        let mut client = connect(address);
        let name = args[0].escape_ascii();
        match client.call(args) {
            Ok(reply) => assert!(matches!(reply, Value::Error(_)), "{name} was answered {reply:?}"),
            Err(error) => assert!(error.kind() != std::io::ErrorKind::WouldBlock, "{name} hangs: {error}"),
        }
        assert_serves(address, "a request that is too large");
    }
    assert_eq!(client.line("STRLEN large").ok(), Some(Value::Integer(16 << 20)), "the refused had no effect");
    assert_eq!(client.line("EXISTS larger").ok(), Some(Value::Integer(0)));
    let many: Vec<&[u8]> =
        std::iter::once(&b"DEL"[..]).chain(std::iter::repeat_n(&b"x"[..], 100_000)).collect();
    assert_eq!(client.call(&many).ok(), Some(Value::Integer(0)), "many arguments are no fault");
}

#[test]
fn garbage_on_the_peer_port_changes_nothing() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.wait_leaders(Duration::from_secs(20)).unwrap();
    let mut rng = Rng::with_seed(11);
    let mut random = vec![0; 1 << 20];
    random.fill_with(|| rng.u8(..));
    let mut open = Vec::new();
    for id in cluster.ids() {
        let peer = cluster.peer_address(id);
        let parts: [&[u8]; 6] =
            [&random, &[0xff; 256], &[0; 4096], b"GET / HTTP/1.1\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b""];
        for part in parts {
            let mut stream = TcpStream::connect(peer).unwrap();
            let _ = stream.write_all(part); // It may be closed on us.
            open.push(stream);
        }
        for end in (1..200).step_by(7) {
            let mut stream = TcpStream::connect(peer).unwrap();
            let _ = stream.write_all(&random[..end]);
        }
    }
    for id in cluster.ids() {
        assert_serves(cluster.address(id), "garbage for its peers");
    }
    assert!(poll::until(Instant::now() + TIMEOUT, || cluster.wait_leaders(Duration::ZERO).is_ok()));
}
