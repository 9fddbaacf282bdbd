//! Things that happen to a running cluster, one at a time, each until every group is served again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::poll;
use crate::probes::Probes;
use crate::process::Cluster;

/// Every group is served again within this after a fault, or the run ends: 30 s were asked for, on machines where
/// nodes, clients and judges share two cores.
const BACK_TIME: Duration = Duration::from_secs(60);
/// Silences longer than this, in seconds, are explained by what the probe heard.
const EXPLAINED_S: f64 = 2.0;
/// A change of members ends within this.
const CHANGE_TIME: Duration = Duration::from_secs(120);
/// A fault ends when every group has been served in the time just past.
const SERVED_LATELY: Duration = Duration::from_millis(200);
/// How long a node stays dead or frozen at most: three election timeouts and more, so others take over.
const AWAY_MAX_MS: u64 = 5_000;
/// Groups whose leaders are moved at once.
const TRANSFERS: u64 = 12;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9`, and a start after a while.
    Killed,
    /// `kill -9`, and a start at once.
    KilledBriefly,
    /// `kill -9` for all nodes at once.
    AllKilled,
    /// SIGSTOP, and SIGCONT after a while.
    Frozen,
    /// SIGTERM, and a start.
    Restarted,
    /// Removed, its disk wiped, and added again.
    Replaced,
    /// Leaders of many groups are moved.
    LeadersMoved,
}

/// How often which kind is drawn: what takes long is rare, so that there are many faults.
const WEIGHTS: [(Kind, u32); 7] = [
    (Kind::Killed, 5),
    (Kind::KilledBriefly, 3),
    (Kind::AllKilled, 2),
    (Kind::Frozen, 4),
    (Kind::Restarted, 2),
    (Kind::Replaced, 2),
    (Kind::LeadersMoved, 3),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Killed => "killed, back later",
            Kind::KilledBriefly => "killed, back at once",
            Kind::AllKilled => "all killed",
            Kind::Frozen => "frozen and woken",
            Kind::Restarted => "ended and started",
            Kind::Replaced => "removed, wiped, added",
            Kind::LeadersMoved => "leaders moved",
        })
    }
}

/// What the faults of one kind did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    /// How many there were.
    pub count: u32,
    /// The longest time that any group was silent.
    pub silence_max: Duration,
    /// How long they were active together.
    pub active: Duration,
}

/// A cluster, and what has happened to it.
#[derive(Debug)]
pub struct Faults {
    /// The nodes.
    pub cluster: Cluster,
    rng: Rng,
    groups: u64,
    /// By kind.
    pub tolls: BTreeMap<Kind, Toll>,
}

impl Faults {
    /// Will break this cluster of so many groups.
    pub fn new(cluster: Cluster, rng: Rng, groups: u64) -> Faults {
        Faults { cluster, rng, groups, tolls: BTreeMap::new() }
    }

    /// How long faults were active so far.
    pub fn active(&self) -> Duration {
        self.tolls.values().map(|toll| toll.active).sum()
    }

    /// One fault, from its begin until every group is served again; what it was, in words.
    ///
    /// # Errors
    ///
    /// A sentence, when the cluster does not come back.
    pub fn next(&mut self, probes: &Probes) -> Result<String, String> {
        let total: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.u32(..total);
        let mut kinds = WEIGHTS.iter().filter_map(|(kind, weight)| match drawn.checked_sub(*weight) {
            Some(rest) => {
                drawn = rest;
                None
            }
            None => Some(*kind),
        });
        let kind = kinds.next().expect("a number below the sum of all weights");
        let nodes = u16::try_from(self.cluster.ids().count()).expect("their ids are u16");
        let victim = 1 + self.rng.u16(..nodes);
        probes.mark();
        let began = Instant::now();
        self.apply(kind, victim).map_err(|error| format!("node {victim}, {kind}: {error}"))?;
        self.wait_served(probes, began, kind, victim)?;
        let (active, (silence, group)) = (began.elapsed(), probes.longest_silence(began, |_| true));
        let toll = self.tolls.entry(kind).or_default();
        toll.count += 1;
        toll.silence_max = toll.silence_max.max(silence);
        toll.active += active;
        let (active, silence) = (active.as_secs_f64(), silence.as_secs_f64());
        let heard = if silence > EXPLAINED_S { probes.heard(group, began) } else { String::new() };
        Ok(format!(
            "node {victim} {kind}: {active:.1} s, longest silence {silence:.2} s of group {group}\n{heard}"
        ))
    }

    fn wait_served(&self, probes: &Probes, began: Instant, kind: Kind, victim: u16) -> Result<(), String> {
        let served = || {
            let lately = Instant::now().checked_sub(SERVED_LATELY);
            lately.is_some_and(|lately| lately > began && probes.all_served_since(lately))
        };
        if poll::until(Instant::now() + BACK_TIME, served) {
            return Ok(());
        }
        let status = self.cluster.ids().map(|id| format!("{:?}\n", self.cluster.status(id)));
        let status: String = status.collect();
        Err(format!("node {victim}, {kind}: no full service within {BACK_TIME:?}\n{status}"))
    }

    fn apply(&mut self, kind: Kind, victim: u16) -> Result<(), String> {
        let away = Duration::from_millis(self.rng.u64(200..AWAY_MAX_MS));
        let pass = |time: Duration| poll::until(Instant::now() + time, || false);
        let cluster = &mut self.cluster;
        match kind {
            Kind::Killed => {
                cluster.kill(victim);
                pass(away);
                cluster.start_node(victim)
            }
            Kind::KilledBriefly => {
                cluster.kill(victim);
                cluster.start_node(victim)
            }
            Kind::AllKilled => {
                cluster.kill_all();
                cluster.start_all()
            }
            Kind::Frozen => {
                cluster.pause(victim);
                pass(away);
                cluster.resume(victim);
                Ok(())
            }
            Kind::Restarted => {
                let ended = cluster.stop(victim)?;
                if !ended.success() {
                    return Err(format!("ended with {ended} after SIGTERM"));
                }
                cluster.start_node(victim)
            }
            Kind::Replaced => self.replace(victim),
            Kind::LeadersMoved => {
                self.move_leaders();
                Ok(())
            }
        }
    }

    fn replace(&mut self, victim: u16) -> Result<(), String> {
        let cluster = &mut self.cluster;
        let others: Vec<u16> = cluster.ids().filter(|id| *id != victim).collect();
        cluster.command(&format!("RINGRAFT MEMBER REMOVE {victim}"), CHANGE_TIME)?;
        cluster.wait_end(victim, CHANGE_TIME)?;
        let id = u64::from(victim);
        let gone = |cluster: &Cluster| cluster.members().is_some_and(|all| all.iter().all(|(m, _)| *m != id));
        if !poll::until(Instant::now() + CHANGE_TIME, || gone(cluster)) {
            return Err(format!("is not removed: {:?}", cluster.members()));
        }
        cluster.wipe(victim)?;
        cluster.relist(victim, &others);
        cluster.start_node(victim)?;
        let address = cluster.peer_address(victim);
        cluster.command(&format!("RINGRAFT MEMBER ADD {victim}={address}"), CHANGE_TIME)?;
        let active = |cluster: &Cluster| {
            let members = cluster.members().unwrap_or_default();
            members.iter().any(|(member, state)| *member == id && state == "active")
        };
        if poll::until(Instant::now() + CHANGE_TIME, || active(cluster)) {
            return Ok(());
        }
        Err(format!("does not become a member again: {:?}", cluster.members()))
    }

    /// Nobody waits for the ends of transfers: they may fail, and be overtaken by the next.
    fn move_leaders(&mut self) {
        let nodes = u16::try_from(self.cluster.ids().count()).expect("their ids are u16");
        for _ in 0..TRANSFERS {
            let (group, to) = (self.rng.u64(..=self.groups), 1 + self.rng.u16(..nodes));
            self.cluster.ask(&format!("RINGRAFT TRANSFER {group} {to}"));
        }
    }
}
