//! Two of the scripted tests.

use std::time::{Duration, Instant};

use ringraft_tests::client::Client;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::switch::Switch;

use crate::membership::{add, command, lay_to_rest, wait_members};
use crate::service::{
    ALL_SERVE, MAJORITY_SERVES, START, get, leader_of, pass, seed, serves, set, wait_serves,
};

fn start(nodes: u16) -> Option<(Cluster, ringraft_tests::switch::Inside, Switch)> {
    let switch = Switch::start(nodes, seed())?;
    let inside = switch.enter();
    let options = Options { nodes, groups: Some(8), places: switch.places(), ..Options::default() };
    let cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(START).expect("it finds its leaders");
    Some((cluster, inside, switch))
}

/// A write of the majority; then a majority in which only one node has it, which must win; then everybody has all.
#[test]
fn one_partition_2b() {
    let Some((cluster, _inside, switch)) = start(5) else { return };
    wait_serves(&cluster, &[1, 2, 3, 4, 5], ALL_SERVE, "the start");
    let leader = leader_of(&cluster, 1, "k1");
    let others: Vec<u16> = cluster.ids().filter(|id| *id != leader).collect();
    let (with_leader, apart) = others.split_at(2);
    switch.cut(&[&[leader], with_leader].concat(), apart);
    set(&cluster, leader, "k1", "v1");
    assert_eq!(get(&cluster, with_leader[0], "k1"), Some(Some("v1".into())));
    for id in apart {
        assert_eq!(get(&cluster, *id, "k1"), None, "node {id} is apart, and answers");
    }

    switch.heal();
    let (stays, goes) = (with_leader[0], with_leader[1]);
    let new_majority = [&[goes], apart].concat();
    switch.cut(&[leader, stays], &new_majority);
    wait_serves(&cluster, &new_majority, MAJORITY_SERVES, "the new partition");
    for id in &new_majority {
        assert_eq!(get(&cluster, *id, "k1"), Some(Some("v1".into())), "node {id}");
    }
    set(&cluster, goes, "k1", "changed");
    for id in [leader, stays] {
        assert_eq!(get(&cluster, id, "k1"), None, "node {id} is apart, and answers");
    }

    switch.heal();
    wait_serves(&cluster, &[1, 2, 3, 4, 5], ALL_SERVE, "the end of the partition");
    set(&cluster, leader, "k2", "v2");
    cluster.wait_applied(ALL_SERVE).expect("every replica has everything");
    for id in cluster.ids() {
        assert_eq!(get(&cluster, id, "k1"), Some(Some("changed".into())), "node {id}");
        assert_eq!(get(&cluster, id, "k2"), Some(Some("v2".into())), "node {id}");
    }
}

fn remove(cluster: &mut Cluster, members: &mut Vec<u64>, id: u16) {
    command(cluster, &format!("RINGRAFT MEMBER REMOVE {id}"));
    members.retain(|member| *member != u64::from(id));
    wait_members(cluster, members);
    lay_to_rest(cluster, id);
}

fn bring_back(cluster: &mut Cluster, members: &mut Vec<u64>, id: u16) {
    let stay: Vec<u16> = members.iter().map(|id| u16::try_from(*id).expect("ids are small")).collect();
    cluster.wipe(id).expect("it has ended");
    cluster.relist(id, &stay);
    cluster.start_node(id).expect("it starts with an empty disk");
    add(cluster, id);
    members.push(u64::from(id));
    members.sort_unstable();
    wait_members(cluster, members);
}

/// Whether a node, once it leads nothing but knows all, has a value: the others are cut off its clients' sight by asking
/// only it.
fn has(cluster: &Cluster, id: u16, key: &str, value: &str) {
    let there = poll::until(Instant::now() + ALL_SERVE, || get(cluster, id, key) == Some(Some(value.into())));
    assert!(there, "node {id} has no {key}");
}

/// The leader removes itself, comes back and leads again; then it removes itself out of two, which must not take its
/// group along.
#[test]
fn conf_change_remove_leader_3b() {
    let Some((mut cluster, _inside, _switch)) = start(5) else { return };
    let mut members = vec![1, 2, 3, 4, 5];
    wait_members(&cluster, &members);
    lead(&cluster, 1);
    remove(&mut cluster, &mut members, 1);
    set(&cluster, 2, "k0", "v0");
    bring_back(&mut cluster, &mut members, 1);
    lead(&cluster, 1);
    set(&cluster, 1, "k1", "v1");
    has(&cluster, 1, "k0", "v0");

    for id in [2, 3, 4] {
        remove(&mut cluster, &mut members, id);
    }
    lead(&cluster, 1);
    remove(&mut cluster, &mut members, 1);
    set(&cluster, 5, "k2", "v2");
    for (key, value) in [("k0", "v0"), ("k1", "v1"), ("k2", "v2")] {
        has(&cluster, 5, key, value);
    }
    bring_back(&mut cluster, &mut members, 1);
    set(&cluster, 1, "k3", "v3");
    // Node 1 has all of it itself: without node 5 there is no majority, and with it gone for good none is needed.
    remove(&mut cluster, &mut members, 5);
    for key in ["k0", "k1", "k2", "k3"] {
        has(&cluster, 1, key, &key.replace('k', "v"));
    }
    assert!(serves(&cluster, 1));
}

/// Has a node lead every group, the directory's included.
fn lead(cluster: &Cluster, id: u16) {
    let all = poll::until(Instant::now() + START, || {
        let Ok(status) = cluster.status(id) else { return false };
        let others = status.groups.iter().filter(|group| group.leader != Some(u64::from(id)));
        let others: Vec<u64> = others.map(|group| group.group).collect();
        for group in &others {
            if let Ok(mut client) = Client::connect(cluster.address(id), Duration::from_secs(3)) {
                let _asked = client.line(&format!("RINGRAFT TRANSFER {group} {id}"));
            }
        }
        if !others.is_empty() {
            pass(Duration::from_millis(200));
        }
        others.is_empty()
    });
    assert!(all, "node {id} does not get to lead everything: {:?}", cluster.status(id));
}
