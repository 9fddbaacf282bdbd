//! A cluster behind a switch, with clients at work: what every test here starts from, and how it ends.

use std::time::Duration;

use ringraft_tests::process::{Cluster, Options};
use ringraft_tests::switch::{Inside, Switch};
use ringraft_tests::workload::{Plan, Workload};

use crate::service::{self, ALL_SERVE, START, up};

/// A network, a cluster and its clients. Dropped in this order, whatever happens.
pub struct Site {
    workload: Workload,
    pub cluster: Cluster,
    _inside: Inside,
    pub switch: Switch,
}

impl Site {
    /// Starts a cluster of `nodes` nodes with two groups for each of them to lead, and clients. `None`: not possible here.
    pub fn start(nodes: u16, seed: u64, options: Options) -> Option<Site> {
        let switch = Switch::start(nodes, seed)?;
        let inside = switch.enter();
        let groups = Some(u32::from(nodes) * 2);
        let options = Options { nodes, groups, places: switch.places(), ..options };
        let cluster = Cluster::start(&options).expect("a cluster starts");
        cluster.wait_leaders(START).expect("it finds its leaders");
        let plan = Plan { seed, rate: 100, ..Plan::default() };
        let workload = Workload::start(cluster.addresses(), plan);
        service::let_work(&workload, 200);
        Some(Site { workload, cluster, _inside: inside, switch })
    }

    /// Waits for some progress of the clients.
    pub fn let_work(&self, more: u64) {
        service::let_work(&self.workload, more);
    }

    /// Waits until each of these nodes has served all keys.
    pub fn wait_serves(&self, ids: &[u16], within: Duration, after: &str) {
        service::wait_serves(&self.cluster, ids, within, after);
    }

    /// Lets everything pass, waits for full service, and lets the clients work on.
    pub fn heal(&self, after: &str) {
        self.switch.heal();
        self.wait_serves(&up(&self.cluster), ALL_SERVE, &format!("end of {after}"));
        self.let_work(100);
    }

    /// The sum of all groups' terms, as a node has them.
    pub fn terms(&self, id: u16) -> u64 {
        self.cluster.status(id).expect("a healthy node").groups.iter().map(|group| group.term).sum()
    }

    /// Who leads a key in a healthy cluster.
    pub fn leader_of(&self, key: &str) -> u16 {
        service::leader_of(&self.cluster, 1, key)
    }

    /// Everything ends: nothing acknowledged is lost, and all histories have an order.
    pub fn judge(self, durable_min: usize) {
        self.switch.heal();
        service::judge(&self.cluster, self.workload, durable_min);
    }
}
