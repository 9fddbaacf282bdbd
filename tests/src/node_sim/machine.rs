//! A simulated machine: its clock, its disks, and the node that runs on it, or does not.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft::{GroupId, Time};
use ringraft::kv::{Kv, SlotMap};
use ringraft::simulation::{Input, Node};
use ringraft::{Builder, Engine};
use runtime::SocketId;

use super::profile::Profile;
use super::witnessed::Witnessed;
use crate::disk::SimDisk;

/// What the groups of the simulation replicate.
pub type Replicated = Witnessed<Kv>;

/// Where shard 0 of machine `at` listens for peers.
const PEER_PORT: u16 = 7000;
/// Where shard 0 of machine `at` listens for clients.
const CLIENT_PORT: u16 = 6000;
/// Ports of one machine.
const PORTS: u16 = 16;

/// What a machine does.
pub enum Process {
    /// Nothing runs.
    Down,
    /// A node runs.
    Up(Box<Node<Replicated, SimDisk>>),
    /// The node refused to start or ended by itself: only an operator can go on from here.
    Ended,
}

/// How a clean stop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEnd {
    /// The logs are closed.
    Whole,
    /// And then the power goes: nothing may be lost by that.
    PowerAfter,
    /// The node is killed while it closes its logs.
    Killed,
    /// The power goes meanwhile.
    Power,
}

/// A clock that runs a little wrong.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it showed at `since_us` of the world.
    base_us: u64,
    since_us: u64,
    /// Its microseconds per million of the world's.
    rate_ppm: u64,
}

impl Clock {
    /// A clock that shows `base_us` now.
    pub fn new(now_us: u64, base_us: u64, rate_ppm: u64) -> Clock {
        Clock { base_us, since_us: now_us, rate_ppm }
    }

    /// What it shows.
    pub fn read(&self, now_us: u64) -> Time {
        Time(self.base_us + (now_us - self.since_us) * self.rate_ppm / 1_000_000)
    }

    /// When it shows `time`, in the world's microseconds; `u64::MAX` for never.
    pub fn when(&self, time: Time) -> u64 {
        if time == Time::NEVER {
            return u64::MAX;
        }
        let ahead = time.0.saturating_sub(self.base_us);
        let ahead_us = (u128::from(ahead) * 1_000_000).div_ceil(u128::from(self.rate_ppm));
        u64::try_from(ahead_us).map_or(u64::MAX, |ahead_us| self.since_us.saturating_add(ahead_us))
    }

    /// It is set forward.
    pub fn jump(&mut self, now_us: u64, by_us: u64) {
        *self = Clock { base_us: self.read(now_us).0 + by_us, since_us: now_us, rate_ppm: self.rate_ppm };
    }
}

/// What the world keeps for one shard of a machine.
#[derive(Default)]
pub struct Slot {
    /// What waits for its next visit.
    pub inputs: Vec<Input>,
    /// When it is visited next; `u64::MAX`: not planned.
    pub visit_at: u64,
    /// Segments that its log has begun since its start.
    pub rolls: u64,
    /// It is busy until then.
    pub busy_until: u64,
    /// Its connections by the slot of their socket.
    pub sockets: Vec<Option<Place>>,
    pub next_generation: u32,
}

/// Which end of which connection a socket is.
#[derive(Clone, Copy)]
pub struct Place {
    socket: SocketId,
    connection: usize,
    side: usize,
}

impl Slot {
    /// A socket of this shard for side `side` of connection `connection`.
    pub fn open(&mut self, connection: usize, side: usize) -> SocketId {
        let free = self.sockets.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.sockets.len());
        if free.is_none() {
            self.sockets.push(None);
        }
        self.next_generation += 1;
        let socket = SocketId::simulated(u32::try_from(slot).expect("few sockets"), self.next_generation);
        self.sockets[slot] = Some(Place { socket, connection, side });
        socket
    }

    /// The connection and side of `socket`, unless it is closed.
    pub fn find(&self, socket: SocketId) -> Option<(usize, usize)> {
        let place = (*self.sockets.get(socket.slot() as usize)?)?;
        (place.socket == socket).then_some((place.connection, place.side))
    }

    /// The socket is closed. Whatever waits to be heard of it is heard no more.
    pub fn close(&mut self, socket: SocketId) {
        if self.find(socket).is_some() {
            self.sockets[socket.slot() as usize] = None;
        }
    }
}

