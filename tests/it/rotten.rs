//! Bytes that are not any more what was written, on one node of several: it says where, gets back from the others what they
//! took, and serves. A node that is alone ends and says where.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::workload::{Plan, Workload};

use super::bad_disk::walk;

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a value; a file that holds ten of them holds much.
const VALUE_BYTES: usize = 32 << 10;

fn cluster(nodes: u16, args: &[&str]) -> Cluster {
    let args = ["--segment-bytes", "2097152"].iter().chain(args).map(ToString::to_string).collect();
    let cluster = Cluster::start(&Options { nodes, groups: Some(4), args, ..Options::default() });
    let cluster = cluster.expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    cluster
}

/// Stores values in all groups.
fn fill(cluster: &Cluster) {
    let mut client = cluster.client(1).expect("a ready node");
    let value = vec![b'v'; VALUE_BYTES];
    for at in 0..200 {
        let stored = client.call(&[b"SET", format!("big{at}").as_bytes(), &value]).expect("an answer");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    cluster.wait_caught_up(PATIENCE).expect("all nodes come so far");
}

/// Turns one bit inside a value of a complete file that holds much; says whether `file` is one.
fn rot_value(file: &Path) -> bool {
    let mut bytes = std::fs::read(file).expect("a file");
    let is_big = bytes.iter().filter(|byte| **byte == b'v').count() > 10 * VALUE_BYTES;
    if !is_big || file.extension().is_some_and(|end| end == "tmp") {
        return false;
    }
    // Not in the first value: its front shares a block with what is no value.
    let values = bytes.windows(VALUE_BYTES).position(|window| window.iter().all(|byte| *byte == b'v'));
    let at = values.expect("whole values") + VALUE_BYTES / 2;
    bytes[at] ^= 4;
    let mut opened = File::options().write(true).open(file).expect("it is ours");
    opened.seek(SeekFrom::Start(at as u64)).expect("it is that long");
    opened.write_all(&bytes[at..=at]).is_ok()
}

/// The files of node 1 in `part` of its shard, those that were written to first at the front.
fn files(cluster: &Cluster, part: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = walk(&cluster.data(1).join("shard-000").join(part)).into_iter().collect();
    files.sort_by_key(|file| std::fs::metadata(file).and_then(|data| data.modified()).expect("a file"));
    files
}

fn assert_says(cluster: &Cluster, words: &[&str]) {
    let said = || words.iter().all(|word| cluster.log(1).contains(word));
    assert!(poll::until(Instant::now() + PATIENCE, said), "does not say {words:?}:\n{}", cluster.log(1));
    assert!(!cluster.log(1).contains("panicked"), "{}", cluster.log(1));
}

fn name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// A snapshot with one wrong bit: its group starts with nothing, and gets a state from its leader.
#[test]
fn a_rotten_snapshot_comes_again_from_the_others() {
    let mut cluster = cluster(3, &["--snapshot-after-mib", "1"]);
    let workload = Workload::start(cluster.addresses(), Plan::default());
    fill(&cluster);
    cluster.kill(1);
    // All of them: the kill may have come between a new snapshot and the end of the one before, which no start reads.
    let rotten: Vec<_> = files(&cluster, "snapshots").into_iter().filter(|file| rot_value(file)).collect();
    assert!(!rotten.is_empty(), "nothing big in {:?}", files(&cluster, "snapshots"));
    cluster.start_node(1).expect("it starts");
    assert_says(
        &cluster,
        &["must come from the group's leader again", "corrupt at byte", "has healed from its peers"],
    );
    let named = rotten.iter().any(|file| cluster.log(1).contains(name(file)));
    assert!(named, "names none of {rotten:?}:\n{}", cluster.log(1));
    let mut recorded = workload.stop();
    for node in 1..=3 {
        recorded.read_back(cluster.address(node)).expect("all serve");
    }
    recorded.judge().assert_clean();
}

/// Entries that a start applies, one of them with a wrong bit: they come again from the leader.
#[test]
fn a_rotten_entry_comes_again_from_the_others() {
    let mut cluster = cluster(3, &[]);
    let workload = Workload::start(cluster.addresses(), Plan::default());
    fill(&cluster);
    cluster.kill(1);
    let rotten = files(&cluster, "log").into_iter().find(|file| rot_value(file)).expect("a big segment");
    cluster.start_node(1).expect("it starts");
    assert_says(&cluster, &["must come from its leader again", name(&rotten), "has healed from its peers"]);
    let mut recorded = workload.stop();
    for node in 1..=3 {
        recorded.read_back(cluster.address(node)).expect("all serve");
    }
    recorded.judge().assert_clean();
}

/// An entry that is applied goes bad while its node runs: it is found, and a snapshot takes its place.
#[test]
fn a_scrub_finds_what_went_bad_and_a_snapshot_takes_its_place() {
    let cluster = cluster(3, &["--scrub-every", "1s"]);
    fill(&cluster);
    let rotten = files(&cluster, "log").into_iter().find(|file| rot_value(file)).expect("a big segment");
    assert_says(
        &cluster,
        &["a snapshot takes the place of the log", name(&rotten), "has a new snapshot group="],
    );
    let mut client = cluster.client(1).expect("a ready node");
    let counted = || match client.call(&[b"INFO", b"ringraft"]) {
        Ok(Value::Bulk(text)) => !String::from_utf8_lossy(&text).contains("ringraft_log_damages_total:0"),
        _ => false,
    };
    assert!(poll::until(Instant::now() + PATIENCE, counted), "INFO does not count it");
}

/// Nobody else has what a node that is alone has lost.
#[test]
fn a_node_that_is_alone_ends_with_what_is_damaged() {
    let mut cluster = cluster(1, &[]);
    fill(&cluster);
    cluster.kill(1);
    let rotten = files(&cluster, "log").into_iter().find(|file| rot_value(file)).expect("a big segment");
    cluster.launch(1).expect("the binary is there");
    let ended = cluster.wait_end(1, PATIENCE).expect("a node with damaged data ends");
    let log = cluster.log(1);
    assert_eq!(ended.code(), Some(5), "{ended}\n{log}");
    assert!(log.contains(name(&rotten)) && log.contains("byte ") && !log.contains("panicked"), "{log}");
}
