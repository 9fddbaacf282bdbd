//! A cluster behind a switch, with clients at work: what every test here starts from, and how it ends.

use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::switch::{Inside, Switch};
use ringraft_tests::workload::{Plan, Workload};

/// A majority serves all keys this long after a cut, at the latest. An election takes up to 1.5 s from the last sign of
/// the old leader, twice that if votes split, and a client of the old leader waits for its deadline of 2 s; the rest is
/// for a machine with fewer cores than nodes.
pub const MAJORITY_SERVES: Duration = Duration::from_secs(6);
/// Every node serves all keys this long after all faults have ended. A link that was dialled just before may wait 5 s for
/// an answer to its greeting and then 2 s for the next attempt.
pub const ALL_SERVE: Duration = Duration::from_secs(12);
/// Nodes start and find leaders within this.
pub const START: Duration = Duration::from_secs(20);
/// Keys that reach every group with near certainty.
const PROBES: usize = 64;

/// A network, a cluster and its clients. Dropped in this order, whatever happens.
pub struct Site {
    pub workload: Option<Workload>,
    pub cluster: Cluster,
    _inside: Inside,
    pub switch: Switch,
}

/// The seed of a run, printed, so that its faults can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("RINGRAFT_NET_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"));
    println!("RINGRAFT_NET_SEED={seed}");
    seed
}

impl Site {
    /// Starts a cluster of `nodes` nodes with a group for each of their leaders, and clients. `None`: not possible here.
    pub fn start(nodes: u16, seed: u64, options: Options) -> Option<Site> {
        let switch = Switch::start(nodes + options.spare, seed)?;
        let inside = switch.enter();
        let groups = options.groups.or(Some(u32::from(nodes) * 2));
        let options = Options { nodes, groups, places: switch.places(), ..options };
        let cluster = Cluster::start(&options).expect("a cluster starts");
        cluster.wait_leaders(START).expect("it finds its leaders");
        let mut site = Site { workload: None, cluster, _inside: inside, switch };
        let all: Vec<u16> = site.cluster.ids().take(usize::from(nodes)).collect();
        let targets = all.iter().flat_map(|id| site.cluster.shard_addresses(*id)).collect();
        site.workload = Some(Workload::start(targets, Plan { seed, rate: 100, ..Plan::default() }));
        site.let_work(200);
        Some(site)
    }

    /// Waits for some progress of the clients.
    pub fn let_work(&self, more: u64) {
        let workload = self.workload.as_ref().expect("it is running");
        let target = workload.acknowledged() + more;
        let moved = poll::until(Instant::now() + ALL_SERVE, || workload.acknowledged() >= target);
        assert!(moved, "the clients get no answers");
    }

    /// Whether a key of every group is written through a node.
    pub fn serves(&self, id: u16) -> bool {
        let Ok(mut client) = Client::connect(self.cluster.address(id), Duration::from_secs(3)) else {
            return false;
        };
        let keys: Vec<String> = (0..PROBES).map(|probe| format!("probe{probe}")).collect();
        let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"SET", key.as_bytes(), b"x"]).collect();
        let stored = |reply: &Value| *reply == Value::Simple("OK".into());
        client.pipeline(&commands).is_ok_and(|replies| replies.iter().all(stored))
    }

    /// Waits until each of these nodes has served all keys, and says how long that took.
    pub fn wait_serves(&self, ids: &[u16], within: Duration, after: &str) {
        let start = Instant::now();
        for id in ids {
            let served = poll::until(start + within, || self.serves(*id));
            assert!(
                served,
                "node {id} does not serve all keys {within:?} after {after}: {:?}",
                self.cluster.status(*id)
            );
        }
        println!("{after}: nodes {ids:?} served after {:.1} s", start.elapsed().as_secs_f32());
    }

    /// Lets everything pass, waits for full service, and lets the clients work on.
    pub fn heal(&self, after: &str) {
        self.switch.heal();
        let all: Vec<u16> = self.cluster.ids().filter(|id| self.cluster.is_up(*id)).collect();
        self.wait_serves(&all, ALL_SERVE, &format!("end of {after}"));
        self.let_work(100);
    }

    /// The sum of all groups' terms, as a node has them.
    pub fn terms(&self, id: u16) -> u64 {
        self.cluster.status(id).expect("a healthy node").groups.iter().map(|group| group.term).sum()
    }

    /// Who leads a key.
    pub fn leader_of(&self, key: &str) -> u16 {
        let mut client = self.cluster.client(1).expect("a healthy node");
        let slot = client.line(&format!("CLUSTER KEYSLOT {key}")).expect("an answer");
        let Value::Integer(slot) = slot else { panic!("CLUSTER KEYSLOT: {slot:?}") };
        let status = self.cluster.status(1).expect("a healthy node");
        let groups = status.groups.len() as u64 - 1; // group 0 has no keys
        let group = ((slot.unsigned_abs() + 1) * groups - 1) / 16384 + 1;
        let known = status.groups.iter().find(|status| status.group == group);
        let leader = known.and_then(|status| status.leader).expect("a healthy cluster has leaders");
        u16::try_from(leader).expect("ids are small")
    }

    /// Lets time pass, on purpose: something must last this long to be what it is.
    pub fn pass(&self, time: Duration) {
        poll::until(Instant::now() + time, || false);
    }

    /// Everything ends: nothing acknowledged is lost, and all histories have an order.
    pub fn judge(mut self, durable_min: usize) {
        self.switch.heal();
        let all: Vec<u16> = self.cluster.ids().filter(|id| self.cluster.is_up(*id)).collect();
        self.wait_serves(&all, ALL_SERVE, "everything");
        let mut recorded = self.workload.take().expect("it is running").stop();
        for id in all {
            for target in self.cluster.shard_addresses(id) {
                recorded.read_back(target).expect("every node answers");
            }
        }
        let judgement = recorded.judge();
        println!("{judgement}");
        judgement.assert_clean();
        assert!(judgement.durable >= durable_min, "the run did too little to show anything: {judgement}");
    }
}
