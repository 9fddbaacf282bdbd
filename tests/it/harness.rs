//! The harness itself is judged: a system that loses acknowledged writes in a failover must be found guilty, and one
//! that does not, innocent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod etcd;

use std::time::{Duration, Instant};

use etcd::{Etcd, Load};
use ringraft_tests::checkers::linearizable::{self, Limits};
use ringraft_tests::client::Client;
use ringraft_tests::history::History;
use ringraft_tests::poll;
use ringraft_tests::process::{Redis, data_dir, find_program};
use ringraft_tests::workload::{Plan, Workload};

/// Replicas have caught up, and clients are served, within this.
const SOON: Duration = Duration::from_secs(30);

fn let_work(workload: &Workload, more: u64) {
    let target = workload.acknowledged() + more;
    assert!(poll::until(Instant::now() + SOON, || workload.acknowledged() >= target), "nobody is served");
}

fn line(redis: &Redis, line: &str) -> String {
    let mut client = Client::connect(redis.address(), SOON).unwrap();
    client.line(line).unwrap().text().unwrap_or_default()
}

/// Redis acknowledges before its replica has anything: a primary that dies while its replica is behind takes
/// acknowledged writes with it.
#[test]
fn redis_with_a_replica_is_guilty_under_failover() {
    let Some(program) = find_program("redis-server") else {
        println!("skipped: redis-server is not installed");
        return;
    };
    let (first, second) = (data_dir().unwrap(), data_dir().unwrap());
    let volatile = ["--save", "", "--appendonly", "no"];
    let mut primary = Redis::start_in(&program, first.path(), &volatile).unwrap();
    let port = primary.address().port().to_string();
    let follows = [&volatile[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let mut replica = Redis::start_in(&program, second.path(), &follows).unwrap();
    let in_sync = || line(&replica, "INFO replication").contains("master_link_status:up");
    assert!(poll::until(Instant::now() + SOON, in_sync), "the replica does not catch up");

    let workload = Workload::start(vec![primary.address()], Plan { rate: 1000, ..Plan::default() });
    let_work(&workload, 2_000);
    // The replica hangs for a moment and its link breaks; nobody who writes is told.
    replica.pause();
    line(&primary, "CLIENT KILL TYPE replica");
    let_work(&workload, 2_000);
    primary.kill();
    replica.resume();
    assert_eq!(line(&replica, "REPLICAOF NO ONE"), "OK");
    workload.retarget(vec![replica.address()]);
    let_work(&workload, 2_000);

    let mut recorded = workload.stop();
    recorded.read_back(replica.address()).unwrap();
    let judgement = recorded.judge();
    judgement.assert_forgetful();
}

/// The same search finds nothing wrong with registers in etcd while its leaders are killed, frozen and restarted.
#[test]
fn etcd_is_innocent_while_its_leaders_die() {
    let Some(mut etcd) = Etcd::start() else { return };
    let load = Load::start(etcd.addresses());
    load.let_work(500);
    for round in 0..2 {
        let leader = etcd.leader(SOON);
        if round == 0 {
            etcd.kill(leader)
        } else {
            etcd.pause(leader)
        }
        // Few, since a third of the requests go to the one that does not answer.
        load.let_work(100);
        if round == 0 {
            etcd.restart(leader)
        } else {
            etcd.resume(leader)
        }
        load.let_work(300);
    }
    let history = History::merge([load.stop()]);
    let report = linearizable::check(&history, &Limits::default());
    println!("{report}");
    report.assert_linearizable();
    assert!(
        report.operations > 1_000 && report.keys > 1,
        "the run did too little to show anything: {report}"
    );
}
