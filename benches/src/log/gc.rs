//! The log under pressure for room: of 10,000 groups one in a hundred keeps what it wrote for ever, and ten times the cap is
//! appended. Every segment gets some of these entries, so without relocation each would stay, and the log be full after one cap.
//!
//! Beside it, in turns, the same writes by the same code with the same cap, but that these groups are compacted too: then every
//! segment dies by itself, oldest first, and nothing is moved. A larger cap instead would not be the same run: it would make new
//! files where this one uses old ones again, and the comparison would flatter relocation.
//!
//! What files take is asked of the file system while the log is written to, temporary files included, and of the log itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use raft::{GroupId, Index, entry_bytes};
use raftlog::{Log, Options};
use runtime::{Context, RealDisk};

use super::device::IN_FLIGHT;
use super::ours::Ours;
use super::{Settings, on_shard, turn};
use crate::summary::{limit_line, median, ratio_line};

const GROUPS: u32 = 10_000;
/// One in a hundred, numbered behind the others.
const IDLE: u32 = GROUPS / 100;
const MOVING: u32 = GROUPS - IDLE;
const COMMAND_BYTES: usize = 256;
/// Entries in a batch, each of another group.
const BATCH_ENTRIES: u32 = 1024;
/// A group that moves on is compacted at this length: 28 MB of all of them, so that segments die a few after they were written.
const COMPACT_EVERY: u64 = 8;
/// An entry that stays goes into every so manieth batch: a dozen into each segment, one every hundred times of the same group.
const IDLE_EVERY: u64 = 4;
/// So many such entries later one was issued for certain, and is compacted where it is not to stay.
const IDLE_ISSUED_AFTER: u64 = 8;
const SEGMENT_BYTES: u64 = 16 << 20;
const CAP_BYTES: u64 = 16 * SEGMENT_BYTES;
/// Each side appends its cap this often, after once that does not count.
const CAPS: u32 = 10;
/// The files' sizes are looked at after so many batches.
const LOOK_EVERY: u64 = 8;
/// Throughput, of that without pressure.
const SHARE_MIN: f64 = 0.8;
/// Bytes written, of those without pressure: segments of which at most a tenth lives cost at most a ninth.
const AMPLIFICATION_MAX: f64 = 1.11;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        cap_bytes: CAP_BYTES,
        in_flight_max: IN_FLIGHT,
        ..Options::new([1; 16], 0, 1)
    }
}

/// One of the two logs.
struct Side {
    ours: Ours,
    dir: PathBuf,
    /// Whether entries of idle groups stay.
    keeps: bool,
    batches: u64,
    /// The group whose turn it is.
    next: u32,
    /// Entries that were given to idle groups.
    idle: u64,
    /// The most that files took, as the directory says and as the log says.
    files_max: u64,
    counted_max: u64,
    /// The most segments that held something.
    live_max: usize,
}

/// What both did in a round, in entries per second.
#[derive(Clone, Copy, Debug)]
struct Round {
    pressed: f64,
    free: f64,
}

/// What a side came to.
#[derive(Clone, Copy, Debug)]
struct Facts {
    stats: raftlog::Stats,
    /// Bytes of entries.
    appended: u64,
    files_max: u64,
    counted_max: u64,
    live_max: usize,
}

impl Facts {
    /// Bytes written for each byte of entries, with the zeros that new files are made of.
    #[expect(clippy::cast_precision_loss, reason = "a few gigabytes")]
    fn amplification(self) -> f64 {
        (self.stats.bytes + self.counted_max) as f64 / self.appended as f64
    }
}

impl Side {
    async fn open(context: &Context, dir: PathBuf, keeps: bool) -> anyhow::Result<Side> {
        let ours = Ours::open_with(context, &dir, options()).await?;
        let (files_max, counted_max, live_max) = (0, 0, 0);
        Ok(Side { ours, dir, keeps, batches: 0, next: 0, idle: 0, files_max, counted_max, live_max })
    }

    fn appended(&self) -> u64 {
        (self.batches * u64::from(BATCH_ENTRIES) + self.idle) * entry_bytes(COMMAND_BYTES) as u64
    }

    fn idle_group(number: u64) -> u32 {
        MOVING + u32::try_from(number % u64::from(IDLE)).expect("a remainder")
    }

    fn add(&mut self) {
        for _ in 0..BATCH_ENTRIES {
            let last = self.ours.append(self.next, 1, COMMAND_BYTES);
            // Each group at another time.
            if (last.0 + u64::from(self.next)).is_multiple_of(COMPACT_EVERY) {
                self.ours.compact(self.next);
            }
            self.next = (self.next + 1) % MOVING;
        }
        if self.batches.is_multiple_of(IDLE_EVERY) {
            self.ours.append(Side::idle_group(self.idle), 1, COMMAND_BYTES);
            if !self.keeps && self.idle >= IDLE_ISSUED_AFTER {
                self.ours.compact(Side::idle_group(self.idle - IDLE_ISSUED_AFTER));
            }
            self.idle += 1;
        }
        self.batches += 1;
        self.ours.log.submit();
    }

    /// Looks at what the files take.
    fn look(&mut self) -> anyhow::Result<()> {
        let mut bytes = 0;
        for file in std::fs::read_dir(&self.dir)? {
            // One that was renamed or removed just now is counted under its new name, or not there.
            bytes += file?.metadata().map_or(0, |metadata| metadata.len());
        }
        self.files_max = self.files_max.max(bytes);
        let stats = self.ours.log.stats();
        self.counted_max = self.counted_max.max(stats.file_bytes);
        self.live_max = self.live_max.max(stats.segments_live);
        Ok(())
    }

