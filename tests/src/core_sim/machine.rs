//! A place in the cluster: a disk, a clock, and the node that runs on it, if one does.

use std::rc::Rc;

use raft::{NodeId, Settings, Standing, Time};

use super::disk::{Disk, Entry, Log, Roster};
use super::graphs::NODES_MAX;
use super::node::Node;
use super::spec::Replica;

/// Moments count from here, so that "long ago" exists on every clock.
const START_US: u64 = 1_000_000_000;

/// A clock that is not quite right: neither its reading nor its rate are those of the others.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How far it is ahead.
    pub offset_us: u64,
    /// Its rate: so many of its microseconds pass in a thousand true ones.
    pub per_mille: u64,
}

impl Clock {
    /// What it shows when truly `now_us` have passed.
    #[must_use]
    pub fn read(self, now_us: u64) -> Time {
        Time(START_US + self.offset_us + now_us * self.per_mille / 1000)
    }

    /// When it will show `time`, in true microseconds, rounded up.
    #[must_use]
    pub fn when(self, time: Time) -> u64 {
        let own = time.0.saturating_sub(START_US + self.offset_us);
        own.saturating_mul(1000).div_ceil(self.per_mille)
    }
}

/// What a machine had acknowledged before its disk lost some of it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The disk as it was.
    pub before: Disk,
    /// How much was committed anywhere then.
    pub committed: usize,
    /// Whether its replica says that it has all of it again.
    pub healed: bool,
}

/// A node that runs, and the specification that follows it.
#[derive(Clone, Debug)]
pub struct Life {
    /// The node.
    pub node: Node,
    /// The naive Raft beside it.
    pub spec: Replica,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node it is for.
    pub id: NodeId,
    /// Which life of the node: another after it was removed and wiped.
    pub incarnation: u32,
    /// How often it has started.
    pub boot: u32,
    /// What is durable.
    pub disk: Disk,
    /// What runs, if it runs.
    pub life: Option<Box<Life>>,
    /// Its clock.
    pub clock: Clock,
    /// Its settings.
    pub settings: Rc<Settings>,
    /// An old copy of its disk, which a careless operator may bring back.
    pub image: Option<Disk>,
    /// What it lost, until it has it again.
    pub loss: Option<Loss>,
    /// Whether it was never a member in this incarnation.
    pub fresh: bool,
    /// A snapshot that was on its way when it stopped: snapshots come on connections of their own, and go on after a restart.
    pub arriving: Option<raft::EntryId>,
    /// Of each shard of others: when it was heard last, on this clock, and its boot number.
    pub heard: [Option<(Time, u32)>; NODES_MAX],
}

impl Machine {
    /// A machine with an empty disk that knows who founded the group, if it is one of them.
    #[must_use]
    pub fn new(settings: Rc<Settings>, founding: Option<&Rc<Roster>>, clock: Clock) -> Machine {
        let disk = match founding {
            Some(base) => Disk { log: Log { base: Rc::clone(base), ..Log::default() }, ..Disk::default() },
            None => Disk::newcomer(),
        };
        Machine {
            id: settings.node,
            incarnation: 1,
            boot: 0,
            disk,
            life: None,
            clock,
            settings,
            image: None,
            loss: None,
            fresh: founding.is_none(),
            arriving: None,
            heard: [None; NODES_MAX],
        }
    }

    /// Starts the node. The seed is another for each start, as in life.
    pub fn start(&mut self, preferred: bool, founding: &Rc<Roster>, history: &[Entry], now_us: u64) {
        self.boot += 1;
        self.heard = [None; NODES_MAX];
        let now = self.clock.read(now_us);
        let mut settings = (*self.settings).clone();
        settings.seed = settings.seed.wrapping_add(u64::from(self.boot) << 32);
        let settings = Rc::new(settings);
        let mut node = Node::start(&settings, self.incarnation, preferred, &self.disk, now);
        node.offered = self.arriving.take();
        let spec = Replica::start(&settings, &self.disk, (founding, history), now);
        self.life = Some(Box::new(Life { node, spec }));
    }

    /// The node, if it runs.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.life.as_ref().map(|life| &life.node)
    }

    /// Whether it runs and leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.node().is_some_and(|node| node.raft.is_leader())
    }

    /// Whether it may lack what it acknowledged.
    #[must_use]
    pub fn is_unsound(&self) -> bool {
        self.loss.is_some()
            || matches!(self.disk.hard_state.standing, Standing::Recovering | Standing::Faulted)
    }

    /// Whether it holds the entry durably, or acknowledged it before its disk lost it.
    #[must_use]
    pub fn holds(&self, index: raft::Index, entry: &Entry) -> bool {
        let held = |log: &Log| log.compacted.index >= index || log.get(index) == Some(entry);
        held(&self.disk.log) || self.loss.as_ref().is_some_and(|loss| held(&loss.before.log))
    }

    /// All logs there are here: in memory, on disk, and lost.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        let memory = self.node().map(|node| &node.log);
        let lost = self.loss.as_ref().map(|loss| &loss.before.log);
        std::iter::once(&self.disk.log)
            .chain(memory)
            .chain(lost)
            .chain(self.image.as_ref().map(|disk| &disk.log))
    }
}
