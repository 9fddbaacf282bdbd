//! What is wrong with the disks of a machine.

use std::path::{Path, PathBuf};

use super::machine::{Machine, Process};
use super::profile::Profile;
use super::weather::Spell;
use super::world::{Happening, World};
use crate::disk::{Rates, Silent, SimDisk};

/// A silent fault is found at the next start, which follows within this.
const FOUND_AFTER_US: std::ops::Range<u64> = 500_000..3_000_000;
/// A machine is not stopped for so long after a silent fault, nor before later batches seal what it hit: one in the last batch is
/// beyond what is promised.
const SEALED_AFTER_US: u64 = 300_000;
/// A restart, a look at all of the log, a snapshot in the place of what is damaged: time enough for all of them.
const HEALED_AFTER_US: u64 = 8_000_000;
/// A block that cannot be read is met by a running node, or by its next start, which mostly follows within this.
const MET_AFTER_US: std::ops::Range<u64> = 500_000..8_000_000;
/// A block that can be read again, can after so many reads: asked for twice in a row it is, or is not.
const REFUSED_READS: [u64; 4] = [1, 2, 3, 5];
/// What cannot be read, cannot be read by such blocks.
const SECTORS_BYTES: u64 = 4096;
/// A file's header.
const FRONT_BYTES: usize = 256;
/// Places looked at for one that holds something.
const TRIES: usize = 40;

/// Whether a file is a snapshot's that is whole: a record may name it.
fn is_snapshot(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "run")
}

impl Machine {
    /// Gives the disks of a machine their speed.
    pub fn time_disks(&mut self, profile: &Profile, random: &mut fastrand::Rng) {
        for disk in &self.disks {
            disk.set_timing(profile.timing, random.u64(..));
        }
    }

    /// Some file of a shard, and the offset of a byte in it that is not zero.
    fn draw_place(disk: &SimDisk, random: &mut fastrand::Rng) -> Option<(PathBuf, u64)> {
        let paths: Vec<PathBuf> =
            disk.paths().into_iter().filter(|path| path.extension().is_none_or(|end| end != "tmp")).collect();
        // Logs are many files, a snapshot is one or two: half of what rots is theirs, where there are any.
        let (snapshots, others): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| path.components().any(|part| part.as_os_str() == "snapshots"));
        let of_snapshots = !snapshots.is_empty() && random.bool();
        let paths = if of_snapshots || others.is_empty() { snapshots } else { others };
        if paths.is_empty() {
            return None;
        }
        let in_value = random.bool();
        for _ in 0..TRIES {
            let path = &paths[random.usize(..paths.len())];
            let bytes = disk.bytes(path).unwrap_or_default();
            if in_value {
                // What clients write is a small part of what is written, and nobody looks at it but those who need it.
                let values: Vec<usize> = bytes
                    .windows(4)
                    .enumerate()
                    .filter(|(_, four)| *four == b"xxxx")
                    .map(|(at, _)| at)
                    .collect();
                let Some(at) = values.get(random.usize(..values.len().max(1))) else { continue };
                return Some((path.clone(), *at as u64 + 1));
            }
            let used = bytes.iter().rposition(|byte| *byte != 0)? + 1;
            // The front of a file says what it is, and is a small part of it.
            let used = if random.u8(..4) == 0 { used.min(FRONT_BYTES) } else { used };
            let offset = random.usize(..used);
            if bytes[offset] != 0 {
                return Some((path.clone(), offset as u64));
            }
        }
        None
    }
}

impl World {
    /// The disks of a machine misbehave for a while.
    pub fn spoil_disks(&mut self, machine: usize) {
        let now_us = self.now_us;
        let random = &mut self.random;
        let (kind, for_us) = (random.u8(..6), random.u64(20_000..6_000_000));
        let slowness = random.u64(2..200);
        for disk in &self.machines[machine].disks {
            match kind {
                0 | 1 => disk.freeze_until(now_us + for_us),
                2 => disk.set_slowness(slowness),
                3 => disk.set_free_bytes(Some(0)),
                4 => disk.set_rates(Rates { write_eio: 50_000, sync_eio: 50_000, ..Rates::default() }),
                _ => disk.set_rates(Rates { read_eio: 200_000, ..Rates::default() }),
            }
        }
        let what = ["freeze", "freeze", "are slow", "are full", "fail to write", "fail to read"];
        self.say(|| {
            format!("machine {machine}: the disks {} for {} ms", what[usize::from(kind)], for_us / 1000)
        });
        self.plan(for_us, Happening::Clear(Spell::Disk(machine)));
    }