    /// One cap of entries; how many per second.
    #[expect(clippy::cast_precision_loss, reason = "a few millions")]
    async fn write(&mut self, context: &Context) -> anyhow::Result<f64> {
        let (began, before, end) = (Instant::now(), self.batches, self.appended() + CAP_BYTES);
        while self.appended() < end {
            let durable = self.ours.log.poll()?;
            let waiting = self.ours.log.building().0 - durable.0;
            if waiting < IN_FLIGHT as u64 && self.ours.log.has_room_for_entries() {
                context.ring().submit(); // what there is does not wait for what is added now
                self.add();
                if self.batches.is_multiple_of(LOOK_EVERY) {
                    self.look()?;
                }
                // A shard looks for background work in every turn.
                self.ours.prepare(context);
                continue;
            }
            self.ours.prepare(context);
            let stats = self.ours.log.stats();
            ensure!(self.ours.is_at_work() || stats.in_flight > 0, "the log is full for ever: {stats:?}");
            turn(context).await;
        }
        self.ours.log.drain().await?;
        Ok((self.batches - before) as f64 * f64::from(BATCH_ENTRIES) / began.elapsed().as_secs_f64())
    }

    fn facts(&self) -> Facts {
        Facts {
            stats: self.ours.log.stats(),
            appended: self.appended(),
            files_max: self.files_max,
            counted_max: self.counted_max,
            live_max: self.live_max,
        }
    }
}

/// Every entry of the idle groups, `idle` in all, is there, and is what it was.
async fn check(log: &Log<RealDisk>, idle: u64) -> anyhow::Result<()> {
    let mut found = 0;
    for number in 0..idle.min(u64::from(IDLE)) {
        let group = GroupId(Side::idle_group(number) + 1);
        let (last, mut next) = (log.last(group).index, Index(1));
        ensure!(log.first(group) == next, "the first entries of group {group} are gone");
        while next <= last {
            let parts = log.read(group, next, last, usize::MAX).await?;
            for entry in parts.iter().flat_map(|part| raft::entries(part, raft::Check::Checksum)) {
                let entry = entry.ok().context("an entry is damaged")?;
                let byte = next.0.to_le_bytes()[0];
                let same =
                    entry.group == group && entry.id.index == next && entry.command.len() == COMMAND_BYTES;
                ensure!(
                    same && entry.command.iter().all(|of| *of == byte),
                    "entry {next} of group {group} is another"
                );
                (next, found) = (next.next(), found + 1);
            }
        }
    }
    ensure!(found == idle, "{found} of {idle} entries are there");
    Ok(())
}

async fn measure(context: Context, dir: PathBuf, rounds: u32) -> anyhow::Result<(Vec<Round>, [Facts; 2])> {
    let place = dir.join("pressed");
    let mut pressed = Side::open(&context, place.clone(), true).await?;
    let mut free = Side::open(&context, dir.join("free"), false).await?;
    let mut measured = Vec::new();
    for round in 0..=rounds {
        let pressed = pressed.write(&context).await?;
        let free = free.write(&context).await?;
        if round > 0 {
            measured.push(Round { pressed, free });
        }
    }
    check(&pressed.ours.log, pressed.idle).await?;
    let (facts, idle) = ([pressed.facts(), free.facts()], pressed.idle);
    pressed.ours.end(&context).await?;
    free.ours.end(&context).await?;
    let (log, _) = Log::open(context.disk(), &place, options()).await?;
    check(&log, idle).await.context("after a start")?;
    Ok((measured, facts))
}

#[expect(clippy::cast_precision_loss, reason = "a few gigabytes")]
pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    let (dir, rounds) = (dir.to_owned(), settings.rounds.max(CAPS));
    let (measured, facts) = on_shard(move |context| measure(context, dir, rounds))?;
    println!(
        "{:<18} {:>10} {:>8} {:>5} {:>7} {:>11} {:>12} {:>8} {:>8} {:>7}",
        "side",
        "entries/s",
        "of cap",
        "live",
        "stalls",
        "checkpoints",
        "moved bytes",
        "jobs",
        "freed",
        "written"
    );
    let rates =
        [median(measured.iter().map(|round| round.pressed)), median(measured.iter().map(|round| round.free))];
    for ((name, rate), facts) in ["1 % keep entries", "none does"].into_iter().zip(rates).zip(facts) {
        let stats = facts.stats;
        println!(
            "{name:<18} {rate:>10.0} {:>8.3} {:>5} {:>7} {:>11} {:>12} {:>8} {:>8} {:>7.3}",
            facts.files_max as f64 / CAP_BYTES as f64,
            facts.live_max,
            stats.stalled.count,
            stats.checkpoints,
            stats.relocated_bytes,
            stats.relocations,
            stats.segments_freed,
            facts.amplification()
        );
    }
    let [pressed, free] = facts;
    ensure!(
        pressed.stats.relocated_bytes > 0 && free.stats.relocated_bytes == 0,
        "not what is to be compared"
    );
    let most = pressed.files_max.max(pressed.counted_max);
    let ratio = median(measured.iter().map(|round| round.pressed / round.free));
    Ok(vec![
        ratio_line("log_gc_of_free", ratio, SHARE_MIN),
        limit_line("log_gc_disk_of_cap", most as f64 / CAP_BYTES as f64, 1.0),
        limit_line(
            "log_gc_write_amplification_over_free",
            pressed.amplification() / free.amplification(),
            AMPLIFICATION_MAX,
        ),
    ])
}
