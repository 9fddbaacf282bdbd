//! What a life of a cluster is like: drawn from its seed, so that some are calm and some are not, and so that each
//! kind of fault is away often enough for the others to show what they can do alone.

use ringraft::Redirect;

use crate::disk::Timing;

/// How the links between machines are.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Microseconds that a packet takes at least.
    pub delay_us: u64,
    /// How much longer it may take, on average.
    pub jitter_us: u64,
    /// Of a thousand packets, how many are lost and sent again later.
    pub lost_per_mille: u16,
    /// Of a thousand packets, how many arrive in two or more pieces.
    pub split_per_mille: u16,
    /// Of a thousand packets between machines, how many are changed on their way as TCP's checksum does not see it: doubled, in
    /// the place of the next, damaged.
    pub mangled_per_mille: u16,
}

/// Which faults a life has. Numbers are chances in a hundred per step of chaos, relative to each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// `kill -9`, and a start later.
    pub kill: u8,
    /// SIGTERM, and a start later: the logs are closed, or it is cut short.
    pub stop: u8,
    /// Of a hundred segments that are begun, at how many the node is killed or loses power in the next moment.
    pub roll: u8,
    /// Power cuts: what was not synced is lost or torn.
    pub power: u8,
    /// Power cuts of all machines at once.
    pub blackout: u8,
    /// SIGSTOP and SIGCONT.
    pub pause: u8,
    /// Partitions: in two parts, one way, between two.
    pub partition: u8,
    /// Connections that are reset.
    pub reset: u8,
    /// Disks that are slow, stall, are full or fail.
    pub disk: u8,
    /// Disks whose bytes rot.
    pub rot: u8,
    /// Blocks of snapshot files that cannot be read any more.
    pub unreadable: u8,
    /// Disks that are lost, and replaced by the operator.
    pub lose: u8,
    /// Clocks that jump forward; where leases are on, machines that sleep.
    pub clock: u8,
    /// Nodes that come and go.
    pub members: u8,
    /// Leaderships that are handed over by hand.
    pub transfer: u8,
    /// Saves by hand.
    pub save: u8,
    /// Backups.
    pub backup: u8,
    /// In a hundred elections against a leader that lives, in how many it does not hear of them: it is cut off when somebody asks
    /// for votes.
    pub unheard: u8,
    /// Starts with another number of shards, which must be refused.
    pub reshape: u8,
    /// Leaders that are not heard any more, and hear late.
    pub deaf: u8,
}

/// A kind of life.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Nodes that found the cluster.
    pub founders: u16,
    /// Machines beyond those, for nodes that are added.
    pub spares: u16,
    /// Shards of each node.
    pub shards: u16,
    /// Groups of the cluster.
    pub groups: u32,
    /// Clients.
    pub clients: usize,
    /// Clients beyond those that only read, one key on each connection.
    pub readers: usize,
    /// After so many microseconds without an answer a client goes elsewhere.
    pub patience_us: u64,
    /// Keys that clients share, of each family.
    pub keys: usize,
    /// A client asks about so often, in microseconds between.
    pub pace_us: u64,
    /// The size of a log's segments.
    pub segment_bytes: u64,
    /// What a log may take.
    pub log_bytes_max: u64,
    /// A state is saved after so many bytes of log.
    pub snapshot_after_bytes: u64,
    /// Memory of a group for what is saved.
    pub state_bytes_max: u64,
    /// What of the snapshot files a node keeps in memory.
    pub mapped_bytes_max: u64,
    /// Files up to this are read whole at a start.
    pub checked_at_start_bytes: u64,
    /// Whether leases are on.
    pub lease_reads: bool,
    /// How clients are led to leaders.
    pub redirect: Redirect,
    /// By how much clocks run wrong, at most, in parts per million.
    pub drift_ppm: u64,
    /// The network.
    pub links: Links,
    /// How fast disks are.
    pub timing: Timing,
    /// The faults.
    pub faults: Faults,
    /// Steps of chaos happen about so often, in microseconds between.
    pub chaos_us: u64,
    /// How long the life lasts before faults end, in microseconds.
    pub life_us: u64,
    /// The largest value that a client writes.
    pub value_bytes_max: usize,
    /// More is damaged than the fault atlas allows: on any number of machines. Nothing must come right then, but nobody may lie.
    pub is_beyond: bool,
}

/// A good solid-state disk.
const FAST: Timing = Timing { read_us: 60, write_us: 60, sync_us: 100 };
/// A disk behind a network.
const PLAIN: Timing = Timing { read_us: 400, write_us: 500, sync_us: 1_000 };
/// A spinning disk.
const SLOW: Timing = Timing { read_us: 4_000, write_us: 5_000, sync_us: 10_000 };

/// How long a client waits for an answer that it really wants: well over the server's own deadline.
pub const PATIENCE_US: u64 = 6_000_000;

/// Sets apart the chance of what came later.
const LATER: u64 = 0x6c61_7465_7221_0001;

fn pick<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

/// One life in three has a kind of fault.
fn fault(random: &mut fastrand::Rng, weight: u8) -> u8 {
    if random.u8(..3) == 0 { weight } else { 0 }
}

