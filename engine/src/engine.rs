//! A running node: its shard threads, started and stopped.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use raft::{GroupId, Index, NodeId};
use runtime::{MailboxSender, ShardSpec, ShardThread, spawn_shard};

use crate::builder::Builder;
use crate::directory::{Directory, NodeFacts};
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::group::Group;
use crate::local::LocalCluster;
use crate::node::{DataDir, Identity, Random, Wanted, system_random};
use crate::placement::Placement;
use crate::recovering::gather;
use crate::shard::{
    ELECTION_TIMEOUT_MIN, Places, ShardMessage, ShardSettings, ShardStart, SharedDataDir, run,
};
use crate::state_machine::StateMachine;
use net::forming::Cluster;

/// Makes each group's machine, on the shard that owns the group.
pub(crate) type Factory<S> = Arc<dyn Fn(GroupId) -> S + Send + Sync>;

/// One node of a cluster, running in this process. Dropping it stops it without handing leaderships over;
/// [`Engine::shutdown`] does that first.
pub struct Engine {
    pub(crate) mailboxes: Vec<Arc<MailboxSender<ShardMessage>>>,
    threads: Vec<ShardThread>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) deadline: Duration,
    client: Option<SocketAddr>,
    peer: SocketAddr,
    _data_dir: Arc<SharedDataDir>,
}

impl Engine {
    /// The settings of node `node`, whose data lives in `data_dir`.
    pub fn builder(node: u16, data_dir: impl AsRef<Path>) -> Builder {
        Builder::new(node, data_dir.as_ref().to_path_buf())
    }

    /// A cluster of `nodes` nodes in this process: free loopback ports, a temporary directory, one shard each.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn local_cluster<S: StateMachine>(
        nodes: u16,
        factory: impl Fn(GroupId) -> S + Send + Sync + Clone + 'static,
    ) -> Result<LocalCluster, StartError> {
        LocalCluster::start(nodes, |builder| builder, factory)
    }

    pub(crate) fn start<S: StateMachine>(
        builder: Builder,
        make_factory: impl FnOnce(u32) -> Factory<S>,
    ) -> Result<Engine, StartError> {
        let data_dir = open_data_dir(&builder, &mut system_random)?;
        let host = runtime::check_host(
            &builder.data_dir,
            usize::try_from(data_dir.identity().shards).unwrap_or(usize::MAX),
        )?;
        let prepared = Prepared::new(&builder, data_dir)?;
        prepared.directory.limit_clients(host.clients_max);
        let (shards, peer) = (prepared.shards, prepared.peer);
        let factory = make_factory(prepared.identity.groups);
        let mut randomness = [0; 24];
        system_random(&mut randomness)
            .map_err(|error| StartError::Settings(format!("no randomness: {error}")))?;
        let (ready, recovered) = mpsc::channel();
        let (mut threads, mut watched) = (Vec::new(), Vec::new());
        for shard in 0..shards {
            let settings = prepared.settings(shard, &builder, randomness);
            let places = places(&builder, &prepared.identity, &settings, shards);
            watched.push((places.log_dir.clone(), places.log_options.progress.clone()));
            let start = ShardStart {
                places,
                client_listener: listen(builder.client, shard, "clients")?,
                peer_listener: listen(Some(peer), shard, "peers")?.expect("there is always a peer address"),
                factory: Arc::clone(&factory),
                fatal: Arc::clone(&builder.fatal),
                ready: ready.clone(),
                settings,
            };
            let spec =
                ShardSpec { name: format!("ringraft-{}-{shard}", builder.node), cpu: cpu_for(shard, shards) };
            threads.push(spawn_shard(spec, move |context| run(context, start))?);
        }
        drop(ready);
        let mailboxes = match gather(&recovered, &watched) {
            Ok(mailboxes) => mailboxes,
            Err(error) => {
                // The directory is free again, and so are the ports, once this returns.
                threads.into_iter().for_each(|thread: ShardThread| drop(thread.join()));
                return Err(error);
            }
        };
        for mailbox in &mailboxes {
            let all = mailboxes.iter().map(|sender| MailboxSender::clone(sender)).collect();
            let _full = mailbox.try_send(ShardMessage::Mesh(all)); // the first message of an empty mailbox
        }
        Ok(Engine {
            mailboxes,
            threads,
            directory: prepared.directory,
            deadline: builder.deadline,
            client: builder.client,
            peer,
            _data_dir: prepared.data_dir,
        })
    }

    /// The handle to a group; `None` when there is no such group. Groups are numbered from 1.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        let placement = self.directory.placement;
        let shard = usize::from(placement.shard_of(id));
        placement.contains(id).then(|| Group::new(id, Arc::clone(&self.mailboxes[shard]), self.deadline))
    }

    /// This node's number.
    pub fn node(&self) -> NodeId {
        self.directory.node
    }

    /// How many shards this node has.
    pub fn shards(&self) -> u16 {
        self.directory.placement.shards
    }

    /// How many groups the cluster has.
    pub fn groups(&self) -> u32 {
        self.directory.placement.groups
    }

    /// Where shard 0 serves the Redis protocol, if it does.
    pub fn client_address(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Where shard 0 listens for peers.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// The node believed to lead `group` now.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.directory.group(group)?.leader
    }

    /// The newest entry of `group` whose effect is in this node's state.
    pub fn applied(&self, group: GroupId) -> Option<Index> {
        Some(self.directory.group(group)?.applied)
    }

    /// Has every shard save the states of its groups and compact its log behind them, in the background.
    pub fn take_snapshots(&self) {
        for mailbox in &self.mailboxes {
            // A full mailbox is a busy shard: its log grows, and it will save by itself.
            let _full = mailbox.try_send(ShardMessage::TakeSnapshots);
        }
    }

    /// Hands leaderships over, stops every shard, and waits for them.
    ///
    /// # Errors
    /// [`Fatal`] when a shard had panicked.
    pub fn shutdown(mut self) -> Result<(), Fatal> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Fatal> {
        for mailbox in &self.mailboxes {
            let mut message = ShardMessage::Shutdown;
            // A full mailbox drains unless its shard is dead, and then its thread has ended.
            while let Err(back) = mailbox.try_send(message) {
                if self.directory.is_dead() || self.threads.iter().all(ShardThread::is_finished) {
                    break;
                }
                message = back;
                std::thread::yield_now();
            }
        }
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if let Err(panicked) = thread.join() {
                result = Err(Fatal::Panic(panicked.to_string()));
            }
        }
        result
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(fatal) = self.stop() {
            tracing::error!(%fatal, "the engine did not stop cleanly");
        }
    }
}

