//! Our log beside raft-engine: the same entries of the same groups, made durable batch by batch.
//!
//! raft-engine runs in its best setting: files made and filled before, used again, no compression, its garbage collected by a
//! thread of its own, compaction commands in the batches they belong to. It has one durable write under way however many
//! write, and joins the batches of those that wait; ours has up to four. So one writer is compared with one in flight, four
//! with four, and one with four, since one thread can keep ours busy.
//!
//! Beside both stands what no log can beat that writes its entries before it says so: bare writes of the commands alone, without
//! headers, terms, or groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize};
use raft_rs::eraftpb::Entry;
use runtime::{Context, Disk};

use super::device::{IN_FLIGHT, PROBE_BYTES, probe};
use super::ours::{Ours, Shape};
use super::{Meter, Settings, Slice, on_shard};
use crate::host;
use crate::summary::{median, ratio_line};

/// Name, batch, and what is to be reached: one writer and one in flight, four and four, one writer and four in flight.
pub(super) const CASES: [(&str, Shape, [f64; 3]); 4] = [
    ("1x256", Shape { groups: 1, entries: 1, command_bytes: 256 }, [1.0, 1.2, 1.5]),
    ("64x256", Shape { groups: 64, entries: 1, command_bytes: 256 }, [1.4, 1.5, 2.5]),
    ("1024x256", Shape { groups: 1024, entries: 1, command_bytes: 256 }, [2.0, 2.0, 3.0]),
    ("256x4096", Shape { groups: 256, entries: 1, command_bytes: 4096 }, [2.0, 2.0, 3.0]),
];
/// A group is compacted after so many of its batches, as ours are.
const COMPACT_EVERY: u64 = 32;
/// What its files may take before the oldest go: as ours.
const LOG_BYTES: ReadableSize = ReadableSize::gb(1);
const FILE_BYTES: ReadableSize = ReadableSize::mb(64);
/// How often its garbage is looked for; TiKV does every 10 s, with ten times as much room.
const PURGE_EVERY: Duration = Duration::from_millis(200);
/// What the device writes at least.
const BLOCK_BYTES: usize = 4096;
/// It is written to for so long before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// How its entries name their index.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// raft-engine, and the thread that collects its garbage.
pub(super) struct Theirs {
    engine: Arc<Engine>,
    ended: Arc<AtomicBool>,
    purging: Option<std::thread::JoinHandle<()>>,
    writers: Vec<Writer>,
}

/// One thread that writes batches of its own groups.
struct Writer {
    first_group: u64,
    last: Vec<u64>,
    round: u64,
}

impl Writer {
    fn write(&mut self, engine: &Engine, shape: Shape, entry: &mut Entry) -> anyhow::Result<()> {
        let mut batch = LogBatch::with_capacity(shape.groups as usize);
        self.last.resize(self.last.len().max(shape.groups as usize), 0);
        self.round += 1;
        for (number, last) in (0..u64::from(shape.groups)).zip(&mut self.last) {
            let group = self.first_group + number;
            *last += 1;
            entry.index = *last;
            batch.add_entries::<Indexed>(group, std::slice::from_ref(entry))?;
            if (self.round + number).is_multiple_of(COMPACT_EVERY) && *last > 1 {
                batch.add_command(group, Command::Compact { index: *last - 1 });
            }
        }
        engine.write(&mut batch, true)?;
        Ok(())
    }
}

/// What the commands of a batch take on the device, without anything else.
pub(super) fn bare_bytes(shape: Shape) -> usize {
    (shape.groups as usize * shape.command_bytes).next_multiple_of(BLOCK_BYTES)
}

fn entry_of(shape: Shape) -> Entry {
    Entry { term: 1, data: vec![7; shape.command_bytes].into(), ..Entry::default() }
}

impl Theirs {
    pub(super) fn open(dir: &Path) -> anyhow::Result<Theirs> {
        let config = Config {
            dir: dir.to_str().context("a path in UTF-8")?.to_owned(),
            batch_compression_threshold: ReadableSize(0),
            target_file_size: FILE_BYTES,
            purge_threshold: LOG_BYTES,
            enable_log_recycle: true,
            prefill_for_recycle: true,
            ..Config::default()
        };
        let engine = Arc::new(Engine::open(config)?);
        let (ended, purged) = (Arc::new(AtomicBool::new(false)), Arc::clone(&engine));
        let end = Arc::clone(&ended);
        let purging = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let _those_that_pin = purged.purge_expired_files();
                std::thread::park_timeout(PURGE_EVERY);
            }
        });
        let writer = |number: u64| Writer { first_group: 1 + 10_000 * number, last: Vec::new(), round: 0 };
        let writers = (0..IN_FLIGHT as u64).map(writer).collect();
        Ok(Theirs { engine, ended, purging: Some(purging), writers })
    }

    /// `count` threads write one batch after the other for `slice`.
    pub(super) fn write(&mut self, shape: Shape, count: usize, slice: Duration) -> anyhow::Result<Slice> {
        let before_bytes = host::written_bytes()?;
        let meter = Meter::start()?;
        let engine = &self.engine;
        let work = |writer: &mut Writer| -> anyhow::Result<u64> {
            let (mut entry, mut batches) = (entry_of(shape), 0);
            while meter.began.elapsed() < slice {
                writer.write(engine, shape, &mut entry)?;
                batches += 1;
            }
            Ok(batches)
        };
        let writers = &mut self.writers[..count];
        let batches = std::thread::scope(|scope| {
            let threads: Vec<_> = writers.iter_mut().map(|writer| scope.spawn(|| work(writer))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .sum::<Result<u64, _>>()
        })?;
        meter.end(batches, host::written_bytes()? - before_bytes)
    }

    /// One thread writes a batch at each time of `schedule`. How long each took from its time on.
    pub(super) fn write_at(
        &mut self,
        shape: Shape,
        schedule: impl Iterator<Item = Instant>,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut entry = entry_of(shape);
        let mut times = Vec::new();
        for due in schedule {
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            self.writers[0].write(&self.engine, shape, &mut entry)?;
            times.push(due.elapsed());
        }
        Ok(times)
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(purging) = self.purging.take() {
            purging.thread().unpark();
            let _it_ends = purging.join();
        }
    }
}

