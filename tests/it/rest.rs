//! Groups at rest, of real nodes: they cost nothing, and a death among those they rest on is noticed all the same.

use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, NodeStatus, Options};

const PATIENCE: Duration = Duration::from_secs(30);
/// Clients of groups whose leader died are served again within this.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// A cluster with something in every group, all of them at rest.
fn cluster_at_rest(shards: u16, groups: u32) -> Cluster {
    let options = Options { shards, groups: Some(groups), ..Options::default() };
    let cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("a cluster finds its leaders");
    for key in 0..4 * groups {
        assert!(set(&cluster, 1, key), "a cluster with leaders serves");
    }
    let rests =
        poll::until(Instant::now() + PATIENCE, || statuses(&cluster).is_some_and(|all| all_rest(&all)));
    assert!(rests, "a cluster without clients comes to rest: {:?}", statuses(&cluster));
    cluster
}

fn statuses(cluster: &Cluster) -> Option<Vec<NodeStatus>> {
    cluster.ids().filter(|id| cluster.is_up(*id)).map(|id| cluster.status(id).ok()).collect()
}

fn all_rest(statuses: &[NodeStatus]) -> bool {
    statuses.iter().all(|status| status.groups.iter().all(|group| group.quiesced))
}

fn set(cluster: &Cluster, node: u16, key: u32) -> bool {
    let Ok(mut client) = Client::connect(cluster.address(node), Duration::from_secs(3)) else { return false };
    client.line(&format!("SET key{key} {key}")).is_ok_and(|answer| answer == Value::Simple("OK".into()))
}

/// Writes many keys, which hit every group, until each write has succeeded once; answers how long that took.
fn serves_again(cluster: &Cluster, node: u16, keys: u32) -> Duration {
    let start = Instant::now();
    for key in 0..keys {
        let served = poll::until(start + PATIENCE, || set(cluster, node, key));
        assert!(served, "key {key} is not served by node {node}");
    }
    start.elapsed()
}

#[test]
fn groups_at_rest_send_nothing_and_their_shards_beat() {
    let cluster = cluster_at_rest(2, 48);
    let before = statuses(&cluster).expect("all nodes run");
    // As long as it takes to hand leadership to preferred nodes, and many times an election timeout.
    let passed = poll::until(Instant::now() + PATIENCE, || {
        let now = statuses(&cluster).expect("all nodes run");
        now.iter().zip(&before).all(|(now, before)| now.beats_sent >= before.beats_sent + 300)
    });
    assert!(passed, "shards beat ten times a second on each of their links");
    let after = statuses(&cluster).expect("all nodes run");
    assert!(all_rest(&after));
    let leaders = |status: &NodeStatus| status.groups.iter().map(|group| group.leader).collect::<Vec<_>>();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.raft_messages_sent, before.raft_messages_sent, "nothing is said of groups at rest");
        assert_eq!(leaders(after), leaders(before));
    }
    // And they wake.
    assert!(serves_again(&cluster, 2, 200) < PATIENCE);
}

#[test]
fn groups_that_rest_on_a_node_notice_when_it_is_killed() {
    let mut cluster = cluster_at_rest(1, 16);
    let leads = |status: &NodeStatus| status.groups.iter().filter(|group| group.leader == Some(2)).count();
    assert!(leads(&cluster.status(1).expect("node 1 runs")) > 0, "node 2 leads some groups");
    cluster.kill(2);
    let time = serves_again(&cluster, 1, 200);
    assert!(time < BACK_WITHIN, "served again after {time:?}");
    println!("served again {} ms after the kill", time.as_millis());
}

#[test]
fn groups_that_rest_on_a_node_notice_when_it_starts_anew() {
    let mut cluster = cluster_at_rest(1, 16);
    cluster.kill(2);
    cluster.start_node(2).expect("it starts again at once");
    let time = serves_again(&cluster, 1, 200);
    assert!(time < BACK_WITHIN, "served again after {time:?}");
    // Nobody asks for anything in group 0: it too must have found a leader, and come to rest again.
    cluster.wait_leaders(PATIENCE).expect("every group has a leader again");
    let rests =
        poll::until(Instant::now() + PATIENCE, || statuses(&cluster).is_some_and(|all| all_rest(&all)));
    assert!(rests, "and comes to rest again: {:?}", statuses(&cluster));
    println!("served again {} ms after the start", time.as_millis());
}

#[test]
fn a_node_that_is_frozen_loses_what_rests_on_it() {
    let mut cluster = cluster_at_rest(1, 16);
    cluster.pause(2);
    let time = serves_again(&cluster, 1, 200);
    assert!(time < 2 * BACK_WITHIN, "served again after {time:?}");
    cluster.resume(2);
    cluster.wait_leaders(PATIENCE).expect("all agree again");
    println!("served again {} ms after it froze", time.as_millis());
}
