//! Three replicas of ours against one Redis that syncs every write.
//!
//! Three `ringraft` nodes with one shard each, against `redis-server --appendonly yes --appendfsync always`
//! (one copy), on the same disk; 128-byte values, 64 connections, pipelines of 1, 16 and 128. Both hold all
//! keys before anything is measured. Every round measures every cell of both sides, one after the other;
//! the result is the median of the rounds' ratios, ours over Redis. Our time ends when all three replicas
//! have applied everything. The ratios are those of a plain client, which talks to one node; a second row
//! shows a cluster client, which talks to the leaders.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use ringraft_tests::process::{Cluster, Options, Redis, find_program};

use crate::cell::{Cell, Side, Times};
use crate::disk::{self, Device};
use crate::host;
use crate::keyspace::{self, Route};
use crate::load::{self, Operation, Shape};
use crate::summary::{head, median, ratio_line, row};

const LEADERS_TIME: Duration = Duration::from_secs(30);
/// How long what ran before us may take to leave the load average.
const QUIET_TIME: Duration = Duration::from_secs(180);
const PROBE_TIME: Duration = Duration::from_secs(3);
/// A disk whose sync time moved by more than this share was somebody else's, too.
const DRIFT_MAX: f64 = 0.2;
const SYNC_GOAL: f64 = 0.4;

/// The cells, with the goals of their ratios.
const CELLS: [(Shape, f64); 6] = [
    (Shape { operation: Operation::Set, pipeline: 1 }, 0.0),
    (Shape { operation: Operation::Set, pipeline: 16 }, 0.5),
    (Shape { operation: Operation::Set, pipeline: 128 }, 0.5),
    (Shape { operation: Operation::Get, pipeline: 1 }, 0.0),
    (Shape { operation: Operation::Get, pipeline: 16 }, 0.5),
    (Shape { operation: Operation::Get, pipeline: 128 }, 0.5),
];

/// What Redis is started with: every reply after a sync, no rewriting of its log in between.
const REDIS_ARGS: [&str; 8] =
    ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0"];

/// How thorough a comparison is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rounds; the medians are over them.
    pub rounds: u32,
    /// The times of a cell.
    pub times: Times,
    /// The load average above which nothing is measured.
    pub load_max: f64,
}

/// How a comparison ended.
pub enum Verdict {
    /// The ratios have been printed.
    Measured,
    /// Something else used the machine: no ratios. The reason.
    Disturbed(String),
}

/// The cells of one side in all rounds, by shape.
type Table = [Vec<Cell>; CELLS.len()];

/// Runs the comparison in `dir` and prints it.
pub fn run(dir: &Path, settings: Settings) -> anyhow::Result<Verdict> {
    let load = host::wait_until_quiet(settings.load_max, QUIET_TIME)?;
    if load > settings.load_max {
        return Ok(Verdict::Disturbed(format!("the load average is {load}, above {}", settings.load_max)));
    }
    let device = Device::of(dir)?;
    let sync_before = disk::probe(dir, PROBE_TIME)?;
    println!("disk {}; three writers sync 4 KiB in {sync_before:?} (median)", device.describe());

    let redis_dir = tempfile::tempdir_in(dir)?;
    let program = find_program("redis-server").context("redis-server is not installed")?;
    let redis = Redis::start_in(&program, redis_dir.path(), &REDIS_ARGS).map_err(anyhow::Error::msg)?;
    let options = Options { dir: Some(dir.to_path_buf()), ..Options::default() };
    let cluster = Cluster::start(&options).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(LEADERS_TIME).map_err(anyhow::Error::msg)?;

    let rounds = Rounds::new(&redis, &cluster, dir, &device, settings)?.run()?;
    drop((cluster, redis));
    rounds.print();

    let sync_after = disk::probe(dir, PROBE_TIME)?;
    let drift = sync_after.as_secs_f64() / sync_before.as_secs_f64() - 1.0;
    if drift.abs() > DRIFT_MAX {
        let text = format!("the disk's sync took {sync_before:?} at the start and {sync_after:?} at the end");
        return Ok(Verdict::Disturbed(text));
    }
    rounds.print_ratios();
    Ok(Verdict::Measured)
}

/// All rounds of a comparison.
struct Rounds<'a> {
    sides: Vec<(Side<'a>, Table)>,
    /// How many keys each side held before the first round.
    keys: Vec<u64>,
    /// A sync of three writers at once over a SET of one client, per round.
    sync_over_set: Vec<f64>,
    dir: &'a Path,
    device: &'a Device,
    settings: Settings,
}