    /// The disks of a machine work as they should.
    pub fn heal_disks(&mut self, machine: usize) {
        for disk in &self.machines[machine].disks {
            disk.set_slowness(1);
            disk.set_free_bytes(None);
            disk.set_rates(Rates::default());
            disk.freeze_until(0);
        }
    }

    /// What is still to go wrong at the front of a segment does not.
    pub fn disarm(&self, machine: usize) {
        self.machines[machine].disks.iter().for_each(|disk| disk.arm_front(None));
    }

    /// Bytes on a disk of a machine change, or a write goes wrong in silence; where a majority of the replicas is whole and
    /// what is damaged is not the last thing written. The machine's node is restarted soon and must find the damage.
    pub fn rot(&mut self, machine: usize) {
        let shard = self.random.usize(..usize::from(self.profile.shards));
        let here = &self.machines[machine];
        let quiet = here.is_awake(self.now_us)
            && here.disks.iter().all(|disk| disk.next_due().is_none_or(|due| due > self.now_us + 1_000));
        let is_allowed = self.profile.is_beyond || self.operator.is_idle() && self.is_whole();
        if !quiet || !is_allowed {
            return;
        }
        let disk = here.disks[shard].clone();
        let blocks = self.random.i64(-20..20);
        let (silent, said) = match self.random.u8(..4) {
            3 => (Some(Silent::Stray), "writes into another file".to_owned()),
            0 => (Some(Silent::Lost), "loses a write".to_owned()),
            1 => {
                let blocks = if blocks == 0 { 1 } else { blocks };
                (Some(Silent::Misdirected(blocks)), format!("writes {blocks} blocks off"))
            }
            _ => {
                let Some((path, offset)) = Machine::draw_place(&disk, &mut self.random) else { return };
                disk.flip_bit(&path, offset, self.random.u32(..8));
                (None, format!("rots in {} at {offset}", path.display()))
            }
        };
        let is_front = silent.is_some() && self.random.bool();
        let when = ["", ", when a segment is begun"][usize::from(is_front)];
        match silent {
            // There is nothing in front of a front.
            Some(Silent::Misdirected(blocks)) if is_front => {
                disk.arm_front(Some(Silent::Misdirected(blocks.abs())));
            }
            Some(silent) if is_front => disk.arm_front(Some(silent)),
            Some(silent) => disk.arm(silent),
            None => {}
        }
        self.say(|| format!("machine {machine}: disk {shard} {said}{when}"));
        let here = &mut self.machines[machine];
        (here.is_damaged, here.was_damaged, here.damaged_at_us) = (true, true, self.now_us);
        here.protected_until = self.now_us + SEALED_AFTER_US;
        let after_us = self.random.u64(FOUND_AFTER_US);
        self.plan(after_us, Happening::Inspect { machine });
    }

