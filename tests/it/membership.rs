//! Nodes come and go while clients work: real processes, real disks, `kill -9`. Nothing acknowledged is lost, nothing
//! impossible is seen, and every change ends where it should, whoever dies on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;
use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::workload::{Plan, Recorded, Workload};
use serde_json::Value as Json;

/// A change of membership of a small cluster ends within this, deaths on the way included.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// Nodes end by themselves, and clients are served again, within this.
const SOON: Duration = Duration::from_secs(20);

fn start(spare: u16) -> (Cluster, Workload) {
    let options = Options { spare, shards: 2, groups: Some(8), ..Options::default() };
    let mut cluster = Cluster::start(&options).unwrap();
    cluster.wait_leaders(SOON).unwrap();
    let seed = fastrand::u64(..);
    println!("the clients' seed is {seed}");
    let workload = Workload::start(cluster.addresses(), Plan { seed, ..Plan::default() });
    let_work(&workload, 300);
    cluster.start_all().unwrap();
    (cluster, workload)
}

fn let_work(workload: &Workload, more: u64) {
    let target = workload.acknowledged() + more;
    let moved = poll::until(Instant::now() + SOON, || workload.acknowledged() >= target);
    assert!(moved, "the clients get no answers");
}

/// Gives a command until somebody takes it.
pub fn command(cluster: &Cluster, line: &str) {
    cluster.command(line, SOON).unwrap();
}

/// Waits until exactly these nodes are members, all active, and every running one of them knows that all groups are
/// settled.
pub fn wait_members(cluster: &Cluster, ids: &[u64]) {
    let expected: Vec<(u64, String)> = ids.iter().map(|id| (*id, "active".to_string())).collect();
    let mut last = None;
    let listed = poll::until(Instant::now() + CHANGE_TIME, || {
        last = cluster.members();
        last.as_ref() == Some(&expected)
    });
    assert!(listed, "{last:?} instead of {expected:?}\n{}", status(cluster, ids[0]));
    for id in ids {
        let settled = || status(cluster, *id)["groups_settled"].as_u64() == Some(9);
        let running = u16::try_from(*id).is_ok_and(|id| cluster.is_up(id));
        assert!(
            !running || poll::until(Instant::now() + SOON, settled),
            "node {id}: {}",
            status(cluster, *id)
        );
    }
}

fn status(cluster: &Cluster, id: u64) -> Json {
    let id = u16::try_from(id).unwrap();
    let answer = || -> Option<Json> {
        let mut client = Client::connect(cluster.address(id), Duration::from_secs(3)).ok()?;
        match client.line("RINGRAFT STATUS").ok()? {
            Value::Bulk(text) => serde_json::from_slice(&text).ok(),
            _ => None,
        }
    };
    answer().unwrap_or(Json::Null)
}

