//! After all faults: nothing new is proposed, and yet the cluster must heal. A leader is there, all
//! members hold the same log, the configuration is final, replicas that had lost something stand again,
//! and in the end the group rests. Then it wakes for reads and writes, serves them, and rests again.

use raft::{Index, Role, Standing, Time};

use super::disk::index_of;
use super::graphs::seat;
use super::input::Input;
use super::node::ENTRY_BYTES;
use super::world::World;

const CHECK: &str = "liveness";

/// Within this time after the last fault everything must be well: a lease after the restarts, a few
/// elections, a probe per term and follower, snapshots that are asked for again after a timeout.
const HEALING_US: u64 = 20_000_000;

/// Serving takes round trips, resting takes `quiesce_after`.
const SERVING_US: u64 = 4_000_000;

impl World {
    /// The faults end, but for one node that stays away if a quorum can do without it: the others must
    /// have a leader and commit.
    fn heal_without_one(&mut self) {
        let absent = self.random.usize(..self.nodes());
        let sound = !self.machines.iter().any(|machine| machine.is_unsound());
        if !sound || !self.can_do_without(absent) {
            return;
        }
        self.crash(absent, 0);
        self.heal(Some(absent));
        self.run_until(HEALING_US, |world| world.complaint().is_none());
        if let Some(complaint) = self.complaint() {
            self.expect(false, CHECK, || format!("without n{}: {complaint}", absent + 1));
        }
    }

    /// The faults end, and everybody runs, but for one who may be absent.
    fn heal(&mut self, absent: Option<usize>) {
        self.trace.say(|| format!("{:>9} all faults end", self.now_us));
        self.faulty = false;
        self.cuts.heal();
        (0..self.nodes()).filter(|at| Some(*at) != absent).for_each(|at| self.start(at));
        self.network.append(&mut self.withheld);
        self.hear_of_broken_links();
    }

    /// Everybody does all there is to do, at once.
    fn turn(&mut self) {
        for at in self.running() {
            self.act(at, Input::Install);
            // A write makes promises durable, which may lead to another write.
            for _ in 0..2 {
                self.act(at, Input::Submit);
                self.persist_all(at);
            }
            let node = self.machines[at].node().expect("it runs");
            let (applied, committed) = (node.raft.applied_index(), node.raft.committed());
            if applied < committed {
                self.act(at, Input::Apply(committed));
            }
            self.send_all(at);
        }
    }

    /// Lets the cluster run, with whatever links are cut, until `done`, or for so long.
    pub fn run_until(&mut self, us: u64, done: impl Fn(&World) -> bool) {
        let end = self.now_us + us;
        while self.now_us < end && !done(self) {
            self.turn();
            for envelope in std::mem::take(&mut self.network) {
                self.deliver(envelope, true);
            }
            if self.is_idle() {
                let due = self.next_deadline_us();
                let step = due.saturating_sub(self.now_us).clamp(1_000, 200_000);
                self.pass(step);
            }
        }
    }

    /// Whether nothing can happen before time passes.
    fn is_idle(&self) -> bool {
        let silent = |at: &usize| {
            let node = self.machines[*at].node().expect("it runs");
            let peers = self.machines.iter().map(|machine| machine.id);
            let mut peers = peers.filter(|peer| *peer != node.id);
            node.in_flight() == 0
                && !peers.any(|to| node.raft.has_messages(to) || node.raft.next_append(to).is_some())
        };
        self.network.is_empty() && self.running().iter().all(silent)
    }

    /// The members of the configuration in force at the newest leader.
    fn members(&self) -> Vec<usize> {
        let leader = self.newest_leader();
        let config = leader.and_then(|at| self.machines[at].node()).map(|node| node.raft.config());
        let config = config.unwrap_or_default();
        let member = |at: &usize| config.contains(self.machines[*at].id);
        (0..self.nodes()).filter(member).collect()
    }

    fn newest_leader(&self) -> Option<usize> {
        let leaders = (0..self.nodes()).filter(|at| self.machines[*at].leads());
        leaders.max_by_key(|at| self.machines[*at].node().map(|node| node.raft.term()))
    }

