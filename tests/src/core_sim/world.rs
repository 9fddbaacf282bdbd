//! The cluster: its machines, the network between them, true time, and the one function through which
//! everything happens, [`World::act`], so that every step is followed by the specification, judged by
//! the checks, and written into the trace.

use std::rc::Rc;

use raft::{Body, Config, Event, NodeId, Standing};

use super::checks::{Ledger, Scene, leases};
use super::disk::{Disk, Roster};
use super::graphs::{Cuts, NODES_MAX, seat};
use super::input::{Envelope, Input, Outcome};
use super::machine::{Loss, Machine};
use super::node::{Archive, Ground};
use super::profile::Profile;
use super::spec::Witness;
use super::trace::Trace;
use super::violation::require;

/// More messages than this are never in flight: the oldest are lost.
const NETWORK_MAX: usize = 512;

/// How often the rarer things have happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Snapshots installed.
    pub snapshots: u64,
    /// Replicas that had lost entries and stand again.
    pub recoveries: u64,
    /// Times a leader told somebody that the group rests.
    pub rests: u64,
}

/// A cluster.
#[derive(Clone)]
pub struct World {
    /// The one source of chance.
    pub random: fastrand::Rng,
    /// True time, in microseconds.
    pub now_us: u64,
    /// By node id - 1.
    pub machines: Vec<Machine>,
    /// Messages on their way.
    pub network: Vec<Envelope>,
    /// Messages that are stuck somewhere and will come late.
    pub withheld: Vec<Envelope>,
    /// Links that lose everything.
    pub cuts: Cuts,
    /// Whether anything may go wrong, as it may until the end.
    pub faulty: bool,
    /// Links on which something was lost and whose sender does not know yet, as of a broken connection.
    pub broken: Cuts,
    /// What the checks remember.
    pub ledger: Ledger,
    /// What this life is like.
    pub profile: Profile,
    /// What happens is told here.
    pub trace: Trace,
    /// All snapshots that were made.
    pub archive: Archive,
    /// What has happened, for [`super::run::Worth`].
    pub counts: Counts,
    founding: Rc<Roster>,
    directory: [u32; NODES_MAX],
    next_value: u64,
}

impl World {
    /// A cluster whose founders have just started.
    #[must_use]
    pub fn new(mut random: fastrand::Rng, profile: Profile, trace: Trace) -> World {
        let founders: Vec<NodeId> = (1..=profile.founders).map(NodeId).collect();
        let incarnations = founders.iter().map(|node| (*node, 1)).collect();
        let founding = Rc::new(Roster { config: Config::of_voters(&founders), incarnations });
        let machines = (1..=profile.founders + profile.others).map(|node| {
            let known = (node <= profile.founders).then_some(&founding);
            Machine::new(Rc::new(profile.settings(node)), known, profile.clock(&mut random))
        });
        let machines = machines.collect();
        let mut world = World {
            random,
            now_us: 0,
            machines,
            network: Vec::new(),
            withheld: Vec::new(),
            cuts: Cuts::default(),
            faulty: true,
            broken: Cuts::default(),
            ledger: Ledger::default(),
            profile,
            trace,
            archive: Archive::new(),
            counts: Counts::default(),
            founding,
            directory: [1; NODES_MAX],
            next_value: 1,
        };
        (0..world.machines.len()).for_each(|at| world.start(at));
        world
    }

