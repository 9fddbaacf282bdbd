//! Power cuts under load: nothing that was acknowledged may be lost, nothing may be there that nobody wrote.
//!
//! Each round starts the nodes, checks what the rounds before have left (`ledger`), loads them (`load`) and cuts the
//! power of all their disks at a random moment: while they serve, now and then while they start. The disks are
//! [`crate::fuse_disk`]s: what was not synced is gone, or torn by sectors.

mod ledger;
mod load;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::client::Client;
use crate::fuse_disk::Disk;
use crate::poll;
use crate::process::{Cluster, Options, TempDir, data_dir};
use ledger::{Session, Store};
use load::Load;

/// The size of a node's disk: its log, its snapshots and what ext4 wants.
const DISK_BYTES: u64 = 160 << 20;
/// Rounds on the same disks; then they are replaced, as what a node must load would otherwise grow for ever.
const ROUNDS_PER_DISK: u32 = 100;
/// Keys per round that all later rounds look at again.
const REMEMBERED_PER_ROUND: usize = 16;
/// Remembered keys that one round looks at again.
const LOOKED_AT_PER_ROUND: usize = 64;
/// Keys per pipeline when they are read.
const READ_AT_ONCE: usize = 200;
/// A cluster that was started serves every key within this: recovery is bounded, the machine may be busy.
const BACK_IN_SERVICE: Duration = Duration::from_secs(20);
/// Load lasts at most this long.
const LOAD_MS_MAX: u64 = 150;
/// One cut in this many hits nodes while they start.
const DURING_START_ONE_IN: u32 = 8;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes of the cluster, all cut at once.
    pub nodes: u16,
    /// Power cuts.
    pub cuts: u32,
    /// The seed of all choices. What timing makes of them is not repeatable.
    pub seed: u64,
    /// Clients.
    pub clients: u32,
    /// Says what happens, now and then.
    pub tell: fn(&Report),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Power cuts that were survived.
    pub passed: u32,
    /// Those of them that hit nodes while they started.
    pub during_start: u32,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes sent and not acknowledged when the power went.
    pub unanswered: u64,
    /// Keys read and judged.
    pub judged: u64,
    /// Everything that is wrong.
    pub violations: Vec<String>,
    /// All of it took this long.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in self.violations.iter().take(20) {
            writeln!(f, "{violation}")?;
        }
        let Report { passed, during_start, acknowledged, unanswered, judged, violations, elapsed } = self;
        let per_cut = elapsed.as_secs_f64() / f64::from((*passed).max(1));
        writeln!(
            f,
            "{passed} cuts, {during_start} during a start, {per_cut:.2} s each; \
             {acknowledged} writes acknowledged, {unanswered} unanswered, {judged} keys judged"
        )?;
        write!(f, "{passed} passed, {} failed", violations.len())
    }
}

/// Nodes on disks that lose power. Fields are dropped in order: the nodes end, then the disks, then the directory goes.
struct Machines {
    cluster: Cluster,
    disks: BTreeMap<u16, Disk>,
    _dir: TempDir,
}

impl Machines {
    fn start(nodes: u16) -> Result<Machines, String> {
        let dir = data_dir()?;
        let sizes = ["--segment-bytes", "2097152", "--log-bytes-max", "33554432"];
        let sizes = sizes.into_iter().chain(["--snapshot-after-mib", "1"]);
        let options = Options {
            nodes,
            groups: Some(4),
            args: sizes.map(String::from).collect(),
            dir: Some(dir.path().into()),
            ..Options::default()
        };
        let cluster = Cluster::prepare(&options)?;
        let disk = |id| Ok((id, Disk::start(&cluster.data(id), DISK_BYTES)?));
        let disks = cluster.ids().map(disk).collect::<Result<_, String>>()?;
        Ok(Machines { cluster, disks, _dir: dir })
    }

    /// Cuts the power of all machines and gives it back.
    fn cut(&mut self, rng: &mut Rng) {
        let torn = rng.u8(0..4) > 0;
        for disk in self.disks.values_mut() {
            if torn {
                disk.cut_torn(rng.u64(..));
            } else {
                disk.cut();
            }
        }
        self.cluster.kill_all();
        for disk in self.disks.values_mut() {
            disk.unmount();
            disk.mount();
        }
    }

    /// Reads keys through one node, again and again until it answers for all of them.
    fn read(&self, target: SocketAddr, keys: &[String]) -> Result<Store, String> {
        let mut last = String::new();
        let read = poll::until_some(Instant::now() + BACK_IN_SERVICE, || {
            read_once(target, keys).map_err(|error| last = error).ok()
        });
        read.ok_or_else(|| format!("not in service {BACK_IN_SERVICE:?} after a power cut: {last}"))
    }
}

