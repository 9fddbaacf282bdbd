//! The rows of the table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::switch::{Rule, Switch};
use ringraft_tests::workload::{Plan, Workload};

use super::clients::Owner;
use crate::membership::{add, command, lay_to_rest, wait_members};
use crate::service::{ALL_SERVE, START, judge, let_work, pass, seed, up, wait_serves};

const NODES: u16 = 5;
/// As many as the tests of membership count on.
const GROUPS: u32 = 8;
/// How long a round breaks things.
const ROUND: Duration = Duration::from_secs(5);
/// Clients work undisturbed for so long before a round's chaos.
const HEAD_START: Duration = Duration::from_millis(500);
/// Where the log is kept short it must be filled: by values of this size.
const LARGE_VALUE_BYTES: usize = 8 << 10;
/// The share of frames that an unreliable network loses.
const LOSS: f64 = 0.10;

#[derive(Clone, Copy, Default)]
struct Row {
    clients: u16,
    unreliable: bool,
    crash: bool,
    partitions: bool,
    short_log: bool,
    confchange: bool,
    rounds: u64,
}

const ROW: Row = Row {
    clients: 5,
    unreliable: false,
    crash: false,
    partitions: false,
    short_log: false,
    confchange: false,
    rounds: 1,
};

#[test]
fn unreliable_2b() {
    run(Row { unreliable: true, ..ROW });
}

#[test]
fn many_partitions_many_clients_2b() {
    run(Row { partitions: true, rounds: 2, ..ROW });
}

#[test]
fn persist_partition_unreliable_2b() {
    run(Row { unreliable: true, crash: true, partitions: true, ..ROW });
}

#[test]
fn snapshot_unreliable_recover_concurrent_partition_2c() {
    run(Row { unreliable: true, crash: true, partitions: true, short_log: true, rounds: 2, ..ROW });
}

#[test]
fn conf_change_snapshot_unreliable_recover_3b() {
    run(Row { unreliable: true, crash: true, short_log: true, confchange: true, ..ROW });
}

#[test]
fn conf_change_snapshot_unreliable_recover_concurrent_partition_3b() {
    run(Row { unreliable: true, crash: true, partitions: true, short_log: true, confchange: true, ..ROW });
}

/// How often a test's rounds are repeated: `RINGRAFT_NET_ROUNDS`, for long runs.
fn repeated() -> u64 {
    std::env::var("RINGRAFT_NET_ROUNDS").map_or(1, |text| text.parse().expect("a number"))
}

fn run(row: Row) {
    let seed = seed();
    let Some(switch) = Switch::start(NODES, seed) else { return };
    let inside = switch.enter();
    let args = if row.short_log { vec!["--snapshot-after-mib".into(), "1".into()] } else { vec![] };
    let options = Options { nodes: NODES, groups: Some(GROUPS), args, ..Options::default() };
    let mut cluster =
        Cluster::start(&Options { places: switch.places(), ..options }).expect("a cluster starts");
    cluster.wait_leaders(START).expect("it finds its leaders");
    // Beside the clients of the table: recorded ones, which share keys.
    let plan = Plan { seed, clients: 2, rate: 50, ..Plan::default() };
    let workload = Workload::start(cluster.addresses(), plan);
    let_work(&workload, 50);
    let mut rng = Rng::with_seed(seed);
    for round in 0..row.rounds * repeated() {
        one_round(row, round, &mut rng, &mut cluster, &switch);
    }
    if row.short_log {
        assert!(cluster.ids().all(|id| has_snapshots(&cluster, id)), "a row about snapshots made none");
    }
    cluster.wait_caught_up(ALL_SERVE).expect("every replica catches up");
    judge(&cluster, workload, 10);
    drop((cluster, inside));
}