/// One machine.
pub struct Machine {
    /// The node that runs here, by its number.
    pub node: u16,
    /// What runs.
    pub process: Process,
    /// It has power and answers the network, even if no node runs.
    pub powered: bool,
    /// Its node is stopped (SIGSTOP) until then.
    pub paused_until: u64,
    /// Its node was asked to stop, and this is how that ends.
    pub stopping: Option<StopEnd>,
    /// How often a node was started here.
    pub starts: u64,
    /// The disk was replaced so often.
    pub lives: u64,
    /// Its clock.
    pub clock: Clock,
    /// Some of its data is damaged or lost, and not replaced yet.
    pub is_damaged: bool,
    /// Since then.
    pub damaged_at_us: u64,
    /// Some of it ever was: what nobody needs stays damaged.
    pub was_damaged: bool,
    /// So often its node has ended for damage since.
    pub ends: u64,
    /// It is not stopped before this, nor before its disks are sealed: see `disks`.
    pub protected_until: u64,
    /// One disk per shard.
    pub disks: Vec<SimDisk>,
    /// One slot per shard.
    pub slots: Vec<Slot>,
}

impl Machine {
    /// Whether a node runs here and is not stopped.
    pub fn is_awake(&self, now_us: u64) -> bool {
        matches!(self.process, Process::Up(_)) && self.paused_until <= now_us
    }

    /// Whether some disk's silent fault could still pass for a torn end.
    pub fn is_unsealed(&self) -> bool {
        self.disks.iter().any(SimDisk::is_unsealed)
    }

    /// Whether nobody may stop it now: what is wrong with its disks is to be found, and not lost.
    pub fn is_protected(&self, now_us: u64) -> bool {
        matches!(self.process, Process::Up(_)) && (self.protected_until > now_us || self.is_unsealed())
    }

    /// The running node.
    pub fn running(&mut self) -> Option<&mut Node<Replicated, SimDisk>> {
        match &mut self.process {
            Process::Up(node) => Some(node),
            Process::Down | Process::Ended => None,
        }
    }

    /// Whether it accepts connections.
    pub fn listens(&self) -> bool {
        matches!(&self.process, Process::Up(node) if node.is_ready())
    }
}

/// Where shard `shard` of machine `machine` listens for peers.
pub fn peer_address(machine: usize, shard: u16) -> SocketAddr {
    address(machine, PEER_PORT + shard)
}

/// Where shard `shard` of machine `machine` listens for clients.
pub fn client_address(machine: usize, shard: u16) -> SocketAddr {
    address(machine, CLIENT_PORT + shard)
}

fn address(machine: usize, port: u16) -> SocketAddr {
    let host = u8::try_from(machine + 1).expect("few machines");
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), port))
}

/// Whom an address reaches: the machine, the shard, and whether it is the port for clients.
pub fn listener_at(address: SocketAddr) -> Option<(usize, u16, bool)> {
    let SocketAddr::V4(address) = address else { return None };
    let machine = usize::from(address.ip().octets()[3]).checked_sub(1)?;
    let (port, for_clients) = match address.port() {
        port if (PEER_PORT..PEER_PORT + PORTS).contains(&port) => (port - PEER_PORT, false),
        port if (CLIENT_PORT..CLIENT_PORT + PORTS).contains(&port) => (port - CLIENT_PORT, true),
        _ => return None,
    };
    Some((machine, port, for_clients))
}

/// So often the logs are looked at: several times in a life.
pub const SCRUB_EVERY: Duration = Duration::from_secs(4);

/// The settings of the node on `machine`, which is told of the nodes on `founders` and itself.
pub fn builder(
    profile: &Profile,
    machine: usize,
    node: u16,
    known: &[(u16, usize)],
    dir: PathBuf,
) -> Builder {
    let mut builder = Engine::builder(node, dir)
        .client(client_address(machine, 0))
        .shards(profile.shards)
        .groups(profile.groups)
        .segment_bytes(profile.segment_bytes)
        .log_bytes_max(profile.log_bytes_max)
        .snapshot_after_bytes(profile.snapshot_after_bytes)
        .serving_bytes(profile.mapped_bytes_max, profile.checked_at_start_bytes)
        .scrub_every(SCRUB_EVERY)
        .deadline(Duration::from_secs(2))
        .lease_reads(profile.lease_reads)
        .redirect(profile.redirect);
    for (node, machine) in known {
        builder = builder.peer(*node, peer_address(*machine, 0));
    }
    builder
}

/// Makes the machines of the groups.
pub fn factory(profile: &Profile) -> Arc<dyn Fn(GroupId) -> Replicated + Send + Sync> {
    let slots = SlotMap::new(u16::try_from(profile.groups).expect("few groups"));
    let bytes_max = profile.state_bytes_max;
    Arc::new(move |group| Witnessed::new(group, Kv::with_memory(slots.slots(group), bytes_max)))
}