impl<'a> Rounds<'a> {
    /// Loads all keys into both sides.
    fn new(
        redis: &Redis,
        cluster: &'a Cluster,
        dir: &'a Path,
        device: &'a Device,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let processes: Vec<u32> = cluster.ids().filter_map(|id| cluster.process_id(id)).collect();
        let ours = |name, route, processes: Vec<u32>| Side {
            name,
            address: cluster.address(1),
            route,
            processes,
            cluster: Some(cluster),
        };
        let theirs = Side {
            name: "redis",
            address: redis.address(),
            route: Route::Plain,
            processes: vec![redis.id()],
            cluster: None,
        };
        let mut sides = vec![theirs, ours("ringraft", Route::Plain, processes.clone())];
        sides.push(ours("ringraft --cluster", Route::Cluster, processes));
        for side in &sides {
            let hits = keyspace::fill(side.address, side.route)?;
            println!("{}: {} keys, hit rate {hits:.0} %", side.name, keyspace::count(side.address)?);
        }
        let keys = sides.iter().map(|side| keyspace::count(side.address)).collect::<anyhow::Result<_>>()?;
        let sides = sides.into_iter().map(|side| (side, Table::default())).collect();
        Ok(Rounds { sides, keys, sync_over_set: Vec::new(), dir, device, settings })
    }

    fn run(mut self) -> anyhow::Result<Results> {
        for round in 1..=self.settings.rounds {
            for (at, (shape, _)) in CELLS.iter().enumerate() {
                for (side, table) in &mut self.sides {
                    let cell = side.measure(*shape, self.settings.times, self.device)?;
                    let bound = if cell.is_client_bound() { " (client-bound)" } else { "" };
                    eprintln!("round {round} {} {}: {:.0}/s{bound}", shape.name(), side.name, cell.rate);
                    table[at].push(cell);
                }
                // The next shape starts with the other side, so that none always follows the other's work.
                self.sides.rotate_left(1);
            }
            self.latency(round)?;
        }
        self.sides.sort_by_key(|(side, _)| (side.cluster.is_some(), side.route == Route::Cluster));
        for ((side, _), before) in self.sides.iter().zip(&self.keys) {
            let keys = keyspace::count(side.address)?;
            ensure!(
                keys == *before,
                "{}: {keys} keys, {before} of them loaded: some reads missed",
                side.name
            );
        }
        let tables = self.sides.into_iter().map(|(side, table)| (side.name, table)).collect();
        Ok(Results { tables, sync_over_set: self.sync_over_set })
    }

    fn latency(&mut self, round: u32) -> anyhow::Result<()> {
        let ours = self.sides.iter().find(|(side, _)| side.cluster.is_some()).context("we are a side")?;
        let sync = disk::probe(self.dir, PROBE_TIME)?;
        let set = load::set_latency(ours.0.address, self.settings.times.measured.min(PROBE_TIME))?;
        eprintln!("round {round}: a sync takes {sync:?}, a SET of one client {set:?}");
        self.sync_over_set.push(sync.as_secs_f64() / set.as_secs_f64());
        Ok(())
    }
}

/// What all rounds measured: Redis first, then ours.
struct Results {
    tables: Vec<(&'static str, Table)>,
    sync_over_set: Vec<f64>,
}

impl Results {
    /// The median of the rounds' ratios of a side to Redis.
    fn ratio(&self, side: usize, cell: usize) -> f64 {
        let rounds = self.tables[side].1[cell].iter().zip(&self.tables[0].1[cell]);
        median(rounds.map(|(ours, redis)| ours.rate / redis.rate))
    }

    fn print(&self) {
        println!(
            "\nmedians of {} rounds; three replicas, the one Redis and the client share this machine",
            self.sync_over_set.len()
        );
        println!("{}", head());
        for (cell, (shape, _)) in CELLS.iter().enumerate() {
            for (side, (name, table)) in self.tables.iter().enumerate() {
                let ratio = (side > 0).then(|| self.ratio(side, cell));
                println!("{}", row(&shape.name(), name, &table[cell], ratio));
            }
        }
        println!();
    }

    fn print_ratios(&self) {
        for (cell, (shape, goal)) in CELLS.iter().enumerate() {
            println!("{}", ratio_line(&shape.name(), self.ratio(1, cell), *goal));
        }
        let sync_over_set = median(self.sync_over_set.iter().copied());
        println!("{}", ratio_line("sync_over_set_p50", sync_over_set, SYNC_GOAL));
    }
}
