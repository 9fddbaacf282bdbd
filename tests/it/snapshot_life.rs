//! One snapshot, from the moment that it is due to the end of the file it replaced, over two nodes: every step leaves a line and is
//! counted, in its order.

use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};

const PATIENCE: Duration = Duration::from_secs(30);
const STEPS: [&str; 11] = [
    "due",
    "frozen",
    "written",
    "published",
    "shortened the log",
    "offered",
    "sending",
    "receiving",
    "loaded",
    "installed",
    "collected",
];

/// The lines of a node's log about snapshots of `group`, as (step, entry), in their order; those about no group, too.
fn steps(cluster: &Cluster, node: u16, group: u64) -> Vec<(usize, String)> {
    let log = cluster.log(node);
    let lines = log.lines().filter(|line| line.contains("ringraft::snapshots"));
    let field = |line: &str, name: &str| {
        let behind = line.split_once(&format!(" {name}="))?.1;
        behind.split_whitespace().next().map(str::to_owned)
    };
    let read = |line: &str| {
        let step: usize =
            field(line, "step").and_then(|step| step.parse().ok()).expect("a line has its step");
        assert!(line.contains(STEPS[step - 1]), "step {step} has another name: {line}");
        let of = field(line, "group");
        (of.is_none() || of == Some(group.to_string())).then(|| (step, field(line, "id").unwrap_or_default()))
    };
    lines.filter_map(read).collect()
}

fn has(steps: &[(usize, String)], step: usize) -> bool {
    steps.iter().any(|(known, _)| *known == step)
}

fn wait_for(cluster: &Cluster, node: u16, group: u64, step: usize) {
    let reached = || has(&steps(cluster, node, group), step);
    let reached = poll::until(Instant::now() + PATIENCE, reached);
    assert!(reached, "node {node} never came to step {step}:\n{}", cluster.log(node));
}

/// Where a step is first, behind `from`.
fn place(steps: &[(usize, String)], step: usize, from: usize) -> usize {
    let found = steps[from..].iter().position(|(known, _)| *known == step);
    from + found.unwrap_or_else(|| panic!("step {step} does not follow in {steps:?}"))
}