fn one_round(row: Row, round: u64, rng: &mut Rng, cluster: &mut Cluster, switch: &Switch) {
    let (stop, calm) = (AtomicBool::new(false), AtomicBool::new(false));
    let chaos_rng = rng.fork();
    let targets = cluster.addresses();
    let owners: Vec<Owner> = std::thread::scope(|scope| {
        let start = |number| {
            let mut owner = Owner::new(number, round, rng.u64(..), targets.clone());
            owner.value_bytes = if row.short_log { LARGE_VALUE_BYTES } else { 0 };
            let stop = &stop;
            scope.spawn(move || owner.run(stop))
        };
        let running: Vec<_> = (0..row.clients).map(start).collect();
        pass(HEAD_START);
        let chaos = scope.spawn(|| make_chaos(row, switch, chaos_rng, &calm));
        // If something fails in here, the others must not go on for ever.
        let ended = Ended(&stop, &calm);
        let end = Instant::now() + ROUND;
        // Cuts come faster than elections, so a change that begins among them may end only after them.
        let leaver = (row.confchange && row.partitions).then(|| begin_to_replace(cluster, rng));
        while row.confchange && !row.partitions && Instant::now() < end {
            let leaver = begin_to_replace(cluster, rng);
            replace(cluster, leaver);
        }
        pass(end.saturating_duration_since(Instant::now()));
        calm.store(true, Ordering::Relaxed);
        chaos.join().expect("chaos does not fail");
        leaver.into_iter().for_each(|leaver| replace(cluster, leaver));
        drop(ended);
        running.into_iter().map(|owner| owner.join().expect("a client found something wrong")).collect()
    });
    if row.crash {
        cluster.kill_all();
        cluster.start_all().expect("killed nodes start again");
    }
    wait_serves(cluster, &up(cluster), ALL_SERVE, &format!("round {round}"));
    let written: Vec<usize> = owners.iter().map(Owner::written).collect();
    println!("keys written: {written:?}");
    // Cuts come faster than elections, so there may be service for moments only.
    assert!(written.iter().sum::<usize>() >= usize::from(row.clients), "no progress: {written:?}");
    for owner in owners {
        owner.finish(&cluster.addresses());
    }
}

/// Ends a round, whatever ended it.
struct Ended<'a>(&'a AtomicBool, &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.store(true, Ordering::Relaxed);
    }
}

/// Breaks the network anew every half second or so, until told to stop; then it is whole.
fn make_chaos(row: Row, switch: &Switch, mut rng: Rng, calm: &AtomicBool) {
    let usual = if row.unreliable { Rule::lossy(LOSS) } else { Rule::default() };
    while !calm.load(Ordering::Relaxed) {
        switch.among_nodes(usual);
        if row.partitions {
            let (left, right): (Vec<u16>, Vec<u16>) = switch.nodes().partition(|_| rng.bool());
            switch.cut(&left, &right);
        }
        pass(Duration::from_millis(rng.u64(500..700)));
    }
    switch.heal();
}

/// Some member is to leave.
fn begin_to_replace(cluster: &Cluster, rng: &mut Rng) -> u16 {
    let all: Vec<u16> = cluster.ids().collect();
    let leaver = all[rng.usize(..all.len())];
    command(cluster, &format!("RINGRAFT MEMBER REMOVE {leaver}"));
    leaver
}

/// A member that is to leave does, loses its disk, and is added again: both are waited for.
fn replace(cluster: &mut Cluster, leaver: u16) {
    let all: Vec<u16> = cluster.ids().collect();
    let stay: Vec<u16> = all.iter().copied().filter(|id| *id != leaver).collect();
    let numbers = |ids: &[u16]| ids.iter().map(|id| u64::from(*id)).collect::<Vec<_>>();
    wait_members(cluster, &numbers(&stay));
    lay_to_rest(cluster, leaver);
    cluster.wipe(leaver).expect("it has ended");
    cluster.relist(leaver, &stay);
    cluster.start_node(leaver).expect("it starts with an empty disk");
    add(cluster, leaver);
    wait_members(cluster, &numbers(&all));
    println!("node {leaver} was replaced");
}

fn has_snapshots(cluster: &Cluster, id: u16) -> bool {
    let dir = cluster.data(id).join("shard-000").join("snapshots");
    std::fs::read_dir(dir).is_ok_and(|files| files.count() > 0)
}