/// The node that leads the directory, and with it every change.
pub fn driver(cluster: &Cluster) -> u16 {
    let leads = |id: &u16| {
        let status = status(cluster, u64::from(*id));
        let groups = status["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().any(|group| group["id"] == 0 && group["role"] == "leader")
    };
    let found = poll::until_some(Instant::now() + SOON, || {
        let up: Vec<u16> = cluster.ids().filter(|id| cluster.is_up(*id)).collect();
        up.into_iter().find(leads)
    });
    found.expect("somebody leads group 0")
}

pub fn add(cluster: &Cluster, id: u16) {
    command(cluster, &format!("RINGRAFT MEMBER ADD {id}={}", cluster.peer_address(id)));
}

/// Runs the binary against all nodes and answers with what it printed.
fn ringraft(cluster: &Cluster, args: &[&str]) -> String {
    let up = cluster.ids().filter(|id| cluster.is_up(*id));
    let targets: Vec<String> = up.map(|id| cluster.address(id).to_string()).collect();
    let mut command = Command::new(cluster.binary());
    let output = command.args(args).args(["--target", &targets.join(",")]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ringraft {}: {}: {error}", args.join(" "), output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Everything acknowledged is on every member, and the history is linearizable.
fn judge(cluster: &Cluster, workload: Workload, ids: &[u16]) {
    cluster.wait_leaders(SOON).unwrap();
    let mut recorded: Recorded = workload.stop();
    for id in ids {
        for target in cluster.shard_addresses(*id) {
            recorded.read_back(target).unwrap();
        }
    }
    let judgement = recorded.judge();
    println!("{judgement}");
    judgement.assert_clean();
    assert!(judgement.durable > 50, "the run did too little to show anything: {judgement}");
}

#[test]
fn a_node_joins_under_load_and_the_leading_one_leaves() {
    let (mut cluster, workload) = start(1);
    cluster.start_node(4).unwrap();
    add(&cluster, 4);
    add(&cluster, 4); // asked twice, done once
    wait_members(&cluster, &[1, 2, 3, 4]);
    let_work(&workload, 300);

    let leaver = driver(&cluster);
    command(&cluster, &format!("RINGRAFT MEMBER REMOVE {leaver}"));
    let stay: Vec<u16> = (1..=4).filter(|id| *id != leaver).collect();
    wait_members(&cluster, &stay.iter().map(|id| u64::from(*id)).collect::<Vec<_>>());
    let ended = cluster.wait_end(leaver, SOON).unwrap();
    assert_eq!(ended.code(), Some(1), "{}", cluster.log(leaver));
    assert!(cluster.log(leaver).contains("was removed from this cluster"), "{}", cluster.log(leaver));
    let_work(&workload, 300);

    // Its data directory is of no use any more, and says so.
    cluster.launch(leaver).unwrap();
    let ended = cluster.wait_end(leaver, SOON).unwrap();
    assert_eq!(ended.code(), Some(2), "{}", cluster.log(leaver));
    cluster.kill(stay[0]);
    let_work(&workload, 100);
    cluster.start_node(stay[0]).unwrap();
    judge(&cluster, workload, &stay);
}

#[test]
fn a_lost_disk_is_replaced_and_cannot_vote_before() {
    let (mut cluster, workload) = start(0);
    cluster.kill(2);
    cluster.wipe(2).unwrap();
    cluster.start_node(2).unwrap();
    let told = || cluster.log(2).contains("remove it and add it again");
    assert!(poll::until(Instant::now() + SOON, told), "{}", cluster.log(2));
    assert_eq!(status(&cluster, 2)["cluster"], Json::Null, "it belongs to nothing");
    // Without node 3 there is no majority, whatever the one with the empty disk says.
    cluster.kill(3);
    let refused = poll::until(Instant::now() + SOON, || {
        let mut client = cluster.client(1).unwrap();
        let answer = client.line("SET alone x").unwrap();
        answer.error_code().is_some()
    });
    assert!(refused, "an amnesiac node has voted");
    cluster.start_node(3).unwrap();
    let_work(&workload, 100);

    assert_eq!(ringraft(&cluster, &["member", "remove", "2", "--wait", "60s"]), "node 2: removed\n");
    wait_members(&cluster, &[1, 3]);
    let address = format!("2={}", cluster.peer_address(2));
    assert_eq!(ringraft(&cluster, &["member", "add", &address, "--wait", "60s"]), "node 2: active\n");
    wait_members(&cluster, &[1, 2, 3]);
    let listed = ringraft(&cluster, &["member", "ls"]);
    assert_eq!(listed.matches("active").count(), 3, "{listed}");
    let_work(&workload, 300);
    judge(&cluster, workload, &[1, 2, 3]);
}

#[test]
fn changes_survive_the_death_of_whoever_drives_them() {
    let (mut cluster, workload) = start(2);
    cluster.start_node(4).unwrap();
    cluster.start_node(5).unwrap();
    add(&cluster, 4);
    add(&cluster, 5);
    let leading = driver(&cluster);
    cluster.kill(leading);
    let_work(&workload, 50);
    cluster.start_node(leading).unwrap();
    cluster.kill_all();
    cluster.start_all().unwrap();
    wait_members(&cluster, &[1, 2, 3, 4, 5]);
    let_work(&workload, 200);

    let leading = driver(&cluster);
    let leavers: Vec<u16> = [1, 2, 3].into_iter().filter(|id| *id != leading).collect();
    for leaver in &leavers {
        command(&cluster, &format!("RINGRAFT MEMBER REMOVE {leaver}"));
    }
    cluster.kill(leading);
    let_work(&workload, 50);
    cluster.kill_all();
    (1..=5).for_each(|id| cluster.launch(id).unwrap());
    wait_members(&cluster, &{
        let mut stay = [u64::from(leading), 4, 5];
        stay.sort_unstable();
        stay
    });
    for leaver in leavers {
        // Whether it is told so by the others now, or was before, and wrote it down.
        let ended = cluster.wait_end(leaver, SOON).unwrap();
        assert!(matches!(ended.code(), Some(1 | 2)), "{ended}: {}", cluster.log(leaver));
        assert!(cluster.log(leaver).contains("was removed from this cluster"), "{}", cluster.log(leaver));
    }
    let_work(&workload, 200);
    judge(&cluster, workload, &[leading, 4, 5]);
}

#[test]
fn a_member_that_slept_through_every_change_is_found_by_members_it_never_heard_of() {
    let (mut cluster, workload) = start(2);
    cluster.kill(3);
    cluster.start_node(4).unwrap();
    cluster.start_node(5).unwrap();
    add(&cluster, 4);
    add(&cluster, 5);
    wait_members(&cluster, &[1, 2, 3, 4, 5]);
    for leaver in [1, 2] {
        command(&cluster, &format!("RINGRAFT MEMBER REMOVE {leaver}"));
    }
    wait_members(&cluster, &[3, 4, 5]);
    for leaver in [1, 2] {
        cluster.wait_end(leaver, SOON).unwrap();
    }
    // All that node 3 knows is gone, and its list names the dead; its vote is needed as soon as it is back.
    cluster.start_node(3).unwrap();
    wait_members(&cluster, &[3, 4, 5]);
    cluster.kill(4);
    let_work(&workload, 100);
    cluster.start_node(4).unwrap();
    judge(&cluster, workload, &[3, 4, 5]);
}

/// Waits until a node that was removed has ended, or says that it belongs to nothing, as one does that was removed before
/// it was met.
pub fn lay_to_rest(cluster: &mut Cluster, id: u16) {
    let is_over = || status(cluster, u64::from(id))["cluster"].is_null();
    assert!(poll::until(Instant::now() + CHANGE_TIME, is_over), "{}", cluster.log(id));
    cluster.kill(id);
}

/// What a run at random is about: who is a member, as the operator wants it.
struct Wanted {
    rng: fastrand::Rng,
    members: Vec<u16>,
    /// Somebody was removed, and it was not seen yet that all groups are without that node.
    is_removing: bool,
}

impl Wanted {
    /// Waits until the cluster is what is wanted.
    fn settle(&mut self, cluster: &Cluster) {
        self.members.sort_unstable();
        wait_members(cluster, &self.members.iter().map(|id| u64::from(*id)).collect::<Vec<_>>());
        self.is_removing = false;
    }

    fn pick(&mut self, among: &[u16]) -> Option<u16> {
        (!among.is_empty()).then(|| among[self.rng.usize(..among.len())])
    }

    /// One thing that an operator or an accident does; what it was.
    fn step(&mut self, cluster: &mut Cluster, workload: &Workload) -> String {
        let outside: Vec<u16> = cluster.ids().filter(|id| !self.members.contains(id)).collect();
        let members = self.members.clone();
        match self.rng.u8(..10) {
            0..3 if !outside.is_empty() => {
                let Some(id) = self.pick(&outside) else { return "nothing".into() };
                lay_to_rest(cluster, id);
                if cluster.data(id).exists() {
                    cluster.wipe(id).unwrap();
                }
                cluster.relist(id, &members);
                cluster.start_node(id).unwrap();
                command(cluster, &format!("RINGRAFT MEMBER ADD {id}={}", cluster.peer_address(id)));
                self.members.push(id);
                format!("node {id} is added")
            }
            3..5 if members.len() > 3 => {
                let Some(id) = self.pick(&members) else { return "nothing".into() };
                command(cluster, &format!("RINGRAFT MEMBER REMOVE {id}"));
                self.members.retain(|member| *member != id);
                self.is_removing = true;
                format!("node {id} is removed")
            }
            5..8 => {
                let Some(id) = self.pick(&members) else { return "nothing".into() };
                cluster.kill(id);
                let_work(workload, self.rng.u64(1..100));
                cluster.start_node(id).unwrap();
                format!("node {id} dies and comes back")
            }
            8 => {
                cluster.kill_all();
                members.iter().for_each(|id| cluster.launch(*id).unwrap());
                members.iter().for_each(|id| drop(cluster.wait_ready(*id).unwrap()));
                if self.is_removing {
                    // Who was being removed stays dead, and counts for quorums until it is out: nobody else may be missing.
                    self.settle(cluster);
                }
                "all die and the members come back".into()
            }
            _ => {
                let_work(workload, self.rng.u64(1..200));
                "a while passes".into()
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn members_come_and_go_at_random() {
    let seed = number("RINGRAFT_MEMBERS_SEED", fastrand::u64(..));
    println!("RINGRAFT_MEMBERS_SEED={seed}");
    let (mut cluster, workload) = start(2);
    let mut wanted =
        Wanted { rng: fastrand::Rng::with_seed(seed), members: vec![1, 2, 3], is_removing: false };
    let end = Instant::now() + Duration::from_secs(number("RINGRAFT_MEMBERS_SECONDS", 20));
    while Instant::now() < end {
        let what = wanted.step(&mut cluster, &workload);
        println!("{what}: {:?}", wanted.members);
        if wanted.rng.bool() {
            wanted.settle(&cluster);
        }
    }
    wanted.settle(&cluster);
    for id in cluster.ids().filter(|id| !wanted.members.contains(id)) {
        lay_to_rest(&mut cluster, id);
    }
    judge(&cluster, workload, &wanted.members);
}

#[test]
fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::start(&Options { groups: Some(4), ..Options::default() }).unwrap();
    cluster.wait_leaders(SOON).unwrap();
    let leader = |group: usize| status(&cluster, 1)["groups"][group]["leader"].as_u64();
    for (group, to) in [(1, 3), (1, 2), (0, 3), (3, 1)] {
        let arrived = poll::until(Instant::now() + SOON, || {
            cluster.ask(&format!("RINGRAFT TRANSFER {group} {to}"));
            let arrived = || leader(group) == Some(to);
            poll::until(Instant::now() + Duration::from_secs(2), arrived)
        });
        assert!(arrived, "group {group} is led by {:?}, not {to}", leader(group));
    }
    let said = ringraft(&cluster, &["transfer", "--group", "2", "--to", "3"]);
    assert_eq!(said, "group 2: led by node 3\n");
    let refused = cluster.ask("RINGRAFT TRANSFER 1 9").expect("an answer");
    assert_eq!(refused.error_code(), Some("NOVOTER"), "{refused:?}");
}
