//! Members added and removed through the library: a node that comes late is brought up by snapshots, votes, survives a
//! restart, and replaces another.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ringraft::{
    AddMemberError, Engine, GroupId, MemberState, NodeId, RemoveMemberError, RestoreError, Simple,
    SimpleMachine, TransferError,
};

const GROUPS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Counter(u64);

impl SimpleMachine for Counter {
    fn apply(&mut self, _command: &[u8], reply: &mut Vec<u8>) {
        self.0 += 1;
        reply.extend_from_slice(self.0.to_string().as_bytes());
    }

    fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(self.0.to_string().as_bytes());
    }

    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| RestoreError::new("eight bytes"))?);
        Ok(())
    }
}

/// Nodes that start and stop one by one, and what ended them.
struct Nodes {
    addresses: Vec<SocketAddr>,
    dir: tempfile::TempDir,
    fatal: Arc<Mutex<Vec<String>>>,
}

impl Nodes {
    fn new(count: usize) -> Nodes {
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        Nodes { addresses, dir: tempfile::TempDir::new().unwrap(), fatal: Arc::default() }
    }

    fn address(&self, node: u16) -> SocketAddr {
        self.addresses[usize::from(node) - 1]
    }

    /// How many snapshot files a node has under their final names.
    fn snapshots(&self, node: u16) -> usize {
        let dir = self.dir.path().join(node.to_string()).join("shard-000/snapshots");
        let files =
            std::fs::read_dir(dir).map(|entries| entries.flatten().collect()).unwrap_or_else(|_| Vec::new());
        files.iter().filter(|file| !file.file_name().to_string_lossy().contains("tmp")).count()
    }

    /// Starts a node that is told of nodes 1 to 3 and itself.
    fn start(&self, node: u16) -> Engine {
        let fatal = Arc::clone(&self.fatal);
        let mut builder = Engine::builder(node, self.dir.path().join(node.to_string()))
            .shards(1)
            .groups(GROUPS)
            .deadline(Duration::from_secs(5))
            .on_fatal(move |why| fatal.lock().unwrap().push(why.to_string()));
        for peer in 1..=3 {
            builder = builder.peer(peer, self.address(peer));
        }
        if node > 3 {
            builder = builder.peer(node, self.address(node));
        }
        builder.start(|_group| Simple::from(Counter::default())).unwrap()
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn count(engine: &Engine, times: u64) {
    for group in 1..=GROUPS {
        let group = engine.group(GroupId(group)).unwrap();
        for _ in 0..times {
            wait("a count", || group.propose_blocking(*b"+").is_ok());
        }
    }
}

fn totals(engine: &Engine) -> Vec<u64> {
    let total = |group| {
        let group = engine.group(GroupId(group)).unwrap();
        let mut text = Vec::new();
        wait("a total", || group.query_blocking(*b"?").map(|answer| text = answer).is_ok());
        String::from_utf8(text).unwrap().parse().unwrap()
    };
    (1..=GROUPS).map(total).collect()
}

fn states(engine: &Engine) -> Vec<(u16, MemberState)> {
    let members = engine.members_blocking().unwrap_or_default();
    members.iter().map(|member| (member.node.0, member.state)).collect()
}

fn is_settled(engine: &Engine) -> bool {
    engine.status().groups_settled == GROUPS + 1
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_late_node_is_brought_up_by_snapshots_and_takes_the_place_of_another() {
    let nodes = Nodes::new(4);
    let mut engines: Vec<Option<Engine>> = (1..=3).map(|node| Some(nodes.start(node))).collect();
    count(engines[0].as_ref().unwrap(), 50);
    // The directory is saved, too: a node that comes late gets everything as files. A follower has nothing to save of a group
    // before it has heard that its first entry is committed, so it is asked until it had.
    let files = GROUPS as usize + 1;
    wait("all states are saved", || {
        engines.iter().flatten().for_each(Engine::take_snapshots);
        (1..=3).all(|node| nodes.snapshots(node) >= files)
    });
    engines.push(Some(nodes.start(4)));
    let first = engines[0].as_ref().unwrap();
    wait("node 4 is taken down", || first.add_member_blocking(4, nodes.address(4)).is_ok());
    let all = [1, 2, 3, 4].map(|node| (node, MemberState::Active)).to_vec();
    wait("node 4 is active", || states(first) == all);
    wait("all groups are settled", || engines.iter().flatten().all(is_settled));
    let refused = first.add_member_blocking(4, nodes.address(4));
    assert_eq!(refused, Err(AddMemberError::AlreadyMember(NodeId(4))));
    let refused = block_on(first.add_member(9, nodes.address(2)));
    assert_eq!(refused, Err(AddMemberError::AddressTaken));
    assert_eq!(
        block_on(first.add_member(0, nodes.address(2))),
        Err(AddMemberError::Impossible),
        "ids begin at 1"
    );
    assert_eq!(first.remove_member_blocking(9), Err(RemoveMemberError::NotMember(NodeId(9))));

    let fourth = engines[3].as_ref().unwrap();
    assert!(nodes.snapshots(4) >= files, "{} files", nodes.snapshots(4));
    assert_eq!(totals(fourth), [50; 3]);
    let config = |engine: &Engine, group: usize| {
        engine.status().groups[group].config.voters.iter().map(|node| node.0).collect::<Vec<_>>()
    };
    assert!((0..4).all(|group| config(fourth, group) == [1, 2, 3, 4]));

    // Leadership goes to the new node, and its requests find the way.
    assert_eq!(fourth.transfer_leader_blocking(GroupId(99), 4), Err(TransferError::NoSuchGroup(GroupId(99))));
    assert_eq!(first.transfer_leader_blocking(GroupId(1), 9), Err(TransferError::NotAVoter(NodeId(9))));
    wait("node 4 leads group 1", || {
        let begun = block_on(first.transfer_leader(GroupId(1), 4));
        assert!(matches!(begun, Ok(()) | Err(TransferError::Unavailable)), "{begun:?}");
        first.leader(GroupId(1)) == Some(NodeId(4))
    });

    // It comes back with the configuration that it got with its snapshot.
    drop(engines[3].take());
    engines[3] = Some(nodes.start(4));
    assert_eq!(block_on(engines[1].as_ref().unwrap().remove_member(1)), Ok(()));
    let second = engines[1].as_ref().unwrap();
    let rest = [2, 3, 4].map(|node| (node, MemberState::Active)).to_vec();
    wait("node 1 is gone", || states(second) == rest);
    wait("node 1 has ended", || !nodes.fatal.lock().unwrap().is_empty());
    let why = nodes.fatal.lock().unwrap().clone();
    assert!(why.iter().all(|why| why.contains("node 1 was removed from this cluster")), "{why:?}");
    drop(engines[0].take());

    // Without node 4 there is no majority now: its vote and its disk count.
    wait("all groups are settled", || engines[1..].iter().flatten().all(is_settled));
    drop(engines[1].take());
    let third = engines[2].as_ref().unwrap();
    count(third, 10);
    assert_eq!(totals(engines[3].as_ref().unwrap()), [60; 3]);
}
