//! States are saved, the log stays short, and who missed too much of it gets a snapshot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ringraft::{
    Applied, Engine, EntryId, Frozen, GroupId, Progress, RestoreError, SaveSink, StartError, StateMachine,
};

const GROUPS: u32 = 3;
const SEGMENT_BYTES: u64 = 1 << 20;
const LOG_BYTES_MAX: u64 = 16 << 20;
const SNAPSHOT_AFTER_BYTES: u64 = 3 << 20;
const KEYS: u32 = 300;
const VALUE_BYTES: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

/// A command is a key of four bytes and its new value; a query is a key.
#[derive(Default)]
struct Table(BTreeMap<[u8; 4], Vec<u8>>);

impl StateMachine for Table {
    fn apply(&mut self, _entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        let (key, value) = command.split_first_chunk().expect("commands are this test's");
        self.0.insert(*key, value.to_vec());
        reply.extend_from_slice(key);
        Applied::Done
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        reply.extend(query.first_chunk().and_then(|key| self.0.get(key)).into_iter().flatten());
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(Image(self.0.clone().into_iter()))
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let key = key.try_into().map_err(|_| RestoreError::new("a key has four bytes"))?;
        self.0.insert(key, value.to_vec());
        Ok(())
    }
}

struct Image(std::collections::btree_map::IntoIter<[u8; 4], Vec<u8>>);

impl Frozen for Image {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        let mut written = 0;
        while written < budget_bytes {
            let Some((key, value)) = self.0.next() else { return Progress::Done };
            // Every other value in two parts: both ways into a file are taken.
            if value.len() > 1 && key[3].is_multiple_of(2) {
                sink.begin(&key, value.len());
                sink.part(&value[..1]);
                sink.part(&value[1..]);
            } else {
                sink.entry(&key, &value);
            }
            written += value.len();
        }
        Progress::More
    }
}

/// A cluster whose nodes stop and start one by one, each with a directory that stays.
struct Cluster {
    nodes: Vec<Option<Engine>>,
    addresses: Vec<SocketAddr>,
    snapshot_after_bytes: u64,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Cluster {
        Cluster::start_saving_after(SNAPSHOT_AFTER_BYTES)
    }

    fn start_saving_after(snapshot_after_bytes: u64) -> Cluster {
        let _set_by_the_other_test = tracing_subscriber::fmt()
            .with_thread_names(true)
            .with_max_level(tracing::Level::INFO)
            .with_test_writer()
            .try_init();
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        drop(listeners);
        let dir = tempfile::TempDir::with_prefix("ringraft-snapshots-").unwrap();
        let mut cluster = Cluster { nodes: vec![None, None, None], addresses, snapshot_after_bytes, dir };
        (1..=3).for_each(|node| cluster.start_node(node));
        cluster.wait("leaders", |cluster| {
            (1..=GROUPS).all(|group| cluster.node(1).leader(GroupId(group)).is_some())
        });
        cluster
    }

    fn start_node(&mut self, node: u16) {
        self.nodes[usize::from(node) - 1] = Some(self.try_start(node).unwrap());
    }

    fn try_start(&self, node: u16) -> Result<Engine, StartError> {
        let mut builder = Engine::builder(node, self.dir.path().join(format!("node-{node}")))
            .shards(1)
            .groups(GROUPS)
            .segment_bytes(SEGMENT_BYTES)
            .log_bytes_max(LOG_BYTES_MAX)
            .snapshot_after_bytes(self.snapshot_after_bytes);
        for (peer, address) in (1..).zip(&self.addresses) {
            builder = builder.peer(peer, *address);
        }
        builder.start(|_group| Table::default())
    }

    fn stop_node(&mut self, node: u16) {
        self.nodes[usize::from(node) - 1].take().expect("it runs").shutdown().unwrap();
    }

    fn node(&self, node: u16) -> &Engine {
        self.nodes[usize::from(node) - 1].as_ref().expect("it runs")
    }