/// What the shards of a node share and are started with.
pub(crate) struct Prepared {
    pub(crate) identity: Identity,
    directory: Arc<Directory>,
    data_dir: Arc<SharedDataDir>,
    pub(crate) shards: u16,
    peer: SocketAddr,
}

impl Prepared {
    /// From the settings and the opened data directory.
    pub(crate) fn new(builder: &Builder, data_dir: DataDir) -> Result<Prepared, StartError> {
        let peer = own_address(builder)?;
        let identity = data_dir.identity().clone();
        let shards = u16::try_from(identity.shards)
            .map_err(|_| StartError::Settings("shards: at most 65535".into()))?;
        let placement = Placement { shards, groups: identity.groups };
        let directory = Arc::new(Directory::new(builder.node, placement));
        directory.learn(own_facts(builder, &identity, peer, shards));
        let data_dir = Arc::new(SharedDataDir::new(data_dir));
        Ok(Prepared { identity, directory, data_dir, shards, peer })
    }

    /// What `shard` is told.
    pub(crate) fn settings(&self, shard: u16, builder: &Builder, randomness: [u8; 24]) -> ShardSettings {
        let (directory, data_dir) = (Arc::clone(&self.directory), Arc::clone(&self.data_dir));
        ShardSettings::new(shard, builder, &self.identity, directory, data_dir, randomness)
    }
}

/// Opens the node's directory for a start.
pub(crate) fn open_data_dir(builder: &Builder, random: Random<'_>) -> Result<DataDir, StartError> {
    own_address(builder)?;
    let wanted = Wanted {
        node: builder.node,
        shards: builder.shards.map(u32::from),
        groups: builder.groups,
        cluster: builder.cluster.clone(),
    };
    let unusable = |error: crate::node::DataDirError| StartError::DataDir(error.to_string());
    let mut data_dir = DataDir::open_with(&builder.data_dir, wanted, random).map_err(unusable)?;
    keep_lease_promise(&mut data_dir, builder.lease_reads).map_err(unusable)?;
    Ok(data_dir)
}

