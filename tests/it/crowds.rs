//! Clients as they should not be: thousands, slow, silent in the middle of a request, senseless; and a well-behaved one
//! among them, which notices nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value, encode};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Place};
use ringraft_tests::workload::{Plan, Workload};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::service::{ALL_SERVE, START, is_connected, judge, let_work, pass, seed, set, up, wait_serves};

/// As many connections as one test can hold on most machines.
const CROWD: usize = 4_000;
/// What the test itself has open besides.
const OWN_DESCRIPTORS: u64 = 500;
const BRIEF: Duration = Duration::from_secs(5);

/// How many connections this process may have, up to `wanted`.
fn affordable(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OWN_DESCRIPTORS);
    let affordable = usize::try_from(allowed).unwrap_or(usize::MAX).min(wanted);
    if affordable < wanted {
        println!("only {affordable} connections instead of {wanted}: `ulimit -n` allows no more");
    }
    affordable
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, BRIEF).expect("the system takes a connection");
    stream.set_read_timeout(Some(BRIEF)).expect("a timeout");
    stream.set_write_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    stream
}

/// Memory of a node's process, in bytes.
fn resident_bytes(cluster: &Cluster, id: u16) -> u64 {
    let pid = cluster.process_id(id).expect("it is running");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process has one");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Sends as much as the other side takes without anything being read, up to `most` times.
fn stuff(stream: &mut TcpStream, request: &[u8], most: usize) -> usize {
    for sent in 0..most {
        match stream.write(request) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent,
            Err(_) => return sent, // it has hung up on us, as it may
        }
    }
    most
}

fn crowd(cluster: &Cluster, size: usize) -> Vec<TcpStream> {
    let mut crowd: Vec<TcpStream> = (0..size).map(|_| connect(cluster.address(1))).collect();
    for stream in &mut crowd {
        stream.write_all(b"PING\r\n").expect("the system takes it");
    }
    let mut pong = [0; 7];
    for (place, stream) in crowd.iter_mut().enumerate() {
        let read = stream.read_exact(&mut pong);
        assert!(read.is_ok() && &pong == b"+PONG\r\n", "connection {place}: {read:?}");
    }
    crowd
}

fn start(options: Options) -> (Cluster, Workload) {
    let cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(START).expect("it finds its leaders");
    let plan = Plan { seed: seed(), rate: 50, ..Plan::default() };
    let workload = Workload::start(cluster.addresses(), plan);
    let_work(&workload, 200);
    (cluster, workload)
}

#[test]
fn a_crowd_costs_little_and_disturbs_nobody() {
    let (cluster, workload) = start(Options::default());
    let size = affordable(CROWD);
    let before = resident_bytes(&cluster, 1);
    let idle = crowd(&cluster, size);
    let_work(&workload, 200);
    let after = resident_bytes(&cluster, 1);
    println!("{size} connections: {} MiB, then {} MiB", mib(before), mib(after));
    // 16 KiB each: a struct with a session and what its first reply left. A thread or a buffer each would be more.
    assert!(after < before + size as u64 * (16 << 10), "{} KiB each", ((after - before) >> 10) / size as u64);
    drop(idle);
    // All gone at once; then connections that come for one request each.
    for round in 0..2_000 {
        let mut stream = connect(cluster.address(1 + round % 3));
        stream.write_all(b"PING\r\n").expect("the system takes it");
        if round % 2 == 0 {
            stream.read_exact(&mut [0; 7]).expect("an answer");
        }
    }
    let_work(&workload, 200);
    wait_serves(&cluster, &up(&cluster), ALL_SERVE, "a crowd");
    judge(&cluster, workload, 30);
}

/// Values of this size are asked for and never read.
const VALUE_BYTES: usize = 256 << 10;

