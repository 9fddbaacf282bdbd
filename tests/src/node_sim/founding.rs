//! The cluster test of the founding notes: its parameter rows as kinds of lives. Its defects are not here: loss does not
//! climb, membership changes all through, values are unique, a crash is a crash (all nodes lose their power), replicas
//! are compared, a snapshot row must install snapshots, and every run replays from its seed.

use super::profile::{Faults, Profile};

/// A row of its table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name there.
    pub name: &'static str,
    clients: usize,
    unreliable: bool,
    crash: bool,
    partitions: bool,
    log_is_short: bool,
    members: bool,
    /// Groups do not split: such rows run without, which is what exists of them.
    pub splits: bool,
}

/// `U`nreliable, `C`rash, `P`artitions, short `L`og, `M`embers change, `S`plit.
const fn row(name: &'static str, clients: usize, what: &str) -> Row {
    let what = what.as_bytes();
    Row {
        name,
        clients,
        unreliable: has(what, b'U'),
        crash: has(what, b'C'),
        partitions: has(what, b'P'),
        log_is_short: has(what, b'L'),
        members: has(what, b'M'),
        splits: has(what, b'S'),
    }
}

const fn has(letters: &[u8], letter: u8) -> bool {
    let mut at = 0;
    while at < letters.len() {
        if letters[at] == letter {
            return true;
        }
        at += 1;
    }
    false
}

/// All 27.
pub const ROWS: [Row; 27] = [
    row("Basic2B", 1, ""),
    row("Concurrent2B", 5, ""),
    row("Unreliable2B", 5, "U"),
    row("ManyPartitionsOneClient2B", 1, "P"),
    row("ManyPartitionsManyClients2B", 5, "P"),
    row("PersistOneClient2B", 1, "C"),
    row("PersistConcurrent2B", 5, "C"),
    row("PersistConcurrentUnreliable2B", 5, "UC"),
    row("PersistPartition2B", 5, "CP"),
    row("PersistPartitionUnreliable2B", 5, "UCP"),
    row("SnapshotRecover2C", 1, "CL"),
    row("SnapshotRecoverManyClients2C", 20, "CL"),
    row("SnapshotUnreliable2C", 5, "UL"),
    row("SnapshotUnreliableRecover2C", 5, "UCL"),
    row("SnapshotUnreliableRecoverConcurrentPartition2C", 5, "UCPL"),
    row("ConfChangeRecover3B", 1, "CM"),
    row("ConfChangeRecoverManyClients3B", 20, "CM"),
    row("ConfChangeUnreliable3B", 5, "UM"),
    row("ConfChangeUnreliableRecover3B", 5, "UCM"),
    row("ConfChangeSnapshotUnreliableRecover3B", 5, "UCLM"),
    row("ConfChangeSnapshotUnreliableRecoverConcurrentPartition3B", 5, "UCPLM"),
    row("SplitRecover3B", 1, "CS"),
    row("SplitRecoverManyClients3B", 20, "CS"),
    row("SplitUnreliable3B", 5, "US"),
    row("SplitUnreliableRecover3B", 5, "UCS"),
    row("SplitConfChangeSnapshotUnreliableRecover3B", 5, "UCLMS"),
    row("SplitConfChangeSnapshotUnreliableRecoverConcurrentPartition3B", 5, "UCPLMS"),
];

impl Row {
    /// The kind of life: always five nodes, three rounds of five seconds, faults every half second.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let when = |on: bool, weight: u8| if on { weight } else { 0 };
        let mut profile = Profile::plain(5);
        profile.clients = self.clients;
        profile.life_us = 15_000_000;
        profile.chaos_us = 500_000;
        profile.pace_us = 5_000;
        if self.unreliable {
            profile.links.lost_per_mille = 100;
            profile.links.jitter_us = 5_000;
        }
        if self.log_is_short {
            profile.snapshot_after_bytes = 8 << 10;
        }
        profile.faults = Faults {
            blackout: when(self.crash, 2),
            power: when(self.crash, 4),
            kill: when(self.crash, 4),
            partition: when(self.partitions, 10),
            reset: when(self.unreliable, 4),
            members: when(self.members, 6),
            transfer: when(self.members, 2),
            ..Faults::default()
        };
        profile
    }
}
