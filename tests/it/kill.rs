//! Real processes, real disks, `kill -9`: nothing acknowledged is lost and nothing impossible is seen.

use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Redis};
use ringraft_tests::workload::{Plan, Workload};

/// The whole kill test's time for breaking things, unless `RINGRAFT_KILL_SECONDS` says otherwise.
const SECONDS: u64 = 25;
/// After a fault that leaves a majority, or after the restart of all, every key is served again within this.
const BACK_IN_SERVICE: Duration = Duration::from_secs(10);
/// Keys that reach every group, with the 16 groups of a default cluster, with near certainty.
const PROBES: usize = 128;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Writes a key of every group through some node that runs.
fn every_key_is_served(cluster: &Cluster) -> bool {
    let Some(id) = cluster.ids().find(|id| cluster.is_up(*id)) else { return false };
    let Ok(mut client) = Client::connect(cluster.address(id), Duration::from_secs(3)) else { return false };
    let keys: Vec<String> = (0..PROBES).map(|probe| format!("probe{probe}")).collect();
    let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"SET", key.as_bytes(), b"x"]).collect();
    let stored = |reply: &Value| *reply == Value::Simple("OK".into());
    client.pipeline(&commands).is_ok_and(|replies| replies.iter().all(stored))
}

fn assert_back_in_service(cluster: &Cluster, after: &str) {
    let deadline = Instant::now() + BACK_IN_SERVICE;
    assert!(
        poll::until(deadline, || every_key_is_served(cluster)),
        "no full service {BACK_IN_SERVICE:?} after {after}"
    );
}

/// Waits for some progress of the clients; all the faults of a run hit a cluster that is doing something.
fn let_work(workload: &Workload, more: u64) {
    let target = workload.acknowledged() + more;
    let moved = poll::until(Instant::now() + BACK_IN_SERVICE, || workload.acknowledged() >= target);
    assert!(moved, "the clients get no answers");
}

/// One fault and the recovery from it.
fn fault(cluster: &mut Cluster, workload: &Workload, rng: &mut Rng) -> String {
    let ids: Vec<u16> = cluster.ids().collect();
    let victim = ids[rng.usize(0..ids.len())];
    let restart = "a killed node starts again";
    let what = match rng.u8(0..10) {
        0..2 => {
            cluster.kill_all();
            cluster.start_all().expect(restart);
            "the death of all nodes".to_string()
        }
        2..4 => {
            cluster.pause(victim);
            assert_back_in_service(cluster, &format!("node {victim} froze"));
            let_work(workload, rng.u64(1..300));
            cluster.resume(victim);
            format!("the freezing of node {victim}")
        }
        4..6 => {
            // Dead for a moment only: it comes back before anyone has missed it.
            cluster.kill(victim);
            cluster.start_node(victim).expect(restart);
            format!("the quick restart of node {victim}")
        }
        _ => {
            cluster.kill(victim);
            assert_back_in_service(cluster, &format!("the death of node {victim}"));
            let_work(workload, rng.u64(1..300));
            cluster.start_node(victim).expect(restart);
            format!("the death and return of node {victim}")
        }
    };
    assert_back_in_service(cluster, &what);
    let_work(workload, rng.u64(1..300));
    what
}

#[test]
fn killed_nodes_lose_nothing_acknowledged() {
    break_things(&[], number("RINGRAFT_KILL_SECONDS", SECONDS));
}

/// Frozen and restarted leaders are what leases must survive.
#[test]
fn killed_nodes_lose_nothing_with_lease_reads() {
    break_things(&["--lease-reads"], number("RINGRAFT_KILL_SECONDS", SECONDS / 2));
}