    fn wait(&self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited for {what} in vain");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Writes round `round` of every key of every group, until each write is acknowledged.
    fn write(&self, round: u32) {
        let mut todo: Vec<(u32, u32)> =
            (0..KEYS).flat_map(|key| (1..=GROUPS).map(move |group| (group, key))).collect();
        let deadline = Instant::now() + PATIENCE;
        while !todo.is_empty() {
            assert!(Instant::now() < deadline, "{} writes of round {round} are not taken", todo.len());
            let mut failed = Vec::new();
            for some in todo.chunks(64) {
                let propose = |(group, key): &(u32, u32)| {
                    let group = self.node(1).group(GroupId(*group)).unwrap();
                    group.propose([&key.to_le_bytes()[..], &value(*key, round)].concat())
                };
                let answers: Vec<_> = some.iter().map(propose).collect();
                for (write, answer) in some.iter().zip(answers) {
                    if block_on(answer).is_err() {
                        failed.push(*write); // to write the same value twice does no harm
                    }
                }
            }
            todo = failed;
        }
    }

    /// Every key of `group`, asked through `node`, is as of round `round`.
    fn check(&self, node: u16, group: u32, round: u32) {
        let handle = self.node(node).group(GroupId(group)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        for key in 0..KEYS {
            let found = loop {
                match handle.query_blocking(key.to_le_bytes()) {
                    Ok(found) => break found,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            };
            assert!(
                found == value(key, round),
                "node {node}, group {group}, key {key}: {} bytes",
                found.len()
            );
        }
    }

    /// The whole snapshot files of a node.
    fn snapshots(&self, node: u16) -> Vec<PathBuf> {
        let dir = self.dir.path().join(format!("node-{node}/shard-000/snapshots"));
        let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        // Those of the test's groups: group 0 is the node directory.
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.ends_with(".run") && !name.starts_with("g0-")
        };
        paths.filter(is_ours).collect()
    }

    fn shard_bytes(&self, node: u16, part: &str) -> u64 {
        directory_bytes(&self.dir.path().join(format!("node-{node}/shard-000/{part}")))
    }
}

/// Passes connections on to `to`, and breaks each once this many bytes went there. Answers where it listens.
fn unreliable_way(to: SocketAddr, bytes_max: usize, broken: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let Ok(near) = near else { return };
            let Ok(far) = TcpStream::connect(to) else { continue };
            let (near_back, far_back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass_on(far_back, near_back, usize::MAX));
            let broken = Arc::clone(&broken);
            std::thread::spawn(move || {
                if pass_on(near, far, bytes_max) >= bytes_max {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    address
}

/// Copies until the end, or until `bytes_max` are copied, and ends both connections. Answers how many they were.
fn pass_on(mut from: TcpStream, mut to: TcpStream, bytes_max: usize) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while passed < bytes_max {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        passed += count;
    }
    for end in [from, to] {
        let _already_closed = end.shutdown(Shutdown::Both);
    }
    passed
}

fn value(key: u32, round: u32) -> Vec<u8> {
    let byte = u8::try_from((key * 31 + round * 7) % 251).unwrap();
    vec![byte; VALUE_BYTES]
}

fn directory_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    // A file that goes while we look takes nothing any more.
    entries.map(|entry| entry.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

const ROUND_BYTES: u64 = KEYS as u64 * GROUPS as u64 * VALUE_BYTES as u64;

#[test]
fn the_log_stays_short_and_a_restart_finds_everything() {
    let mut cluster = Cluster::start();
    let rounds = u32::try_from(4 * LOG_BYTES_MAX / ROUND_BYTES).unwrap();
    for round in 0..=rounds {
        cluster.write(round);
        for node in 1..=3 {
            let log = cluster.shard_bytes(node, "log");
            assert!(log <= LOG_BYTES_MAX + SEGMENT_BYTES, "node {node}: {log} bytes of log in round {round}");
        }
    }
    let state_bytes = ROUND_BYTES;
    cluster.wait("old snapshots to be deleted", |cluster| {
        (1..=3).all(|node| {
            let bytes = cluster.shard_bytes(node, "snapshots");
            bytes >= state_bytes && bytes <= state_bytes * 3
        })
    });
    (1..=3).for_each(|node| cluster.stop_node(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    for group in 1..=GROUPS {
        cluster.check(1, group, rounds);
    }
    cluster.write(rounds + 1);
    cluster.check(2, 1, rounds + 1);
}

#[test]
fn who_missed_too_much_of_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::start();
    cluster.write(0);
    cluster.stop_node(3);
    let rounds = u32::try_from(3 * LOG_BYTES_MAX / ROUND_BYTES).unwrap();
    for round in 1..=rounds {
        cluster.write(round);
    }
    let goals: Vec<_> = (1..=GROUPS).map(|group| cluster.node(1).applied(GroupId(group)).unwrap()).collect();
    let before = cluster.shard_bytes(3, "log");
    cluster.start_node(3);
    cluster.wait("the third node to catch up", |cluster| {
        (1..).zip(&goals).all(|(group, goal)| cluster.node(3).applied(GroupId(group)) >= Some(*goal))
    });
    assert!(cluster.shard_bytes(3, "log") <= before.max(LOG_BYTES_MAX), "it did not come through the log");
    assert!(cluster.shard_bytes(3, "snapshots") >= ROUND_BYTES, "but as snapshots");

    // Once it is caught up it takes over the group that it should lead, and answers from its own state.
    let own = |cluster: &Cluster| {
        (1..=GROUPS).find(|group| cluster.node(3).leader(GroupId(*group)).is_some_and(|leader| leader.0 == 3))
    };
    cluster.wait("the third node to lead", |cluster| own(cluster).is_some());
    let group = own(&cluster).expect("just seen");
    cluster.check(3, group, rounds);

    // And a write goes on where the snapshot ended, on all nodes, also after it has restarted from it.
    cluster.write(rounds + 1);
    cluster.stop_node(3);
    cluster.start_node(3);
    cluster.write(rounds + 2);
    cluster.wait("the third node to lead again", |cluster| own(cluster).is_some());
    cluster.check(3, own(&cluster).expect("just seen"), rounds + 2);
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let mut cluster = Cluster::start();
    cluster.write(0);
    cluster.stop_node(3);
    let rounds = u32::try_from(2 * LOG_BYTES_MAX / ROUND_BYTES).unwrap();
    for round in 1..=rounds {
        cluster.write(round);
    }
    let goals: Vec<_> = (1..=GROUPS).map(|group| cluster.node(1).applied(GroupId(group)).unwrap()).collect();
    // Each connection to the third node now breaks before a whole snapshot is over.
    let bytes_max = 1200 << 10;
    let smallest = cluster.snapshots(1).iter().map(|path| path.metadata().unwrap().len()).min();
    assert!(smallest.is_some_and(|bytes| bytes > 3 << 19), "several connections are needed: {smallest:?}");
    let broken = Arc::new(AtomicUsize::new(0));
    let direct = cluster.addresses[2];
    cluster.stop_node(1);
    cluster.stop_node(2);
    cluster.addresses[2] = unreliable_way(direct, bytes_max, Arc::clone(&broken));
    cluster.start_node(1);
    cluster.start_node(2);
    cluster.addresses[2] = direct;
    cluster.start_node(3);
    cluster.wait("the third node to catch up", |cluster| {
        (1..).zip(&goals).all(|(group, goal)| cluster.node(3).applied(GroupId(group)) >= Some(*goal))
    });
    assert!(broken.load(Ordering::Relaxed) >= 2, "{broken:?} connections broke");
}

#[test]
fn a_damaged_or_missing_snapshot_comes_again_from_the_others() {
    let mut cluster = Cluster::start_saving_after(1 << 30); // only when asked to
    cluster.write(0);
    cluster.node(3).take_snapshots();
    cluster.wait("snapshots of all groups", |cluster| cluster.snapshots(3).len() == GROUPS as usize);
    let first = cluster.snapshots(3);
    cluster.write(1);
    cluster.node(3).take_snapshots();
    // A file goes once the record of its successor is durable.
    cluster.wait("newer snapshots of all groups", |cluster| {
        let newer = cluster.snapshots(3);
        newer.len() == GROUPS as usize && newer.iter().all(|path| !first.contains(path))
    });
    for (round, is_missing) in [(2, false), (3, true)] {
        let path = cluster.snapshots(3).swap_remove(0);
        cluster.stop_node(3);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        if is_missing {
            std::fs::remove_file(&path).unwrap()
        } else {
            std::fs::write(&path, bytes).unwrap()
        }
        cluster.start_node(3);
        cluster.write(round);
        let goals: Vec<_> =
            (1..=GROUPS).map(|group| cluster.node(1).applied(GroupId(group)).unwrap()).collect();
        cluster.wait("the third node to have all again", |cluster| {
            (1..).zip(&goals).all(|(group, goal)| cluster.node(3).applied(GroupId(group)) >= Some(*goal))
        });
    }
}