    /// A block of a snapshot file of a machine cannot be read any more, for good or for some reads; where a majority of the replicas
    /// is whole. Its node meets that while it runs, or at a start: now, or soon.
    pub fn refuse_reads(&mut self, machine: usize) {
        let shard = self.random.usize(..usize::from(self.profile.shards));
        let is_allowed = self.profile.is_beyond || self.operator.is_idle() && self.is_whole();
        let is_awake = self.machines[machine].is_awake(self.now_us);
        let disk = self.machines[machine].disks[shard].clone();
        let files: Vec<PathBuf> = disk.paths().into_iter().filter(|path| is_snapshot(path)).collect();
        if !is_allowed || !is_awake || files.is_empty() {
            return;
        }
        // Most files are as short as can be, and what is in the first blocks of one a start sees.
        let longest = files.iter().max_by_key(|path| disk.bytes(path).map_or(0, |bytes| bytes.len()));
        let any = &files[self.random.usize(..files.len())];
        let path = longest.filter(|_| self.random.bool()).unwrap_or(any);
        let blocks = disk.bytes(path).map_or(0, |bytes| bytes.len() as u64).div_ceil(SECTORS_BYTES).max(1);
        let offset = self.random.u64(..blocks) * SECTORS_BYTES;
        let reads = self.random.bool().then(|| REFUSED_READS[self.random.usize(..REFUSED_READS.len())]);
        let stops = self.random.u8(..3) == 0;
        if stops {
            self.kill(machine);
        }
        match reads {
            Some(reads) => disk.refuse_block_for(path, offset, reads),
            None => disk.refuse_block(path, offset),
        }
        self.say(|| {
            format!("machine {machine}: disk {shard} cannot read {} at {offset}: {reads:?}", path.display())
        });
        let here = &mut self.machines[machine];
        (here.is_damaged, here.was_damaged, here.damaged_at_us) = (true, true, self.now_us);
        if matches!(here.process, Process::Down) {
            self.plan(10_000, Happening::Start { machine });
            self.plan(HEALED_AFTER_US, Happening::CheckHealed { machine });
        } else {
            // Or nobody looks before faults end: the node meets it when somebody needs what it holds.
            let soon = reads.is_some() || self.random.bool();
            let life_us = self.profile.life_us.saturating_sub(self.now_us);
            let after_us = if soon { self.random.u64(MET_AFTER_US) } else { life_us + 1 };
            self.plan(after_us, Happening::Inspect { machine });
        }
    }

    /// Notes silent faults that came about just now.
    pub fn note_damage(&mut self, machine: usize, shard: u16) {
        let damage = self.machines[machine].disks[usize::from(shard)].take_damage();
        if damage.is_empty() {
            return;
        }
        let here = &mut self.machines[machine];
        here.protected_until = self.now_us + SEALED_AFTER_US;
        if damage.iter().any(|damage| damage.offset == 0) {
            // It may have come about long after it was armed.
            here.damaged_at_us = self.now_us;
            let after_us = self.random.u64(FOUND_AFTER_US);
            self.plan(after_us, Happening::Inspect { machine });
        }
        for damage in damage {
            self.say(|| {
                format!(
                    "machine {machine}: {} in {} at {}",
                    damage.what,
                    damage.path.display(),
                    damage.offset
                )
            });
        }
    }

    /// A machine whose disk was damaged is restarted: its node must refuse what is damaged.
    pub fn inspect(&mut self, machine: usize) {
        let faults_ended = self.now_us >= self.profile.life_us;
        if faults_ended && self.machines[machine].is_unsealed() {
            return; // nothing new is written, so nothing will tell: it goes on as it is
        }
        if self.machines[machine].is_protected(self.now_us) {
            return self.plan(SEALED_AFTER_US, Happening::Inspect { machine });
        }
        self.kill(machine);
        self.plan(10_000, Happening::Start { machine });
        self.plan(HEALED_AFTER_US, Happening::CheckHealed { machine });
    }

    /// A machine whose node was restarted after damage has looked at all of its disk since, and lacks nothing any more: others may
    /// be damaged now.
    pub fn check_healed(&mut self, machine: usize) {
        let here = &self.machines[machine];
        if !here.is_damaged || self.now_us < here.damaged_at_us + HEALED_AFTER_US {
            return; // another disk, or other damage since
        }
        let Process::Up(node) = &here.process else {
            return self.plan(HEALED_AFTER_US, Happening::CheckHealed { machine });
        };
        let is_whole = (0..=self.profile.groups).all(|group| {
            let replica = (0..node.shards()).find_map(|shard| node.raft(shard, raft::GroupId(group)));
            replica.is_some_and(|replica| replica.standing() == raft::Standing::Normal)
        });
        let has_seen_all = (0..node.shards()).all(|shard| node.has_seen_files(shard));
        if !is_whole || !has_seen_all || here.is_unsealed() {
            return self.plan(HEALED_AFTER_US, Happening::CheckHealed { machine });
        }
        self.say(|| format!("machine {machine}: healed"));
        let here = &mut self.machines[machine];
        (here.is_damaged, here.ends) = (false, 0);
        here.disks.iter().for_each(SimDisk::refuse_nothing);
        self.disarm(machine);
    }
}
