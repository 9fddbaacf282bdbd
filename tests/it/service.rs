//! What tests of faults ask again and again: is everything served, by whom, and was nothing wrong.

use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::Cluster;
use ringraft_tests::workload::Workload;

/// A majority serves all keys this long after a fault, at the latest. An election takes up to 1.5 s from the last sign
/// of the old leader, twice that if votes split; measured are 1.0 to 1.5 s. The rest is for a machine with fewer cores
/// than nodes.
pub const MAJORITY_SERVES: Duration = Duration::from_secs(5);
/// Every node serves all keys this long after all faults have ended. A link that was dialled just before may wait 5 s for
/// an answer to its greeting and then 2 s for the next attempt.
pub const ALL_SERVE: Duration = Duration::from_secs(12);
/// Nodes start and find leaders within this.
pub const START: Duration = Duration::from_secs(20);
/// A client waits so long for an answer: longer than a request's deadline, so that a node has time to say what it knows.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Keys that reach every group with near certainty.
const PROBES: usize = 64;

/// The seed of a run, printed, so that its faults can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("RINGRAFT_NET_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"));
    println!("RINGRAFT_NET_SEED={seed}");
    seed
}

/// Lets time pass, on purpose: something must last this long to be what it is.
pub fn pass(time: Duration) {
    poll::until(Instant::now() + time, || false);
}

/// Whether a key of every group is written through a node.
pub fn serves(cluster: &Cluster, id: u16) -> bool {
    let Ok(mut client) = Client::connect(cluster.address(id), PATIENCE) else { return false };
    let keys: Vec<String> = (0..PROBES).map(|probe| format!("probe{probe}")).collect();
    let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"SET", key.as_bytes(), b"x"]).collect();
    let stored = |reply: &Value| *reply == Value::Simple("OK".into());
    client.pipeline(&commands).is_ok_and(|replies| replies.iter().all(stored))
}

/// Waits until each of these nodes has served all keys, and says how long that took.
pub fn wait_serves(cluster: &Cluster, ids: &[u16], within: Duration, after: &str) {
    let start = Instant::now();
    for id in ids {
        let served = poll::until(start + within, || serves(cluster, *id));
        assert!(
            served,
            "node {id} does not serve all keys {within:?} after {after}: {:?}",
            cluster.status(*id)
        );
    }
    println!("{after}: nodes {ids:?} served after {:.1} s", start.elapsed().as_secs_f32());
}

/// The nodes that run and are not frozen.
pub fn up(cluster: &Cluster) -> Vec<u16> {
    cluster.ids().filter(|id| cluster.is_up(*id)).collect()
}

/// Waits for some progress of the clients.
pub fn let_work(workload: &Workload, more: u64) {
    let target = workload.acknowledged() + more;
    let moved = poll::until(Instant::now() + ALL_SERVE, || workload.acknowledged() >= target);
    assert!(moved, "the clients get no answers");
}

/// Sets a key through a node, as often as it takes.
pub fn set(cluster: &Cluster, id: u16, key: &str, value: &str) {
    let stored = poll::until(Instant::now() + ALL_SERVE, || {
        let client = Client::connect(cluster.address(id), PATIENCE);
        let reply = client.and_then(|mut client| client.line(&format!("SET {key} {value}")));
        reply.ok() == Some(Value::Simple("OK".into()))
    });
    assert!(stored, "node {id} takes no SET {key}");
}

/// What a node answers to a GET; `None`: an error, or nothing in time.
pub fn get(cluster: &Cluster, id: u16, key: &str) -> Option<Option<String>> {
    let client = Client::connect(cluster.address(id), PATIENCE);
    match client.and_then(|mut client| client.line(&format!("GET {key}"))).ok()? {
        Value::Bulk(bytes) => Some(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Value::Null => Some(None),
        _ => None,
    }
}

/// Who leads a key in a healthy cluster, as one of its nodes says.
pub fn leader_of(cluster: &Cluster, through: u16, key: &str) -> u16 {
    let mut client = cluster.client(through).expect("a healthy node");
    let slot = client.line(&format!("CLUSTER KEYSLOT {key}")).expect("an answer");
    let Value::Integer(slot) = slot else { panic!("CLUSTER KEYSLOT: {slot:?}") };
    let leader = || {
        let groups = cluster.status(through).ok()?.groups;
        let dealt = groups.len() as u64 - 1; // group 0 has no keys
        let group = ((slot.unsigned_abs() + 1) * dealt - 1) / 16384 + 1;
        let leader = groups.iter().find(|status| status.group == group)?.leader?;
        u16::try_from(leader).ok()
    };
    poll::until_some(Instant::now() + START, leader).expect("a healthy cluster has leaders")
}

/// Everything ends: nothing acknowledged is lost, and all histories have an order.
pub fn judge(cluster: &Cluster, workload: Workload, durable_min: usize) {
    let all = up(cluster);
    wait_serves(cluster, &all, ALL_SERVE, "everything");
    let mut recorded = workload.stop();
    for target in all.iter().flat_map(|id| cluster.shard_addresses(*id)) {
        recorded.read_back(target).expect("every node answers");
    }
    let judgement = recorded.judge();
    println!("{judgement}");
    judgement.assert_clean();
    assert!(judgement.durable >= durable_min, "the run did too little to show anything: {judgement}");
}

/// Whether the node that a client is connected to has a connection to a peer; `None`: it does not say.
pub fn is_connected(client: &mut Client, peer: u16) -> Option<bool> {
    let Ok(Value::Bulk(text)) = client.line("RINGRAFT STATUS") else { return None };
    let status: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let node =
        status["nodes"].as_array()?.iter().find(|node| node["id"].as_u64() == Some(u64::from(peer)))?;
    node["reachable"].as_bool()
}

/// Whether a node has a connection to a peer, as it says itself.
pub fn reaches(cluster: &Cluster, id: u16, peer: u16) -> bool {
    let client = Client::connect(cluster.address(id), PATIENCE);
    client.ok().and_then(|mut client| is_connected(&mut client, peer)) == Some(true)
}
