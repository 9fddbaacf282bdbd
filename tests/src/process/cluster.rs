//! Clusters of real nodes, on loopback or wherever their places are.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::options::{Options, data_of, serve_args};
use super::status::NodeStatus;
use super::{Process, Spec, TempDir, data_dir, find_ringraft};
use crate::client::{Client, Value};

/// A node must print `ready` within this: recovery is bounded, the machine may be busy.
const START_TIME: Duration = Duration::from_secs(30);
/// A node must end within this after SIGTERM.
const STOP_TIME: Duration = Duration::from_secs(20);
const STATUS_TIME: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Node {
    client: SocketAddr,
    peer: SocketAddr,
    spec: Spec,
    process: Option<Process>,
    paused: bool,
    /// Started together with all others.
    belongs: bool,
}

/// One cluster at a time in a test process: three nodes ask for more cores than most machines that run tests
/// have, and a test that starves others of their elections shows nothing.
static TURN: Mutex<()> = Mutex::new(());

/// A cluster of real processes. Nodes are named by their ids, from 1. Dropping it kills them all. While one
/// exists, other threads wait in [`Cluster::start`]; a thread that asks for a second one waits for ever.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    shards: u16,
    dir: PathBuf,
    binary: PathBuf,
    /// Removed after the nodes have ended: fields are dropped in order.
    _temporary: Option<TempDir>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts all nodes and waits until each is ready.
    ///
    /// # Errors
    ///
    /// A sentence with the end of the failing node's log.
    pub fn start(options: &Options) -> Result<Cluster, String> {
        let mut cluster = Cluster::prepare(options)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Chooses ports and directories, and starts nothing.
    ///
    /// # Errors
    ///
    /// As for [`Cluster::start`].
    pub fn prepare(options: &Options) -> Result<Cluster, String> {
        let binary = find_ringraft()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = if options.dir.is_none() { Some(data_dir()?) } else { None };
        let dir = match (&options.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_path_buf(),
            (None, None) => unreachable!("one of the two was chosen above"),
        };
        let ports: Vec<(SocketAddr, SocketAddr)> =
            (1..=options.nodes + options.spare).map(|id| options.addresses(id)).collect();
        let members: Vec<String> =
            ports.iter().zip(1..).map(|((_, peer), id): (_, u16)| format!("{id}={peer}")).collect();
        let founders = usize::from(options.nodes);
        let node = |((client, peer), id): (&(SocketAddr, SocketAddr), u16)| {
            let own = members.iter().skip(founders.max(usize::from(id) - 1)).take(1);
            let list: Vec<&str> = members.iter().take(founders).chain(own).map(String::as_str).collect();
            let belongs = id <= options.nodes;
            let list = if belongs { &list[..founders] } else { &list };
            let args = serve_args(options, id, &dir, *client, &list.join(","));
            let (program, args) = options.command(id, &binary, args);
            let spec =
                Spec { name: format!("node {id}"), program, args, log: dir.join(format!("node-{id}.log")) };
            Node { client: *client, peer: *peer, spec, process: None, paused: false, belongs }
        };
        let nodes = ports.iter().zip(1..).map(node).collect();
        Ok(Cluster { nodes, shards: options.shards, dir, binary, _temporary: temporary, _turn: turn })
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        1..=u16::try_from(self.nodes.len()).expect("their number was a u16")
    }

    fn node(&self, id: u16) -> &Node {
        &self.nodes[usize::from(id) - 1]
    }

    fn node_mut(&mut self, id: u16) -> &mut Node {
        &mut self.nodes[usize::from(id) - 1]
    }

    /// The binary that the nodes run.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A node's data directory.
    pub fn data(&self, id: u16) -> PathBuf {
        data_of(&self.dir, id)
    }

    /// What a node is started with, to start it differently.
    pub fn spec(&self, id: u16) -> Spec {
        self.node(id).spec.clone()
    }

    /// Where a node's shard 0 listens for clients. Shard k listens k ports above it.
    pub fn address(&self, id: u16) -> SocketAddr {
        self.node(id).client
    }

    /// Where a node's shard 0 listens for its peers. Shard k listens k ports above it.
    pub fn peer_address(&self, id: u16) -> SocketAddr {
        self.node(id).peer
    }

    /// Where a node's shards listen for clients.
    pub fn shard_addresses(&self, id: u16) -> Vec<SocketAddr> {
        let first = self.address(id);
        (0..self.shards).map(|shard| SocketAddr::new(first.ip(), first.port() + shard)).collect()
    }

    /// All clients' addresses of all nodes, whether they run or not.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ids().flat_map(|id| self.shard_addresses(id)).collect()
    }

    /// The process number of a running node.
    pub fn process_id(&self, id: u16) -> Option<u32> {
        self.node(id).process.as_ref().map(Process::id)
    }

    /// Runs and is not frozen.
    pub fn is_up(&self, id: u16) -> bool {
        let node = self.node(id);
        node.process.is_some() && !node.paused
    }

    /// Starts a node without waiting for it.
    ///
    /// # Errors
    ///
    /// If the program cannot be run.
    pub fn launch(&mut self, id: u16) -> Result<(), String> {
        let spec = self.spec(id);
        let node = self.node_mut(id);
        assert!(node.process.is_none(), "node {id} is running already");
        node.process = Some(Process::start(spec)?);
        (node.paused, node.belongs) = (false, true);
        Ok(())
    }

    /// Waits for a launched node's `ready`, and returns that line.
    ///
    /// # Errors
    ///
    /// A sentence with the end of its log.
    pub fn wait_ready(&mut self, id: u16) -> Result<String, String> {
        let process =
            self.node_mut(id).process.as_mut().ok_or_else(|| format!("node {id} is not running"))?;
        process.wait_line("ready ", Instant::now() + START_TIME)
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    ///
    /// A sentence with the end of its log.
    pub fn start_node(&mut self, id: u16) -> Result<(), String> {
        self.launch(id)?;
        self.wait_ready(id).map(|_| ())
    }

    /// Starts every node that does not run, all at once; spare ones only if they were started before.
    ///
    /// # Errors
    ///
    /// A sentence with the end of the failing node's log.
    pub fn start_all(&mut self) -> Result<(), String> {
        let is_down = |node: &Node| node.process.is_none() && node.belongs;
        let down: Vec<u16> = self.ids().filter(|id| is_down(self.node(*id))).collect();
        down.iter().try_for_each(|id| self.launch(*id))?;
        down.iter().try_for_each(|id| self.wait_ready(*id).map(|_| ()))
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: u16) {
        if let Some(mut process) = self.node_mut(id).process.take() {
            process.kill();
        }
    }

    /// `kill -9` for all of them, as close together as possible.
    pub fn kill_all(&mut self) {
        let running: Vec<Process> = self.nodes.iter_mut().filter_map(|node| node.process.take()).collect();
        let pids: Vec<String> = running.iter().map(|process| process.id().to_string()).collect();
        let _ = std::process::Command::new("kill").arg("-9").args(pids).status();
        drop(running);
    }

    /// Waits for the end of a node that is to end by itself, which from then on is started no more with the others.
    ///
    /// # Errors
    ///
    /// A sentence with the end of its log, when it goes on.
    pub fn wait_end(&mut self, id: u16, time: Duration) -> Result<ExitStatus, String> {
        let node = self.node_mut(id);
        let process = node.process.as_mut().ok_or_else(|| format!("node {id} is not running"))?;
        let ended = process.wait_exit(Instant::now() + time);
        let ended = ended.ok_or_else(|| process.explain("did not end"))?;
        (node.process, node.belongs) = (None, false);
        Ok(ended)
    }

    /// Has a node that does not run start with a list of these nodes, and itself.
    pub fn relist(&mut self, id: u16, ids: &[u16]) {
        let mut ids: Vec<u16> = ids.iter().copied().filter(|other| *other != id).chain([id]).collect();
        ids.sort_unstable();
        let list: Vec<String> = ids.iter().map(|id| format!("{id}={}", self.peer_address(*id))).collect();
        let args = &mut self.node_mut(id).spec.args;
        let flag = args.iter().position(|arg| arg == "--cluster").expect("every node has a list");
        args[flag + 1] = list.join(",").into();
    }

    /// Takes a dead node's disk away.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn wipe(&mut self, id: u16) -> Result<(), String> {
        assert!(self.node(id).process.is_none(), "node {id} is running");
        std::fs::remove_dir_all(self.data(id)).map_err(|error| format!("node {id}: {error}"))
    }

    /// Everything that a node has logged.
    pub fn log(&self, id: u16) -> String {
        std::fs::read_to_string(&self.node(id).spec.log).unwrap_or_default()
    }

    /// SIGTERM, and the wait for the node's end.
    ///
    /// # Errors
    ///
    /// A sentence with the end of its log, when it does not end in time.
    pub fn stop(&mut self, id: u16) -> Result<ExitStatus, String> {
        let mut process =
            self.node_mut(id).process.take().ok_or_else(|| format!("node {id} is not running"))?;
        process.terminate();
        let ended = process.wait_exit(Instant::now() + STOP_TIME);
        ended.ok_or_else(|| process.explain("did not end after SIGTERM"))
    }

    /// SIGSTOP.
    pub fn pause(&mut self, id: u16) {
        let node = self.node_mut(id);
        if let Some(process) = &mut node.process {
            process.pause();
            node.paused = true;
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: u16) {
        let node = self.node_mut(id);
        if let Some(process) = &mut node.process {
            process.resume();
            node.paused = false;
        }
    }

    /// A connection to a node's shard 0.
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub fn client(&self, id: u16) -> std::io::Result<Client> {
        Client::connect(self.address(id), Duration::from_secs(5))
    }

    /// What a node says about its groups.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn status(&self, id: u16) -> Result<NodeStatus, String> {
        let mut all = NodeStatus::default();
        for address in self.shard_addresses(id) {
            let failed = |error: std::io::Error| format!("node {id} at {address}: {error}");
            let mut client = Client::connect(address, STATUS_TIME).map_err(failed)?;
            match client.line("RINGRAFT STATUS").map_err(failed)? {
                Value::Bulk(text) => all = all.merge(NodeStatus::parse(&String::from_utf8_lossy(&text))?),
                other => return Err(format!("node {id}: RINGRAFT STATUS answered {other:?}")),
            }
        }
        Ok(all)
    }

    pub(super) fn statuses(&self) -> Result<Vec<NodeStatus>, String> {
        self.ids().filter(|id| self.is_up(*id)).map(|id| self.status(id)).collect()
    }
}