/// What writes a slice on our side.
#[derive(Clone, Copy, Debug)]
enum Side {
    Log,
    /// The device alone, with a batch's commands.
    Bare,
}

/// A slice to be written: by what, the batches, and how many in flight.
type Asked = (Side, Shape, usize, Duration);

/// Our log on a shard, driven from another thread: it is asked for slices while the other side rests.
pub(super) struct Remote {
    ask: Option<Sender<Asked>>,
    answers: Receiver<Slice>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Remote {
    pub(super) fn open(dir: PathBuf) -> Remote {
        let (ask, asked) = channel::<Asked>();
        let (answer, answers) = channel();
        let serve = move |context: Context| async move {
            let mut ours = Ours::open(&context, &dir, IN_FLIGHT).await?;
            ours.warm_up(&context).await?;
            let bare = context.disk().create(&dir.join("bare"), PROBE_BYTES).await?;
            // Blocks the shard, which has nothing else to do.
            while let Ok((side, shape, flight, slice)) = asked.recv() {
                let result = match side {
                    Side::Log => ours.write(&context, shape, (flight, 0), slice).await?,
                    Side::Bare => probe(&context, &bare, bare_bytes(shape), flight, slice).await?,
                };
                answer.send(result).context("nobody asks any more")?;
            }
            Ok(())
        };
        let thread = std::thread::spawn(move || on_shard(serve));
        Remote { ask: Some(ask), answers, thread: Some(thread) }
    }

    fn write(&self, asked: Asked) -> anyhow::Result<Slice> {
        self.ask.as_ref().and_then(|ask| ask.send(asked).ok()).context("our log has ended")?;
        self.answers.recv().context("our log has ended")
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.ask.take());
        let thread = self.thread.take().context("ends once")?;
        thread.join().map_err(|_| anyhow!("our log panicked"))?
    }
}

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    let mut theirs = Theirs::open(&dir.join("raft-engine"))?;
    let ours = Remote::open(dir.join("ours"));
    theirs.write(CASES[3].1, IN_FLIGHT, WARM_UP)?;
    println!(
        "{:<9} {:<22} {:>10} {:>12} {:>11}",
        "batch", "side", "entries/s", "CPU us/batch", "bytes/entry"
    );
    let mut lines = Vec::new();
    for (name, shape, goals) in CASES {
        let mut rounds: [Vec<Slice>; 6] = Default::default();
        for round in 0..=settings.rounds {
            let slices = [
                theirs.write(shape, 1, settings.slice)?,
                ours.write((Side::Log, shape, 1, settings.slice))?,
                ours.write((Side::Bare, shape, 1, settings.slice))?,
                theirs.write(shape, IN_FLIGHT, settings.slice)?,
                ours.write((Side::Log, shape, IN_FLIGHT, settings.slice))?,
                ours.write((Side::Bare, shape, IN_FLIGHT, settings.slice))?,
            ];
            if round > 0 {
                rounds.iter_mut().zip(slices).for_each(|(of_side, slice)| of_side.push(slice));
            }
        }
        table(name, shape, &rounds);
        let [one_writer, one_flying, one_bare, writers, flying, bare] = &rounds;
        let ratios = [ratio(one_flying, one_writer), ratio(flying, writers), ratio(flying, one_writer)];
        let most = [ratio(one_bare, one_writer), ratio(bare, writers), ratio(bare, one_writer)];
        println!("{name:<9} ratios 1:1, 4:4, 4:1: {}; of bare writes: {}", three(ratios), three(most));
        for (kind, (ratio, goal)) in ["1", "4", "free"].into_iter().zip(ratios.into_iter().zip(goals)) {
            lines.push(ratio_line(&format!("log_engine_{name}_{kind}"), ratio, goal));
        }
    }
    ours.end()?;
    Ok(lines)
}

/// The middle of the rounds' ratios of batches per second.
fn ratio(own: &[Slice], other: &[Slice]) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| own.batches_per_second / other.batches_per_second))
}

fn three(ratios: [f64; 3]) -> String {
    ratios.map(|ratio| format!("{ratio:.2}")).join(", ")
}

fn table(name: &str, shape: Shape, rounds: &[Vec<Slice>; 6]) {
    let labels = [
        "raft-engine, 1 writer",
        "ours, 1 in flight",
        "bare, 1 in flight",
        "raft-engine, 4 writers",
        "ours, 4 in flight",
        "bare, 4 in flight",
    ];
    for (label, slices) in labels.into_iter().zip(rounds) {
        let middle = |value: fn(&Slice) -> f64| median(slices.iter().map(value));
        let entries = middle(|slice| slice.batches_per_second) * f64::from(shape.groups);
        let (cpu, bytes) = (middle(|slice| slice.cpu_micros), middle(|slice| slice.bytes));
        let each = bytes / f64::from(shape.groups);
        println!("{name:<9} {label:<22} {entries:>10.0} {cpu:>12.1} {each:>11.0}");
    }
}