/// A node that runs with lease reads promises leaders not to elect others for a while, and must keep its word across a
/// restart. While it runs with them its cores do (they vote late after a start), and a marker says so to later starts:
/// the first one without them waits as long before anything of it can vote, then forgets the promise.
fn keep_lease_promise(data_dir: &mut DataDir, lease_reads: bool) -> Result<(), crate::node::DataDirError> {
    if lease_reads {
        return data_dir.promise_leases();
    }
    if data_dir.has_promised_leases() {
        tracing::info!("lease reads are off: waiting until leases of before have ended");
        std::thread::sleep(ELECTION_TIMEOUT_MIN);
        data_dir.forget_leases()?;
    }
    Ok(())
}

/// This node's own line in the cluster list.
fn own_address(builder: &Builder) -> Result<SocketAddr, StartError> {
    let own = builder.cluster.iter().find(|(node, _)| *node == builder.node);
    own.map(|(_, address)| *address).ok_or_else(|| {
        StartError::Settings(format!(
            "node {} is not in the cluster list: add its own peer address",
            builder.node
        ))
    })
}

fn own_facts(builder: &Builder, identity: &Identity, peer: SocketAddr, shards: u16) -> NodeFacts {
    let client_host =
        builder.advertise.clone().or_else(|| builder.client.map(|address| address.ip().to_string()));
    NodeFacts {
        node: builder.node,
        incarnation: identity.incarnation.0,
        peer_host: peer.ip().to_string(),
        client_host: client_host.unwrap_or_default(),
        client_port: builder.client.map_or(0, |address| address.port()),
        peer_port: peer.port(),
        shards,
    }
}

/// Where the shard of `settings` keeps its data.
pub(crate) fn places(
    builder: &Builder,
    identity: &Identity,
    settings: &ShardSettings,
    shards: u16,
) -> Places {
    let shard = settings.shard;
    // The founder of a cluster that nobody has joined: what it lost nobody has.
    let cluster = settings.data_dir.record().and_then(|bytes| Cluster::decode(&bytes).ok());
    let is_alone = cluster.is_some_and(|cluster| cluster.roster.members.len() <= 1);
    let log_options = raftlog::Options {
        heals: !is_alone,
        segment_bytes: builder.segment_bytes,
        cap_bytes: builder.log_bytes_max,
        scrub_every: builder.scrub_every,
        seed: settings.seed.rotate_left(32) ^ u64::from(shard),
        ..raftlog::Options::new(identity.store, u32::from(shard), u32::from(shards))
    };
    let log_dir = settings.data_dir.shard_dir(u32::from(shard)).join("log");
    let (snapshots_dir, serving) = (settings.snapshots_dir.clone(), builder.serving(shards));
    Places { shard, log_dir, log_options, snapshots_dir, serving }
}

fn listen(
    base: Option<SocketAddr>,
    shard: u16,
    purpose: &'static str,
) -> Result<Option<std::net::TcpListener>, StartError> {
    let Some(base) = base else { return Ok(None) };
    let port = base.port().checked_add(shard);
    let port = port.ok_or_else(|| {
        StartError::Settings(format!("{purpose}: port {} + shard {shard} is no port", base.port()))
    })?;
    let address = SocketAddr::new(base.ip(), port);
    let deadline = Instant::now() + REBIND_FOR;
    loop {
        match runtime::bind(address) {
            Ok(listener) => return Ok(Some(listener)),
            // The kernel takes a killed process's ring apart after the process is gone, and its listeners with
            // it. The directory's lock is ours, so that process was an earlier start of this node.
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            Err(source) => return Err(StartError::Bind { address, purpose, shard, source }),
        }
    }
}

/// How long a start waits for an address that an earlier, killed start still holds.
const REBIND_FOR: Duration = Duration::from_secs(3);

/// One core for each shard while there are enough; otherwise the kernel spreads them better than we could.
fn cpu_for(shard: u16, shards: u16) -> Option<usize> {
    let cpus = runtime::allowed_cpus();
    (usize::from(shards) > 1 && usize::from(shards) <= cpus.len()).then(|| cpus[usize::from(shard)])
}