#[test]
fn slow_readers_half_requests_and_garbage_are_bounded() {
    let (cluster, workload) = start(Options::default());
    let before: u64 =
        up(&cluster).into_iter().map(|id| resident_bytes(&cluster, id)).max().unwrap_or_default();
    set(&cluster, 1, "large", &"x".repeat(VALUE_BYTES));
    let mut rng = Rng::with_seed(seed());
    let mut strangers = Vec::new();
    // Whoever reads may ask for much at once.
    for id in up(&cluster) {
        let mut client = Client::connect(cluster.address(id), BRIEF).expect("it is up");
        let asked = vec![vec![b"GET".as_slice(), b"large"]; 300];
        let replies = client.pipeline(&asked).expect("all answers");
        let whole = |reply: &Value| matches!(reply, Value::Bulk(bytes) if bytes.len() == VALUE_BYTES);
        assert!(replies.iter().all(whole), "{:?}", replies.iter().find(|reply| !whole(reply)));
    }
    let ask = encode(&[b"GET", b"large"]).repeat(100);
    for place in 0..120_u16 {
        let mut stream = connect(cluster.address(1 + place % 3));
        match place % 4 {
            0 => println!("slow reader: {} requests", stuff(&mut stream, &ask, 50) * 100),
            1 => {
                // A value that never comes to its end.
                let head = b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$4000000\r\n";
                stuff(&mut stream, &[&head[..], &vec![b'x'; 100_000]].concat(), 1);
            }
            2 => drop(stuff(&mut stream, &(0..2000).map(|_| rng.u8(..)).collect::<Vec<u8>>(), 1)),
            _ => drop(stuff(&mut stream, b"*2\r\n$3\r\nGE", 1)),
        }
        strangers.push(stream);
        if place % 40 == 39 {
            let_work(&workload, 50);
        }
    }
    // One request for more than a frame between nodes carries, through nodes that lead the key and that do not.
    let all = [b"MGET".as_slice()].into_iter().chain([b"large".as_slice(); 200]).collect::<Vec<_>>();
    for id in up(&cluster) {
        let mut client = Client::connect(cluster.address(id), BRIEF).expect("it is up");
        let reply = client.call(&all).expect("an answer");
        assert_eq!(reply.error_code(), Some("ERR"), "{}", reply.text().unwrap_or_default());
    }
    pass(Duration::from_secs(1));
    let_work(&workload, 200);
    let after: Vec<u64> = up(&cluster).into_iter().map(|id| resident_bytes(&cluster, id)).collect();
    println!("{} MiB, then {:?} MiB", mib(before), after.iter().map(|bytes| mib(*bytes)).collect::<Vec<_>>());
    let most = after.into_iter().max().unwrap_or_default();
    assert!(mib(most) < mib(before) + 400, "{} MiB", mib(most));
    wait_serves(&cluster, &up(&cluster), ALL_SERVE, "strangers");
    drop(strangers);
    judge(&cluster, workload, 30);
}

/// A node with 256 file descriptors and more clients than that: those who are in are served, others are told, peers come
/// back, and whoever comes after some have left is let in.
#[test]
fn a_node_out_of_descriptors_keeps_its_peers_and_recovers() {
    let limited = |_| Place {
        before: ["/bin/sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""].map(str::to_string).into(),
        ..Place::default()
    };
    let options = Options { places: (0..3).map(limited).collect(), ..Options::default() };
    let (mut cluster, workload) = start(options);
    let pid = cluster.process_id(1).expect("it is running");
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let mut inside = cluster.client(1).expect("there is room");
    let before = open();
    let mut flood: Vec<TcpStream> = (0..400).map(|_| connect(cluster.address(1))).collect();
    let told = b"-ERR max number of clients reached\r\n";
    let mut turned_away = 0;
    for stream in &mut flood {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let mut said = [0; 36];
        turned_away += usize::from(stream.read_exact(&mut said).is_ok() && &said == told);
    }
    println!("{before} descriptors, with 400 clients {}; {turned_away} were turned away", open());
    assert!(turned_away >= 200 && open() < 200, "nothing is left for files and peers");

    let_work(&workload, 200);
    assert_eq!(inside.line("SET inside yes").expect("it is connected"), Value::Simple("OK".into()));
    cluster.kill(2);
    cluster.start_node(2).expect("it starts again");
    let returned = poll::until(Instant::now() + ALL_SERVE, || is_connected(&mut inside, 2) == Some(true));
    assert!(returned, "node 1 does not let its peer in again");
    wait_serves(&cluster, &[2, 3], ALL_SERVE, "the return of a peer to a node without descriptors");
    drop(flood);
    let served = poll::until(Instant::now() + ALL_SERVE, || {
        let client = Client::connect(cluster.address(1), BRIEF);
        client.and_then(|mut client| client.line("PING")).ok() == Some(Value::Simple("PONG".into()))
    });
    assert!(served, "nobody is let in although all have left");
    judge(&cluster, workload, 30);
}
