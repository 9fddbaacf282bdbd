//! Leaders that are frozen for longer than an election, and wake up believing that they lead.

use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value};
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::workload::{Plan, Workload};

use crate::service::{
    ALL_SERVE, MAJORITY_SERVES, PATIENCE, START, judge, leader_of, let_work, pass, seed, set, up, wait_serves,
};

#[test]
fn a_woken_leader_does_not_answer_from_its_dreams() {
    freeze_leaders(&[]);
}

/// With leases a leader answers alone, for as long as it may: not a moment longer, however long it slept in between.
#[test]
fn a_woken_leader_does_not_believe_in_its_lease() {
    freeze_leaders(&["--lease-reads"]);
}

/// A tenth of the time is enough to stay what one is: first one leader starves, then all nodes do.
#[test]
fn starving_nodes_do_not_storm_into_elections() {
    let seed = seed();
    let options = Options { groups: Some(4), ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(START).expect("it finds its leaders");
    let workload = Workload::start(cluster.addresses(), Plan { seed, rate: 100, ..Plan::default() });
    let_work(&workload, 200);
    for starving in [vec![leader_of(&cluster, 1, "truth")], vec![1, 2, 3]] {
        let (before, done) = (terms(&cluster), workload.acknowledged());
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            starving.iter().for_each(|id| cluster.pause(*id));
            pass(Duration::from_millis(90));
            starving.iter().for_each(|id| cluster.resume(*id));
            pass(Duration::from_millis(10));
        }
        let (after, done) = (terms(&cluster), workload.acknowledged() - done);
        println!("starving {starving:?}: {done} requests answered, terms rose from {before} to {after}");
        // Five groups, and an election each is no storm.
        assert!(after - before <= 5 && done > 10, "terms {before} to {after}, {done} requests answered");
        wait_serves(&cluster, &up(&cluster), ALL_SERVE, "starving");
    }
    judge(&cluster, workload, 20);
}

/// The sum of all groups' terms.
fn terms(cluster: &Cluster) -> u64 {
    cluster.status(1).expect("it is up").groups.iter().map(|group| group.term).sum()
}

fn freeze_leaders(args: &[&str]) {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let args = args.iter().map(ToString::to_string).collect();
    let options = Options { groups: Some(4), args, ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(START).expect("it finds its leaders");
    let workload = Workload::start(cluster.addresses(), Plan { seed, rate: 100, ..Plan::default() });
    for round in 0..3 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        set(&cluster, 1, "truth", &old);
        let leader = leader_of(&cluster, 1, "truth");
        let others: Vec<u16> = cluster.ids().filter(|id| *id != leader).collect();
        // Connections from before, warm ones: with leases the leader may answer them at once.
        let mut clients: Vec<Client> =
            (0..3).map(|_| Client::connect(cluster.address(leader), PATIENCE).expect("it is up")).collect();
        for client in &mut clients {
            assert_eq!(client.line("GET truth").expect("it is up"), Value::Bulk(old.clone().into()));
        }
        cluster.pause(leader);
        wait_serves(&cluster, &others, MAJORITY_SERVES, &format!("freezing of leader {leader}"));
        set(&cluster, others[0], "truth", &new);
        // Acknowledged by others; what waits in the sleeper's sockets was asked afterwards.
        for client in &mut clients {
            client.send(b"GET truth\r\n").expect("the system takes it");
        }
        pass(Duration::from_millis(rng.u64(0..1500)));
        cluster.resume(leader);
        for client in &mut clients {
            let reply = client.receive();
            let stale = reply.as_ref().is_ok_and(|reply| *reply == Value::Bulk(old.clone().into()));
            assert!(
                !stale,
                "node {leader} woke up and answered {reply:?}, which was overwritten before it was asked"
            );
        }
        wait_serves(&cluster, &up(&cluster), ALL_SERVE, "waking");
        let_work(&workload, 100);
    }
    judge(&cluster, workload, 50);
}