impl Profile {
    /// Draws a kind of life.
    #[must_use]
    pub fn draw(random: &mut fastrand::Rng) -> Profile {
        let founders = pick(random, &[3, 3, 3, 3, 3, 5, 5, 4]);
        let members = random.u8(..3) == 0;
        // Some lives are about bytes: much is written in a short time, and logs roll often.
        let heavy = random.u8(..12) == 0;
        let segment_bytes = pick(random, &[512 << 10, 1 << 20, 2 << 20]);
        // What came later is drawn elsewhere, so that seeds without it stay what they were.
        let more = &mut fastrand::Rng::with_seed(random.clone().u64(..) ^ LATER);
        let mut profile = Profile {
            founders,
            spares: if members { pick(random, &[1, 2]) } else { 0 },
            shards: pick(random, &[1, 1, 1, 2, 2, 4]),
            groups: pick(random, &[1, 2, 4, 4, 8, 16]),
            clients: pick(random, &[1, 2, 4, 8]),
            readers: 0,
            patience_us: PATIENCE_US,
            keys: pick(random, &[1, 3, 8, 30]),
            pace_us: if heavy { 2_000 } else { pick(random, &[2_000, 10_000, 50_000]) },
            segment_bytes,
            log_bytes_max: segment_bytes * pick(random, &[12, 64, 200]),
            snapshot_after_bytes: pick(random, &[16 << 10, 64 << 10, 256 << 10, 1 << 30]),
            state_bytes_max: u64::MAX,
            mapped_bytes_max: u64::MAX,
            checked_at_start_bytes: u64::MAX,
            lease_reads: random.u8(..3) == 0,
            redirect: if random.u8(..4) == 0 { Redirect::Moved } else { Redirect::Proxy },
            drift_ppm: pick(random, &[0, 500, 50_000]),
            links: Links {
                delay_us: pick(random, &[50, 300, 5_000]),
                jitter_us: pick(random, &[0, 100, 2_000, 20_000]),
                lost_per_mille: pick(random, &[0, 0, 5, 50]),
                split_per_mille: pick(random, &[0, 20, 300]),
                mangled_per_mille: pick(more, &[0, 0, 0, 0, 1, 20]),
            },
            timing: pick(random, &[FAST, FAST, PLAIN, SLOW]),
            faults: Faults {
                kill: fault(random, 10),
                power: fault(random, 10),
                blackout: fault(random, 3),
                pause: fault(random, 10),
                partition: fault(random, 20),
                reset: fault(random, 10),
                disk: fault(random, 10),
                rot: fault(random, 2),
                lose: if members { fault(random, 3) } else { 0 },
                clock: fault(random, 5),
                members: if members { 10 } else { 0 },
                transfer: fault(random, 10),
                save: fault(random, 10),
                unheard: fault(more, 50),
                reshape: fault(more, 3),
                ..Faults::default()
            },
            chaos_us: pick(random, &[100_000, 400_000, 1_500_000]),
            life_us: if heavy { 3_000_000 } else { pick(random, &[5_000_000, 10_000_000, 20_000_000]) },
            value_bytes_max: if heavy { 40_000 } else { pick(random, &[16, 200, 4_000]) },
            is_beyond: false,
        };
        if more.u8(..25) == 0 {
            profile.is_beyond = true;
            profile.faults.rot = 30;
            // Nobody mends what is damaged in such a life.
            (profile.spares, profile.faults.members, profile.faults.lose) = (0, 0, 0);
        }
        profile.draw_later(more);
        profile
    }

    /// Draws what came later still, each behind what came before it.
    fn draw_later(&mut self, more: &mut fastrand::Rng) {
        self.faults.deaf = fault(more, 15);
        self.readers = pick(more, &[0, 1, 2, 4]);
        self.patience_us = pick(more, &[PATIENCE_US, 300_000]);
        self.faults.stop = fault(more, 10);
        self.faults.roll = fault(more, 40);
        self.state_bytes_max = pick(more, &[0, 300, 2_000, u64::MAX]);
        self.mapped_bytes_max = pick(more, &[0, 1_000, 20_000, u64::MAX]);
        self.checked_at_start_bytes = pick(more, &[0, 0, u64::MAX]);
        self.faults.unreadable = fault(more, 10);
        self.faults.backup = fault(more, 15);
    }

    /// A calm cluster of so many nodes.
    #[must_use]
    pub fn plain(founders: u16) -> Profile {
        Profile {
            founders,
            spares: 0,
            shards: 1,
            groups: 4,
            clients: 2,
            readers: 0,
            patience_us: PATIENCE_US,
            keys: 8,
            pace_us: 10_000,
            segment_bytes: 256 << 10,
            log_bytes_max: 64 << 20,
            snapshot_after_bytes: 1 << 30,
            state_bytes_max: u64::MAX,
            mapped_bytes_max: u64::MAX,
            checked_at_start_bytes: u64::MAX,
            lease_reads: false,
            redirect: Redirect::Proxy,
            drift_ppm: 0,
            links: Links {
                delay_us: 100,
                jitter_us: 20,
                lost_per_mille: 0,
                split_per_mille: 0,
                mangled_per_mille: 0,
            },
            timing: FAST,
            faults: Faults::default(),
            chaos_us: 1_000_000,
            life_us: 5_000_000,
            value_bytes_max: 100,
            is_beyond: false,
        }
    }
}
