//! The key-value machine under saves: what is written beside an image is merged, and a restart finds it all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use ringraft::{Engine, GroupId};

const KEYS: u32 = 400;
const PATIENCE: Duration = Duration::from_secs(60);

/// Both are held until both are found, so they differ.
fn free_addresses() -> (SocketAddr, SocketAddr) {
    let [peer, client] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    (peer.local_addr().unwrap(), client.local_addr().unwrap())
}

/// Two groups on one node, which saves every megabyte.
fn start(dir: &Path, peer: SocketAddr, client: SocketAddr) -> (Engine, TcpStream) {
    let engine = Engine::builder(1, dir)
        .peer(1, peer)
        .client(client)
        .shards(1)
        .groups(2)
        .segment_bytes(1 << 20)
        .log_bytes_max(16 << 20)
        .snapshot_after_bytes(1 << 20)
        .start_kv()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !(1..=2).all(|group| engine.leader(GroupId(group)).is_some()) {
        assert!(Instant::now() < deadline, "no leaders");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let socket = TcpStream::connect(client).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (engine, socket)
}

/// Sends commands at once and compares the replies, byte for byte.
fn expect(socket: &mut TcpStream, exchanges: &[(Vec<&[u8]>, Vec<u8>)]) {
    let mut out = Vec::new();
    for (command, _) in exchanges {
        out.extend(format!("*{}\r\n", command.len()).bytes());
        for argument in command {
            out.extend(format!("${}\r\n", argument.len()).bytes());
            out.extend_from_slice(argument);
            out.extend_from_slice(b"\r\n");
        }
    }
    socket.write_all(&out).unwrap();
    for (command, reply) in exchanges {
        let mut found = vec![0; reply.len()];
        socket.read_exact(&mut found).unwrap();
        let words = command.iter().map(|word| String::from_utf8_lossy(word)).take(2).collect::<Vec<_>>();
        assert!(found == *reply, "{words:?}: {:?}", String::from_utf8_lossy(&found[..found.len().min(80)]));
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Some values are long enough to be saved in parts.
fn value(key: u32, round: u32) -> Vec<u8> {
    let bytes = if key.is_multiple_of(50) { 100_000 } else { 500 };
    format!("{key}-{round}-").into_bytes().into_iter().cycle().take(bytes).collect()
}

#[test]
fn a_restart_finds_what_was_written_before_beside_and_after_every_image() {
    let (peer, client) = free_addresses();
    let dir = tempfile::TempDir::with_prefix("ringraft-kv-snapshots-").unwrap();
    let (engine, mut socket) = start(dir.path(), peer, client);
    let keys: Vec<Vec<u8>> = (0..KEYS).map(|key| format!("key:{key}").into_bytes()).collect();
    let ok = || b"+OK\r\n".to_vec();
    let rounds = 15;
    for round in 0..=rounds {
        if round == 5 {
            expect(&mut socket, &[(vec![b"FLUSHALL"], ok())]);
        }
        let values: Vec<_> = (0..KEYS).map(|key| value(key, round)).collect();
        for (keys, values) in keys.chunks(20).zip(values.chunks(20)) {
            let set = |(key, value)| (vec![&b"SET"[..], key, value], ok());
            let pairs = keys.iter().map(Vec::as_slice).zip(values.iter().map(Vec::as_slice));
            expect(&mut socket, &pairs.map(set).collect::<Vec<_>>());
        }
        // A key that is in every image, and then is not.
        expect(&mut socket, &[(vec![b"DEL", b"key:7"], b":1\r\n".to_vec())]);
    }
    // Few keys change now, and one goes that older files have: those stay, and what changed stands beside them.
    expect(&mut socket, &[(vec![b"DEL", b"key:9"], b":1\r\n".to_vec())]);
    for round in 0..40 {
        let value = value(0, round);
        expect(&mut socket, &[(vec![b"SET", b"key:0", &value], ok())]);
    }
    expect(&mut socket, &[(vec![b"SET", b"key:0", &value(0, rounds)], ok())]);
    let snapshots = dir.path().join("shard-000/snapshots");
    let deadline = Instant::now() + PATIENCE;
    // One each of three groups, and more of the one that was written to.
    while std::fs::read_dir(&snapshots).unwrap().count() < 4 {
        assert!(Instant::now() < deadline, "what changed is not saved beside what did not");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    // The files rot while nobody reads them. What is to be merged with one is saved whole in its place.
    let mut rotten: Vec<_> =
        std::fs::read_dir(&snapshots).unwrap().map(|entry| entry.unwrap().path()).collect();
    rotten.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with("g0-")); // the node directory is not written to
    for path in &rotten {
        let Ok(mut bytes) = std::fs::read(path) else { continue }; // it is not needed any more
        bytes[4096 + 9] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    let mut round = rounds;
    while rotten.iter().any(|path| path.exists()) {
        assert!(Instant::now() < deadline, "damaged files stay");
        round += 1;
        for (key, name) in (0..).zip(&keys).filter(|(key, _)| *key != 7 && *key != 9) {
            expect(&mut socket, &[(vec![b"SET", name, &value(key, round)], ok())]);
        }
    }
    let rounds = round;
    drop(socket);
    engine.shutdown().unwrap();

    let (engine, mut socket) = start(dir.path(), peer, client);
    expect(&mut socket, &[(vec![b"DBSIZE"], format!(":{}\r\n", KEYS - 2).into_bytes())]);
    for (key, name) in (0..).zip(&keys) {
        let reply = if key == 7 || key == 9 { b"$-1\r\n".to_vec() } else { bulk(&value(key, rounds)) };
        expect(&mut socket, &[(vec![b"GET", name], reply)]);
    }
    drop(socket);
    engine.shutdown().unwrap();
}
