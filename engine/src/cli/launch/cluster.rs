//! Several nodes that form a cluster.

use super::child::{Child, ChildError};
use super::ports::Ports;
use crate::cli::status::{self, Status};
use crate::cli::{Exit, ExitContext, Failure};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a node may take to bind and recover.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the cluster may take to form and elect.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nodes may take to end in order.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What cluster to start.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// What to run: `executable serve ...`.
    pub executable: PathBuf,
    /// One data directory per node.
    pub data: Vec<PathBuf>,
    /// Shards of each node.
    pub shards: u16,
    /// Groups.
    pub groups: u32,
    /// Pass the nodes' standard error on.
    pub loud: bool,
}

/// A running cluster. Dropping it kills its nodes; [`Cluster::end`] is kinder.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    ports: Ports,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts all nodes, and waits until each is ready and every group has a leader.
    ///
    /// # Errors
    /// A node's last words, or [`Exit::Timeout`] when groups stay without leaders.
    pub fn start(spec: ClusterSpec, stop: &dyn Fn() -> bool) -> Result<Cluster, Failure> {
        let count = u16::try_from(spec.data.len()).exit(Exit::Usage)?;
        let ports = Ports::find(count, spec.shards).exit(Exit::Failed)?;
        let nodes = spec.data.iter().map(|_| None).collect();
        let mut cluster = Cluster { spec, ports, nodes };
        for node in 1..=count {
            cluster.spawn(node)?;
        }
        for child in cluster.nodes.iter_mut().flatten() {
            child.wait_ready(READY_TIMEOUT, stop).exit(Exit::Failed)?;
        }
        if let Err(failure) = status::wait_for_leaders(&cluster.clients(), LEADERS_TIMEOUT, stop) {
            cluster.check().exit(Exit::Failed)?;
            return Err(failure);
        }
        Ok(cluster)
    }

    /// Client addresses of shard 0 of all nodes.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.ports.plans().iter().map(|ports| ports.client).collect()
    }

    /// What the first node that answers knows.
    ///
    /// # Errors
    /// [`Exit::Unavailable`]
    pub fn status(&self) -> Result<Status, Failure> {
        status::fetch(&self.clients())
    }

    /// Kills `node` without warning.
    pub fn kill(&mut self, node: u16) {
        if let Some(child) = self.slot(node).and_then(Option::take) {
            child.kill();
        }
    }

    /// Starts `node`, which does not run, with its data and ports. Does not wait until it is ready.
    ///
    /// # Errors
    /// The process cannot be made.
    pub fn spawn(&mut self, node: u16) -> Result<(), Failure> {
        let arguments = self.arguments(node);
        self.ports.release(usize::from(node) - 1);
        let child =
            Child::start(node, &self.spec.executable, &arguments, self.spec.loud).exit(Exit::Failed)?;
        if let Some(slot) = self.slot(node) {
            *slot = Some(child);
        }
        Ok(())
    }

    /// Waits until a node that was spawned again is ready.
    ///
    /// # Errors
    /// Its last words.
    pub fn wait_ready(&mut self, node: u16) -> Result<(), ChildError> {
        match self.slot(node).and_then(Option::as_mut) {
            Some(child) => child.wait_ready(READY_TIMEOUT, || false).map(drop),
            None => Ok(()),
        }
    }

    /// Whether all nodes that should run do.
    ///
    /// # Errors
    /// The last words of the first that does not.
    pub fn check(&mut self) -> Result<(), ChildError> {
        self.nodes.iter_mut().flatten().try_for_each(Child::check)
    }

    /// Asks all nodes to end and waits for them; those that do not in time are killed.
    pub fn end(mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        self.nodes.iter_mut().flatten().for_each(Child::ask_to_end);
        for child in self.nodes.drain(..).flatten() {
            let node = child.node();
            if !child.wait_end(deadline) {
                tracing::warn!("node {node} did not end within {END_TIMEOUT:?} and was killed");
            }
        }
    }

    fn slot(&mut self, node: u16) -> Option<&mut Option<Child>> {
        self.nodes.get_mut(usize::from(node).checked_sub(1)?)
    }

    fn arguments(&self, node: u16) -> Vec<OsString> {
        let place = usize::from(node) - 1;
        let members = (1u16..).zip(self.ports.plans()).map(|(id, ports)| format!("{id}={}", ports.peer));
        let members: Vec<String> = members.collect();
        let mut arguments: Vec<OsString> =
            ["serve", "--until-stdin-closes", "--data"].map(Into::into).to_vec();
        arguments.push(self.spec.data[place].clone().into());
        let values = [
            ("--node", node.to_string()),
            ("--cluster", members.join(",")),
            ("--client", self.ports.plans()[place].client.to_string()),
            ("--shards", self.spec.shards.to_string()),
            ("--groups", self.spec.groups.to_string()),
        ];
        for (flag, value) in values {
            arguments.extend([flag.into(), value.into()]);
        }
        arguments
    }
}
