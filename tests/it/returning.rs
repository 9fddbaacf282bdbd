//! Nodes that need everything sent to them: a snapshot whose sender or receiver dies midway, and a member that loses its
//! disk again and again. Real processes, real disks, `kill -9`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::workload::{Plan, Workload};

use crate::membership::{add, command, wait_members};

const SOON: Duration = Duration::from_secs(20);
/// What the snapshot holds at least: half a second's sending, at the rate that transfers are held to.
const VALUES: usize = 480;
const VALUE_BYTES: usize = 256 << 10;

fn big(at: usize) -> String {
    format!("{{big}}{at}") // all in one group
}

/// A cluster that cannot bring a newcomer up to date from its logs, and a node to be added.
fn start() -> Cluster {
    let args = ["--segment-bytes", "4194304", "--snapshot-after-mib", "4", "--log-bytes-max", "134217728"];
    let args = args.map(String::from).to_vec();
    let options = Options { spare: 1, groups: Some(8), args, ..Options::default() };
    let cluster = Cluster::start(&options).unwrap();
    cluster.wait_leaders(SOON).unwrap();
    let mut client = cluster.client(1).unwrap();
    let value = vec![b'v'; VALUE_BYTES];
    for at in 0..VALUES {
        let stored = client.call(&[b"SET", big(at).as_bytes(), &value]).unwrap();
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    cluster
}

/// The parts of snapshots in a node's data directory, with their lengths on the disk.
fn parts(data: &Path) -> Vec<(PathBuf, u64)> {
    use std::os::unix::fs::MetadataExt;
    let Ok(files) = std::fs::read_dir(data.join("shard-000").join("snapshots")) else { return Vec::new() };
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    let parts = files.filter(|path| path.extension().is_some_and(|end| end == "part"));
    parts.filter_map(|path| Some((path.clone(), path.metadata().ok()?.blocks() * 512))).collect()
}

/// Freezes node 4 when some bytes of a snapshot have arrived there, but not all: a group's number, from the file's name.
fn freeze_midway(cluster: &mut Cluster) -> u64 {
    let midway = || {
        let of_some = |cluster: &Cluster| {
            let some = parts(&cluster.data(4)).into_iter().find(|(_, bytes)| *bytes >= 1 << 20)?;
            let name = some.0.file_name()?.to_string_lossy().into_owned();
            name.strip_prefix('g')?.split('-').next()?.parse().ok()
        };
        of_some(cluster)?;
        cluster.pause(4);
        let still = of_some(cluster);
        if still.is_none() {
            cluster.resume(4);
        }
        still
    };
    poll::until_some(Instant::now() + SOON, midway).expect("a snapshot is sent to the new node")
}

/// The node that leads a group, in the eyes of another.
fn leader_of(cluster: &Cluster, group: u64) -> u16 {
    let status = cluster.status(1).unwrap();
    let leader = status.groups.iter().find(|of| of.group == group).and_then(|of| of.leader);
    u16::try_from(leader.expect("every group has a leader")).unwrap()
}

/// Node 4 is a member, has everything, is needed for a majority, and keeps nothing half.
fn assert_complete(cluster: &mut Cluster) {
    wait_members(cluster, &[1, 2, 3, 4]);
    cluster.wait_applied(SOON).unwrap();
    let left = || parts(&cluster.data(4));
    assert!(poll::until(Instant::now() + SOON, || left().is_empty()), "left behind: {:?}", left());
    cluster.kill(3);
    let mut client = cluster.client(4).unwrap();
    let served = poll::until(Instant::now() + SOON, || {
        (0..VALUES).step_by(16).all(|at| {
            let value = client.call(&[b"GET", big(at).as_bytes()]);
            matches!(value, Ok(Value::Bulk(value)) if value.len() == VALUE_BYTES)
        })
    });
    assert!(served, "with node 4 three of four are a majority\n{}", cluster.log(4));
}

#[test]
fn a_snapshot_whose_sender_dies_midway_arrives_from_another() {
    let mut cluster = start();
    cluster.start_node(4).unwrap();
    add(&cluster, 4);
    let group = freeze_midway(&mut cluster);
    let sender = leader_of(&cluster, group);
    cluster.kill(sender);
    cluster.resume(4);
    cluster.start_node(sender).unwrap();
    assert_complete(&mut cluster);
}

#[test]
fn a_snapshot_whose_receiver_dies_midway_arrives_after_all() {
    let mut cluster = start();
    cluster.start_node(4).unwrap();
    add(&cluster, 4);
    for _ in 0..2 {
        freeze_midway(&mut cluster);
        cluster.kill(4);
        cluster.start_node(4).unwrap();
    }
    assert_complete(&mut cluster);
}

/// How often the disk is lost, and how long that may take each time on a busy machine. What it takes on a free one is a
/// second or two.
const LOSSES: u32 = 5;
const LOSS_TIME: Duration = Duration::from_secs(20);

#[test]
fn a_member_that_is_removed_wiped_and_added_again_and_again_is_back_each_time() {
    let mut cluster = Cluster::start(&Options { shards: 2, groups: Some(8), ..Options::default() }).unwrap();
    cluster.wait_leaders(SOON).unwrap();
    let seed = fastrand::u64(..);
    println!("the clients' seed is {seed}");
    let workload = Workload::start(cluster.addresses(), Plan { seed, ..Plan::default() });
    for loss in 1..=LOSSES {
        let begin = Instant::now();
        command(&cluster, "RINGRAFT MEMBER REMOVE 2");
        wait_members(&cluster, &[1, 3]);
        cluster.wait_end(2, SOON).unwrap();
        cluster.wipe(2).unwrap();
        cluster.relist(2, &[1, 3]);
        cluster.start_node(2).unwrap();
        add(&cluster, 2);
        wait_members(&cluster, &[1, 2, 3]);
        println!("loss {loss}: a member again after {:?}", begin.elapsed());
        assert!(begin.elapsed() < LOSS_TIME, "loss {loss} took {:?}\n{}", begin.elapsed(), cluster.log(2));
    }
    let mut recorded = workload.stop();
    for target in cluster.addresses() {
        recorded.read_back(target).unwrap();
    }
    let judgement = recorded.judge();
    println!("{judgement}");
    judgement.assert_clean();
    assert!(judgement.durable > 50, "the run did too little to show anything: {judgement}");
}
