//! The library from outside: a cluster in one process, used from a plain thread.

use std::time::Duration;

use ringraft::{Engine, RestoreError, Simple, SimpleMachine};

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

#[test]
fn three_nodes_count_together() {
    let cluster = Engine::local_cluster(3, |_group| Simple::from(Counter::default())).unwrap();
    assert!(cluster.wait_for_leaders(Duration::from_secs(20)), "no leaders");
    for group in [1, 2, 16] {
        let counter = cluster.group(group);
        for expected in 1..=20 {
            assert_eq!(counter.propose_blocking(*b"+").unwrap(), expected.to_string().into_bytes());
        }
        for node in cluster.nodes() {
            let there = node.group(ringraft::GroupId(group)).unwrap();
            assert_eq!(there.query_blocking(*b"?").unwrap(), b"20", "reads are linearizable on every node");
        }
    }
    cluster.shutdown().unwrap();
}

#[path = "../examples/counter.rs"]
mod counter;

#[test]
fn the_tokio_example_runs() {
    counter::main().unwrap();
}

#[path = "../examples/ledger.rs"]
mod ledger;

#[test]
fn the_example_that_saves_changes_finds_all_of_them_again() {
    ledger::main().unwrap();
}

#[path = "../examples/archive.rs"]
mod archive;

#[test]
fn the_example_that_answers_from_files_finds_all_that_is_in_them() {
    archive::main().unwrap();
}