    /// What is not well yet, if anything.
    fn complaint(&self) -> Option<String> {
        let Some(leader) = self.newest_leader().and_then(|at| self.machines[at].node()) else {
            return Some("nobody leads".to_string());
        };
        let raft = &leader.raft;
        if raft.config().is_joint() || !raft.is_config_committed() {
            return Some(format!("{:?} does not become final", raft.config()));
        }
        if !raft.config().is_voter(leader.id) {
            return Some(format!("{} leads and has no vote", leader.id));
        }
        let expected = (raft.term(), Some(leader.id), raft.last(), raft.last(), raft.last());
        for at in self.members() {
            let machine = &self.machines[at];
            let Some(node) = machine.node() else { continue };
            let own = &node.raft;
            let is = (own.term(), own.leader(), own.last(), own.committed(), own.persisted_index());
            if is != expected || own.config() != raft.config() {
                return Some(format!("{} is {is:?}, should be {expected:?}: {:?}", node.id, own.status()));
            }
            if machine.is_unsound() || own.status().standing != Standing::Normal {
                return Some(format!("{} has not recovered: {:?}", node.id, own.status()));
            }
        }
        None
    }

    fn is_at_rest(&self) -> bool {
        let resting = |at: &usize| {
            let node = self.machines[*at].node();
            node.is_some_and(|node| node.raft.is_quiesced() && node.raft.deadline() == Time::NEVER)
        };
        let (members, last) = (self.members(), index_of(self.ledger.history.len()));
        let done = |at: &usize| self.machines[*at].node().is_some_and(|node| node.raft.last() == Index(last));
        !members.is_empty() && members.iter().all(|at| resting(at) && done(at))
    }

    /// Runs until everything is well and, if groups rest, at rest.
    fn settle(&mut self, us: u64, when: &str) {
        let rests = self.profile.quiesce_after.is_some();
        self.run_until(us, |world| {
            world.complaint().is_none() && world.is_idle() && (!rests || world.is_at_rest())
        });
        if let Some(complaint) = self.complaint() {
            self.expect(false, CHECK, || format!("{when}: {complaint}"));
        }
        self.expect(!rests || self.is_at_rest(), CHECK, || {
            let awake = self.members().into_iter().filter_map(|at| self.machines[at].node());
            let awake = awake.filter(|node| !node.raft.is_quiesced());
            format!("{when}: no rest: {:?}", awake.map(|node| node.raft.status()).collect::<Vec<_>>())
        });
    }

    /// The faults have ended: everything must become well, with nothing new proposed, and stay so.
    pub fn assert_heals(&mut self) {
        let committed = self.ledger.history.len();
        if self.random.bool() {
            self.heal_without_one();
        }
        self.heal(None);
        self.settle(HEALING_US, "after healing");
        self.expect(self.ledger.history.len() >= committed.max(1), CHECK, || "history shrank".to_string());
        let leader = self.newest_leader().expect("settled");
        let term = self.machines[leader].node().map(|node| node.raft.term());
        // Rest must not end, nor a good leader be unseated, by the mere passing of time.
        self.run_until(SERVING_US, |_| false);
        let still = self.machines[leader].node().map(|node| (node.raft.term(), node.raft.role()));
        self.expect(still == term.map(|term| (term, Role::Leader)), CHECK, || {
            format!("n{} led {term:?} well and is {still:?} after a while of quiet", leader + 1)
        });
        self.assert_serves(leader);
        self.assert_hands_over(leader);
    }

    /// Leadership goes where it is sent, at once, leases or not.
    fn assert_hands_over(&mut self, leader: usize) {
        let voters = self.machines[leader].node().map(|node| node.raft.config().voters).unwrap_or_default();
        let Some(&to) = voters.iter().find(|voter| **voter != self.machines[leader].id) else { return };
        let outcome = self.act(leader, Input::Transfer(to)).expect("the leader runs");
        self.expect(outcome.refused.is_none(), CHECK, || format!("no transfer: {:?}", outcome.refused));
        self.run_until(SERVING_US, |world| world.machines[seat(to)].leads());
        let now = self.newest_leader();
        self.expect(now == Some(seat(to)), CHECK, || {
            format!("n{} was to hand over to n{to}, and n{:?} leads", leader + 1, now.map(|at| at + 1))
        });
        self.settle(SERVING_US, "after a transfer");
    }

    /// Reads and writes are served: as many bytes as may wait fit, so no quota has leaked.
    fn assert_serves(&mut self, leader: usize) {
        let half = self.profile.uncommitted_max / 2;
        for _ in 0..2 {
            let outcome = self.propose(leader, half).expect("the leader runs");
            self.expect(outcome.refused.is_none(), CHECK, || {
                format!("{half} entries of {ENTRY_BYTES} bytes do not fit: {:?}", outcome.refused)
            });
        }
        let read = self.act(leader, Input::Read).expect("the leader runs");
        self.expect(read.read.is_some(), CHECK, || format!("a read is refused: {:?}", read.refused));
        self.settle(SERVING_US, "after new writes");
        self.expect(self.ledger.reads.waiting() == 0, CHECK, || "a read is never served".to_string());
    }
}
