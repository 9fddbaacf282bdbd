//! Time, and who vouches for groups at rest: every shard sends every other one beat per 100 ms, with
//! its boot number, as long as its log is not stuck. Who hears none for an election timeout, or hears
//! another boot number, tells its replicas.

use super::input::Input;
use super::spec::micros;
use super::world::World;

impl World {
    /// Time passes; timers fire that are due, and some that are not. A node without a timer does not
    /// learn what time it is.
    pub fn pass(&mut self, us: u64) {
        self.now_us += us;
        self.hear_shards();
        for at in 0..self.nodes() {
            let machine = &self.machines[at];
            let now = machine.clock.read(self.now_us);
            let due = machine.node().is_some_and(|node| node.raft.deadline() <= now);
            if due || (self.faulty && self.random.u8(..8) == 0) {
                self.act(at, Input::Tick);
            }
        }
    }

    /// Whether the shard of `from` speaks for its groups: it runs and its log moves.
    fn vouches(&self, from: usize) -> bool {
        let machine = &self.machines[from];
        let now = machine.clock.read(self.now_us);
        machine.node().is_some_and(|node| {
            let stuck = node.waits_since().map(|since| micros(now.saturating_sub(since)));
            stuck.is_none_or(|us| us < micros(machine.settings.election_timeout_min) / 2)
        })
    }

    /// The beats of shards since the last time arrive, or do not.
    pub fn hear_shards(&mut self) {
        if self.random.u8(..4) == 0 {
            self.hear_of_broken_links();
        }
        for from in 0..self.nodes() {
            let vouched = self.vouches(from);
            for at in (0..self.nodes()).filter(|at| *at != from) {
                if self.cuts.has(from, at) {
                    self.broken.cut(from, at);
                }
                if self.machines[at].life.is_some() {
                    self.hear_shard(at, from, vouched && !self.cuts.has(from, at));
                }
            }
        }
    }

    fn hear_shard(&mut self, at: usize, from: usize, arrives: bool) {
        let (boot, peer) = (self.machines[from].boot, self.machines[from].id);
        let machine = &mut self.machines[at];
        let now = machine.clock.read(self.now_us);
        let known = machine.heard[from];
        let lost = match known {
            Some((_, before)) if arrives => before != boot,
            Some((heard, _)) => now.saturating_sub(heard) >= machine.settings.election_timeout_min,
            None => false,
        };
        if arrives || lost || known.is_none() {
            // Who stays silent is told lost again after another timeout.
            let told = if arrives { boot } else { known.map_or(boot, |(_, before)| before) };
            machine.heard[from] = Some((now, told));
        }
        if lost {
            self.act(at, Input::PeerLost(peer));
        }
    }

    /// The next moment at which a node that runs has something to do by itself, in true microseconds.
    #[must_use]
    pub fn next_deadline_us(&self) -> u64 {
        let due = self.machines.iter().filter_map(|machine| {
            let deadline = machine.node()?.raft.deadline();
            (deadline != raft::Time::NEVER).then(|| machine.clock.when(deadline))
        });
        due.min().unwrap_or(u64::MAX)
    }
}
