//! A node that has promised leases keeps its word in later starts, until none can be in force.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ringraft::{Engine, GroupId, RestoreError, Simple, SimpleMachine};

/// As `Builder::lease_reads` says.
const PROMISE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Counter(u64);

impl SimpleMachine for Counter {
    fn apply(&mut self, _command: &[u8], reply: &mut Vec<u8>) {
        self.0 += 1;
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| RestoreError::new("eight bytes"))?);
        Ok(())
    }
}

/// Starts a cluster of one, adds one, reads the sum, and ends it; answers how long the start took, and the sum.
fn run(dir: &Path, port: u16, lease_reads: bool) -> (Duration, u64) {
    let begin = Instant::now();
    let builder = Engine::builder(1, dir).peer(1, ([127, 0, 0, 1], port).into()).shards(1).groups(1);
    let builder = builder.deadline(Duration::from_secs(20)).lease_reads(lease_reads);
    let engine = builder.start(|_group| Simple::from(Counter::default())).unwrap();
    let start = begin.elapsed();
    let group = engine.group(GroupId(1)).unwrap();
    group.propose_blocking(b"+").unwrap();
    let sum = group.query_blocking(b"").unwrap();
    engine.shutdown().unwrap();
    (start, u64::from_le_bytes(sum.try_into().unwrap()))
}

#[test]
fn the_first_start_without_lease_reads_outwaits_the_leases_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let marker = dir.path().join("lease");
    assert_eq!(run(dir.path(), port, false).1, 1);
    assert!(!marker.exists());
    assert_eq!(run(dir.path(), port, true).1, 2);
    assert!(marker.exists(), "it binds the next start, however this one ended");
    assert_eq!(run(dir.path(), port, true).1, 3);
    let (start, sum) = run(dir.path(), port, false);
    assert!(start >= PROMISE && sum == 4, "{start:?} {sum}");
    assert!(!marker.exists(), "no lease is in force any more");
}