fn break_things(args: &[&str], seconds: u64) {
    let seed = number("RINGRAFT_KILL_SEED", fastrand::u64(..));
    println!("RINGRAFT_KILL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let args = args.iter().map(ToString::to_string).collect();
    let mut cluster =
        Cluster::start(&Options { shards: 2, args, ..Options::default() }).expect("a cluster starts");
    cluster.wait_leaders(Duration::from_secs(20)).expect("it finds its leaders");
    let workload = Workload::start(cluster.addresses(), Plan { seed, ..Plan::default() });
    let_work(&workload, 500);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut faults = 0;
    while Instant::now() < end {
        let what = fault(&mut cluster, &workload, &mut rng);
        faults += 1;
        println!("survived {what}");
    }
    cluster.kill_all();
    cluster.start_all().expect("killed nodes start again");
    assert_back_in_service(&cluster, "the last restart of all nodes");
    let mut recorded = workload.stop();
    for target in cluster.addresses() {
        recorded.read_back(target).expect("every node answers");
    }
    let judgement = recorded.judge();
    println!("{faults} faults: {judgement}");
    judgement.assert_clean();
    assert!(judgement.durable > 100, "the run did too little to show anything: {judgement}");
}

/// Who leads group 1 in the eyes of node 2, and in which term.
fn leads_first_group(cluster: &Cluster) -> Option<(u64, u64)> {
    let group = cluster.status(2).ok()?.groups.into_iter().find(|of| of.group == 1)?;
    Some((group.leader?, group.term))
}

/// Who has a whole log to apply could be elected at once, but would answer nothing for long: others lead until it has.
#[test]
fn a_node_with_much_to_apply_does_not_lead_at_once() {
    const ENTRIES: usize = 240_000;
    const PIPELINE: usize = 8_000;
    let options = Options { groups: Some(3), ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(Duration::from_secs(20)).expect("it finds its leaders");
    let mut client = cluster.client(1).expect("a ready node");
    let keys: Vec<String> = (0..PIPELINE).map(|at| format!("key{at}")).collect();
    let sets: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"SET", key.as_bytes(), b"x"]).collect();
    for _ in 0..ENTRIES / PIPELINE {
        client.pipeline(&sets).expect("answers");
    }
    let is_led_by =
        |cluster: &Cluster, node| leads_first_group(cluster).is_some_and(|(leader, _)| leader == node);
    let preferred = poll::until(Instant::now() + Duration::from_secs(30), || is_led_by(&cluster, 1));
    assert!(preferred, "node 1 leads the first group when all is well");
    let (_, before) = leads_first_group(&cluster).expect("just seen");

    let begin = Instant::now();
    cluster.kill(1);
    cluster.start_node(1).expect("a killed node starts again");
    let next = poll::until_some(Instant::now() + Duration::from_secs(20), || {
        leads_first_group(&cluster).filter(|(_, term)| *term > before)
    });
    let (next, _) = next.expect("somebody leads again");
    assert_ne!(next, 1, "it leads with nothing applied");
    assert_back_in_service(&cluster, "the quick restart");
    println!("full service {:?} after the death of a node", begin.elapsed());
    let back = poll::until(Instant::now() + Duration::from_secs(30), || is_led_by(&cluster, 1));
    assert!(back, "it leads again once it has applied its log\n{}", cluster.log(1));
    println!("led by the preferred node {:?} after its death", begin.elapsed());
}

#[test]
fn the_workload_and_its_judges_agree_with_redis() {
    let Some(redis) = Redis::start() else { return };
    let workload = Workload::start(vec![redis.address()], Plan { rate: 1000, ..Plan::default() });
    let_work(&workload, 10_000);
    let mut recorded = workload.stop();
    recorded.read_back(redis.address()).unwrap();
    let judgement = recorded.judge();
    judgement.assert_clean();
    assert!(judgement.durable > 500 && judgement.unknown == 0, "{judgement}");
}

#[test]
fn the_judges_notice_when_redis_forgets() {
    let Some(redis) = Redis::start() else { return };
    let workload = Workload::start(vec![redis.address()], Plan { rate: 1000, ..Plan::default() });
    let_work(&workload, 2_000);
    let mut client = Client::connect(redis.address(), Duration::from_secs(5)).unwrap();
    client.line("FLUSHALL").unwrap();
    let_work(&workload, 2_000);
    let mut recorded = workload.stop();
    recorded.read_back(redis.address()).unwrap();
    let judgement = recorded.judge();
    judgement.assert_forgetful();
}