    /// How many machines there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.machines.len()
    }

    /// Starts a node that is down.
    pub fn start(&mut self, at: usize) {
        if self.machines[at].life.is_some() {
            return;
        }
        let preferred = at == 0 && self.profile.preferred;
        self.trace.say(|| format!("{:>9} n{} starts from {:?}", self.now_us, at + 1, self.machines[at].disk));
        self.machines[at].start(preferred, &self.founding, &self.ledger.history, self.now_us);
        let unsound = self.machines[at].loss.is_some();
        let standing = self.machines[at].disk.hard_state.standing;
        if unsound && matches!(standing, Standing::Normal | Standing::Joining) {
            self.act(at, Input::Recover);
        }
    }

    /// Stops a node: of its batches in flight only the first `survive` are on the disk.
    pub fn crash(&mut self, at: usize, survive: usize) {
        let machine = &mut self.machines[at];
        if let Some(life) = machine.life.take() {
            machine.arriving = life.node.offered;
            self.trace.say(|| format!("{:>9} n{} crashes, {survive} writes survive", self.now_us, at + 1));
            life.node.crash(&mut machine.disk, survive);
            self.ledger.reads.stopped(machine.id);
            if let Some(loss) = &mut machine.loss {
                loss.healed = false;
            }
        }
    }

    /// A node that is down comes back with an old image of its log, and with what was known to be
    /// committed of that. Its term and vote it still knows: who may have forgotten those can only be
    /// removed and added as another.
    pub fn lose(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let Some(image) = machine.image.take() else { return };
        let before = machine.disk.clone();
        machine.disk.log = image.log;
        machine.disk.hard_state.commit = image.hard_state.commit;
        self.trace.say(|| format!("{:>9} n{} loses the newest part of {before:?}", self.now_us, at + 1));
        machine.loss = Some(Loss { before, committed: self.ledger.history.len(), healed: false });
    }

    /// A node that was removed comes back as another one, with an empty disk.
    pub fn reincarnate(&mut self, at: usize) {
        self.crash(at, 0);
        let machine = &mut self.machines[at];
        machine.incarnation += 1;
        machine.disk = Disk::newcomer();
        (machine.image, machine.loss, machine.fresh) = (None, None, true);
        self.directory[at] = machine.incarnation;
        self.ledger.marks.reborn(machine.id);
        self.trace.say(|| format!("{:>9} n{} is wiped", self.now_us, at + 1));
        self.start(at);
    }

    /// Lets one thing happen to one node, if it runs.
    pub fn act(&mut self, at: usize, input: Input) -> Option<Outcome> {
        let machine = &mut self.machines[at];
        let now = machine.clock.read(self.now_us);
        let life = machine.life.as_deref_mut()?;
        self.trace.say(|| format!("{:>9} n{} {input}", self.now_us, at + 1));
        let mut ground =
            Ground { disk: &mut machine.disk, archive: &mut self.archive, directory: &self.directory };
        let mut outcome = life.node.run(now, &input, &mut ground);
        self.trace.say(|| {
            let raft = &life.node.raft;
            let (role, term) = (raft.role(), raft.term());
            let cursors = (raft.last().0, raft.persisted_index().0, raft.committed().0);
            let disk = (machine.disk.log.last().0, machine.disk.hard_state.commit.0);
            format!(
                "{:>12} {role:?} t{term} (last, persisted, committed) {cursors:?}, on disk (last, commit) {disk:?}{outcome}",
                ""
            )
        });
        let history = &self.ledger.history;
        let seen = Witness { raft: &life.node.raft, memory: &life.node.log, outcome: &outcome, history };
        if self.profile.spec {
            life.spec.follow(now, &input, &seen);
            life.spec.agree(&life.node);
        }
        let scene =
            Scene { at, machines: &self.machines, input: &input, outcome: &outcome, now_us: self.now_us };
        self.ledger.check(&scene);
        leases::check(&mut self.machines, self.now_us, &self.ledger.elections);
        self.end_step(at, &outcome);
        self.post(std::mem::take(&mut outcome.sent));
        Some(outcome)
    }

    fn end_step(&mut self, at: usize, outcome: &Outcome) {
        let rests = |sent: &&Envelope| matches!(sent.message.body, Body::Quiesce { .. });
        self.counts.snapshots += u64::from(outcome.installed.is_some());
        self.counts.rests += super::disk::index_of(outcome.sent.iter().filter(rests).count());
        self.counts.recoveries +=
            u64::from(outcome.events.iter().any(|event| matches!(event, Event::Recovered)));
        let machine = &mut self.machines[at];
        let Some(life) = machine.life.as_deref_mut() else { return };
        life.node.changed_from = None;
        if let Some(loss) = &mut machine.loss {
            loss.healed |= outcome.events.iter().any(|event| matches!(event, Event::Recovered));
            if loss.healed && machine.disk.hard_state.standing == Standing::Normal {
                machine.loss = None;
            }
        }
    }

    fn post(&mut self, sent: Vec<Envelope>) {
        for envelope in sent {
            let hands_over = matches!(envelope.message.body, Body::TimeoutNow { .. });
            if hands_over && self.faulty && self.random.bool() {
                // Who hands over may be the last to hear that it worked.
                let leader = seat(envelope.from.0);
                (0..self.nodes()).filter(|from| *from != leader).for_each(|from| self.cuts.cut(from, leader));
            }
            if self.cuts.has(seat(envelope.from.0), seat(envelope.to.0)) {
                self.lose_message(&envelope);
            } else {
                self.network.push(envelope);
            }
        }
        let excess = self.network.len().saturating_sub(NETWORK_MAX);
        let lost: Vec<Envelope> = self.network.drain(..excess).collect();
        lost.iter().for_each(|envelope| self.lose_message(envelope));
    }

    /// A message is lost: no link loses anything without breaking, and its sender hears of that, later.
    pub fn lose_message(&mut self, envelope: &Envelope) {
        self.broken.cut(seat(envelope.from.0), seat(envelope.to.0));
    }

    /// Nodes hear of broken links.
    pub fn hear_of_broken_links(&mut self) {
        let broken = std::mem::take(&mut self.broken);
        for (from, to) in broken.links() {
            self.act(from, Input::Unreachable(self.machines[to].id));
        }
    }

    /// Hands a message to whom it is meant for, unless one is not whom the other takes it for.
    pub fn deliver(&mut self, envelope: Envelope, has_room: bool) {
        let to = seat(envelope.to.0);
        let machine = &self.machines[to];
        let meant = machine.incarnation == envelope.to.1;
        let heard = machine.node().is_some_and(|node| node.hears(&envelope, &self.directory));
        if !meant || !heard {
            self.lose_message(&envelope);
        } else {
            self.act(to, if has_room { Input::Deliver(envelope) } else { Input::Refuse(envelope) });
        }
    }

    /// Everything `at` has for `to` goes out.
    pub fn send(&mut self, at: usize, to: usize) {
        let entries_max = self.random.u64(1..6);
        self.act(at, Input::Send { to: self.machines[to].id, entries_max });
    }

    /// New commands are proposed.
    pub fn propose(&mut self, at: usize, count: u64) -> Option<Outcome> {
        let values = (self.next_value..self.next_value + count).collect();
        self.next_value += count;
        self.act(at, Input::Propose(values))
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes()).filter(|at| self.machines[*at].life.is_some()).collect()
    }

    /// The newest configuration that is committed anywhere, and its index.
    #[must_use]
    pub fn committed_roster(&self) -> (usize, Rc<Roster>) {
        let entries = self.ledger.history.iter().enumerate().rev();
        let mut found = entries.filter_map(|(at, entry)| Some((at + 1, Rc::clone(entry.roster.as_ref()?))));
        found.next().unwrap_or_else(|| (0, Rc::clone(&self.founding)))
    }

    /// Nothing of a leader is in doubt: for what must be so at the end.
    pub fn expect(&self, holds: bool, check: &'static str, text: impl FnOnce() -> String) {
        require!(holds, check, "{}", text());
    }
}