fn read_once(target: SocketAddr, keys: &[String]) -> Result<Store, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut client = Client::connect(target, Duration::from_secs(5)).map_err(failed)?;
    let mut store = Store::new();
    for keys in keys.chunks(READ_AT_ONCE) {
        let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"GET", key.as_bytes()]).collect();
        for (key, reply) in keys.iter().zip(client.pipeline(&commands).map_err(failed)?) {
            store.insert(key.clone(), ledger::held(reply)?);
        }
    }
    Ok(store)
}

/// A run in progress.
struct Run<'a> {
    plan: &'a Plan,
    rng: Rng,
    report: Report,
    /// Keys that were judged, with what they held.
    remembered: Vec<(String, Option<String>)>,
    /// What the round before the last cut has sent.
    last: Vec<Session>,
}

impl Run<'_> {
    fn on_new_disks(&mut self, first: u32, rounds: u32) -> Result<(), String> {
        let mut machines = Machines::start(self.plan.nodes)?;
        (self.remembered, self.last) = (Vec::new(), Vec::new());
        for round in first..first + rounds {
            if self.rng.u32(0..DURING_START_ONE_IN) == 0 {
                self.cut_a_start(&mut machines)?;
            } else {
                machines.cluster.start_all()?;
                self.verify(&machines, LOOKED_AT_PER_ROUND)?;
                self.load_and_cut(&mut machines, round);
            }
            self.report.passed += 1;
            (self.plan.tell)(&self.report);
        }
        machines.cluster.start_all()?;
        self.verify(&machines, usize::MAX)
    }

    fn cut_a_start(&mut self, machines: &mut Machines) -> Result<(), String> {
        for id in machines.cluster.ids() {
            machines.cluster.launch(id)?;
        }
        let moment = Instant::now() + Duration::from_millis(self.rng.u64(0..LOAD_MS_MAX));
        poll::until(moment, || false);
        machines.cut(&mut self.rng);
        self.report.during_start += 1;
        Ok(())
    }

    fn load_and_cut(&mut self, machines: &mut Machines, round: u32) {
        let load = Load::start(round, self.plan.clients, &machines.cluster.addresses());
        let moment = Instant::now() + Duration::from_millis(self.rng.u64(1..LOAD_MS_MAX));
        poll::until(moment, || false);
        // At least something is at stake in every round.
        poll::until(Instant::now() + BACK_IN_SERVICE, || load.acknowledged() > 0);
        machines.cut(&mut self.rng);
        self.last = load.stop();
        let sent = self.last.iter().flat_map(|session| &session.sent);
        let acknowledged = sent.clone().filter(|sent| sent.acknowledged.is_some()).count() as u64;
        self.report.acknowledged += acknowledged;
        self.report.unanswered += sent.count() as u64 - acknowledged;
    }

    /// Judges the last round, and looks again at `again` keys of earlier ones.
    fn verify(&mut self, machines: &Machines, again: usize) -> Result<(), String> {
        let targets = machines.cluster.addresses();
        let target = targets[self.rng.usize(0..targets.len())];
        let mut looked_at: Vec<usize> = (0..self.remembered.len()).collect();
        if again < looked_at.len() {
            self.rng.shuffle(&mut looked_at);
            looked_at.truncate(again);
        }
        let own = ledger::keys(&self.last);
        let old = looked_at.iter().map(|at| self.remembered[*at].0.clone());
        let store = machines.read(target, &own.iter().cloned().chain(old).collect::<Vec<_>>())?;
        self.report.judged += store.len() as u64;
        self.report.violations.extend(ledger::judge(&self.last, &store));
        for at in looked_at {
            let (key, held) = &self.remembered[at];
            if store.get(key) != Some(held) {
                let now = store.get(key).cloned().flatten();
                self.report.violations.push(format!("changed later: {key} held {held:?} and holds {now:?}"));
            }
        }
        let keep = self.rng.choose_multiple(own, REMEMBERED_PER_ROUND);
        self.remembered.extend(keep.into_iter().map(|key| (key.clone(), store[&key].clone())));
        self.last.clear();
        Ok(())
    }
}

/// Cuts the power again and again.
pub fn run(plan: &Plan) -> Report {
    let begin = Instant::now();
    let (rng, report) = (Rng::with_seed(plan.seed), Report::default());
    let mut run = Run { plan, rng, report, remembered: Vec::new(), last: Vec::new() };
    let mut first = 0;
    while first < plan.cuts && run.report.violations.is_empty() {
        let rounds = ROUNDS_PER_DISK.min(plan.cuts - first);
        if let Err(error) = run.on_new_disks(first, rounds) {
            run.report.violations.push(error);
        }
        first += rounds;
        run.report.elapsed = begin.elapsed();
    }
    run.report
}