fn store(cluster: &Cluster, node: u16, keys: std::ops::Range<u32>) {
    let mut client = cluster.client(node).expect("a ready node");
    for key in keys {
        let stored = client.line(&format!("SET key{key} value{key}")).expect("an answer");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
}

fn counted(cluster: &Cluster, node: u16, name: &str) -> u64 {
    let mut client = cluster.client(node).expect("a ready node");
    let Ok(Value::Bulk(text)) = client.call(&[b"INFO", b"ringraft"]) else { panic!("INFO is answered") };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("ringraft_snapshots_{name}_total:")).map(str::to_owned));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn every_step_of_a_snapshots_life_is_told_in_its_order() {
    let args = ["--log", "info,ringraft::snapshots=debug"].map(str::to_owned).to_vec();
    let options = Options { nodes: 3, groups: Some(3), args, ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    store(&cluster, 1, 0..50);
    cluster.kill(3);
    cluster.wait_leaders(PATIENCE).expect("two are a majority");
    store(&cluster, 1, 50..100);

    // Made, because the operator asks for it, on both nodes that are left.
    for node in [1, 2] {
        let asked = cluster.client(node).expect("a ready node").line("RINGRAFT SNAPSHOT");
        assert_eq!(asked.expect("an answer"), Value::Simple("OK".into()));
    }
    let group = 1;
    [1, 2].into_iter().for_each(|node| wait_for(&cluster, node, group, 5));
    let made = steps(&cluster, 1, group);
    let order: Vec<usize> = made.iter().map(|(step, _)| *step).filter(|step| *step <= 5).collect();
    assert_eq!(order, [1, 2, 3, 4, 5], "{made:?}");
    let ids: Vec<&String> =
        made.iter().filter(|(step, _)| (2..=5).contains(step)).map(|(_, id)| id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one snapshot: {made:?}");

    // Sent to the node that was away, since the log it would need is gone.
    cluster.start_node(3).expect("it starts");
    wait_for(&cluster, 3, group, 10);
    let taken = steps(&cluster, 3, group);
    let receiving = place(&taken, 8, 0);
    let loaded = place(&taken, 9, receiving);
    let installed = place(&taken, 10, loaded);
    assert!([loaded, installed].iter().all(|at| taken[*at].1 == taken[receiving].1), "{taken:?}");
    let leader =
        [1, 2].into_iter().find(|node| has(&steps(&cluster, *node, group), 6)).expect("somebody offered it");
    let gave = steps(&cluster, leader, group);
    let offered = place(&gave, 6, place(&gave, 5, 0));
    let sending = place(&gave, 7, offered);
    assert_eq!((&gave[offered].1, &gave[sending].1), (&taken[receiving].1, &taken[receiving].1), "{gave:?}");

    // A newer one takes its place: so much has changed that the file before is merged with it, and goes.
    cluster.wait_caught_up(PATIENCE).expect("all are there");
    store(&cluster, 1, 100..1100);
    let asked = cluster.client(leader).expect("a ready node").line("RINGRAFT SNAPSHOT");
    assert_eq!(asked.expect("an answer"), Value::Simple("OK".into()));
    let collected = || {
        let all = steps(&cluster, leader, group);
        let published: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == 4).collect();
        published.len() > 1 && all[published[1]..].iter().any(|(step, _)| *step == 11)
    };
    assert!(poll::until(Instant::now() + PATIENCE, collected), "{:?}", steps(&cluster, leader, group));
    for name in ["due", "frozen", "written", "published", "shortened", "offered", "sending", "collected"] {
        assert!(counted(&cluster, leader, name) > 0, "{name} is not counted on the leader");
    }
    for name in ["receiving", "loaded", "installed"] {
        assert!(counted(&cluster, 3, name) > 0, "{name} is not counted on the follower");
    }
}

/// The transfers that a node's status shows.
fn transfers(cluster: &Cluster, node: u16) -> Vec<serde_json::Value> {
    let mut client = cluster.client(node).expect("a ready node");
    let Ok(Value::Bulk(text)) = client.call(&[b"RINGRAFT", b"STATUS"]) else { return Vec::new() };
    let status: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    status["transfers"].as_array().cloned().expect("a list")
}

#[test]
fn status_shows_how_far_a_transfer_is() {
    let options = Options { nodes: 3, groups: Some(1), ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    cluster.kill(3);
    cluster.wait_leaders(PATIENCE).expect("two are a majority");
    // At the rate that transfers are held to, this takes a third of a second.
    let mut client = cluster.client(1).expect("a ready node");
    for key in 0..96 {
        let stored = client.call(&[b"SET", format!("key{key}").as_bytes(), &vec![b'v'; 1 << 20]]);
        assert_eq!(stored.expect("an answer"), Value::Simple("OK".into()));
    }
    cluster.command("RINGRAFT TRANSFER 1 1", PATIENCE).expect("node 1 leads");
    assert_eq!(client.call(&[b"RINGRAFT", b"SNAPSHOT"]).expect("an answer"), Value::Simple("OK".into()));
    let saved = || cluster.status(1).is_ok_and(|status| status.groups.iter().all(|group| group.snapshot > 0));
    assert!(poll::until(Instant::now() + PATIENCE, saved), "{}", cluster.log(1));

    cluster.launch(3).expect("it starts");
    let mut done = 0;
    let moved = poll::until(Instant::now() + PATIENCE, || {
        for transfer in transfers(&cluster, 1) {
            if transfer["group"] == 1 {
                assert_eq!((&transfer["to"], &transfer["from"]), (&3.into(), &serde_json::Value::Null));
                let (now, all) = (transfer["bytes_done"].as_u64(), transfer["bytes"].as_u64());
                assert!(now >= Some(done) && now <= all && all > Some(96 << 20), "{transfer}, after {done}");
                done = now.expect("just compared");
            }
        }
        done > 0
    });
    assert!(moved, "{}", cluster.log(1));
    cluster.wait_ready(3).expect("it starts");
    cluster.wait_caught_up(PATIENCE).expect("it has all");
    let over = || [1, 3].iter().all(|node| transfers(&cluster, *node).is_empty());
    assert!(poll::until(Instant::now() + PATIENCE, over), "{:?}", transfers(&cluster, 1));
}
