//! A random life: one thing after another, and now and then a storm or a lull.

use raft::{EntryId, Index};

use super::disk::index_of;
use super::graphs::{Cuts, NODES_MAX};
use super::input::Input;
use super::world::World;

/// No more messages than these come very late.
const WITHHELD_MAX: usize = 64;

impl World {
    /// One random thing happens.
    pub fn chaos(&mut self) {
        let at = self.random.usize(..self.nodes());
        let other = self.random.usize(..self.nodes());
        match self.random.u32(..1000) {
            0..280 => self.send(at, other),
            280..580 => self.network_moves(),
            580..670 => drop(self.act(at, Input::Submit)),
            670..770 => drop(self.act(at, Input::Persist)),
            770..800 => self.apply(at),
            800..860 => {
                let count = self.random.u64(1..5);
                self.propose(at, count);
            }
            860..890 => drop(self.act(at, Input::Read)),
            890..940 => {
                let jump = if self.random.u8(..100) < self.profile.restless { 1500 } else { 150 };
                let ms = self.random.u64(..jump);
                self.pass(ms * 1000);
            }
            940..950 => {
                let survive = self.random.usize(..3);
                self.crash(at, survive);
            }
            950..970 => self.start(at),
            970..980 => self.compact(at),
            980..1000 => self.rare(at, other),
            _ => {}
        }
    }

    fn rare(&mut self, at: usize, other: usize) {
        let peer = self.machines[other].id;
        match self.random.u8(..22) {
            0..3 => drop(self.act(at, Input::Campaign)),
            3..6 => drop(self.act(at, Input::Transfer(peer))),
            6..8 => drop(self.act(at, Input::Unreachable(peer))),
            8..10 => self.cuts.cut(at, other),
            10..12 => self.cuts.heal(),
            12..14 => self.end_snapshot(at, other),
            14..17 => drop(self.act(at, Input::Install)),
            17 => drop(self.act(at, Input::Decline)),
            18 => self.mishandle_disk(at),
            19 => drop(self.act(at, Input::PeerLost(peer))),
            _ => self.operate(),
        }
    }

    /// An operator's step, at the leader if there is one.
    fn operate(&mut self) {
        if self.random.u8(..100) < self.profile.moving
            && let Some(leader) = self.some_leader()
        {
            self.change_members(leader);
        }
    }

    /// A message arrives, late or in time, is lost, or doubled.
    fn network_moves(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let in_order = self.random.u8(..4) > 0;
        let place = if in_order { 0 } else { self.random.usize(..self.network.len()) };
        match self.random.u8(..20) {
            0 => {
                let envelope = self.network.remove(place);
                self.lose_message(&envelope);
            }
            1 => self.network.push(self.network[place].clone()),
            _ => {
                let envelope = self.network.remove(place);
                let has_room = self.random.u8(..40) > 0;
                self.deliver(envelope, has_room);
            }
        }
    }

    fn apply(&mut self, at: usize) {
        let Some(node) = self.machines[at].node() else { return };
        let (from, to) = (node.raft.applied_index().0, node.raft.committed().0);
        if from < to {
            let upto = self.random.u64(from + 1..=to);
            self.act(at, Input::Apply(Index(upto)));
        }
    }

    fn compact(&mut self, at: usize) {
        let to = self.random.u64(..20) + index_of(self.ledger.history.len().saturating_sub(10));
        self.act(at, Input::Compact(Index(to)));
    }

    /// The sending of a snapshot ends, well only if the follower really has it.
    fn end_snapshot(&mut self, at: usize, to: usize) {
        let Some(id) = self.machines[at].node().map(|node| node.log.compacted) else { return };
        let has = self.machines[to].disk.log.compacted;
        let to = self.machines[to].id;
        if id != EntryId::ZERO {
            self.act(at, Input::SnapshotSent { to, id, ok: has.index >= id.index });
        }
    }

    /// Cuts the network: in two, or in some crooked way that leaves a quorum connected.
    fn cut_for_a_storm(&mut self) {
        let (side, crooked) = (self.random.u32(..), self.random.bool());
        let draw = self.random.u64(..) & self.random.u64(..);
        self.cuts = Cuts::default();
        for from in 0..self.nodes() {
            for to in 0..self.nodes() {
                let apart = side >> from & 1 != side >> to & 1;
                let chosen = draw >> (from * NODES_MAX + to) & 1 == 1;
                if from != to && if crooked { chosen } else { apart } {
                    self.cuts.cut(from, to);
                }
            }
        }
    }

    /// A storm: the network is cut, some disks hardly answer, some messages come very late, and
    /// everybody is busy. Leaders come and go on both sides, and logs grow apart.
    pub fn storm(&mut self) {
        self.cut_for_a_storm();
        let slow = self.random.u32(..) & self.random.u32(..);
        let late = [0, 8, 60][self.random.usize(..3)];
        let lost = [5, 5, 60][self.random.usize(..3)];
        let end = self.now_us + self.random.u64(300..4000) * 1000;
        while self.now_us < end {
            for at in 0..self.nodes() {
                let persists = slow >> at & 1 == 0 || self.random.u8(..30) == 0;
                self.busy_turn(at, persists);
            }
            self.deliver_some(lost, late);
            if self.random.u8(..8) == 0 {
                self.operate();
            }
            if self.random.u8(..20) == 0 {
                self.hand_over();
            }
            let us = self.random.u64(..100) * 1000;
            self.pass(us);
        }
        self.crash_some();
        if self.random.bool() {
            self.cuts.heal();
        }
    }

    /// A lull: nobody wants anything, so the group comes to rest, while links fail one way and nodes
    /// stop and start.
    pub fn lull(&mut self) {
        let end = self.now_us + self.random.u64(1000..6000) * 1000;
        if self.random.bool() {
            self.cuts.heal();
        }
        while self.now_us < end {
            for at in 0..self.nodes() {
                self.act(at, Input::Submit);
                self.persist_all(at);
                self.apply(at);
                self.send_all(at);
            }
            self.deliver_some(5, 0);
            match self.random.u8(..120) {
                0 => self.crash_some(),
                1..4 => {
                    let (from, to) = (self.random.usize(..self.nodes()), self.random.usize(..self.nodes()));
                    self.cuts.cut(from, to);
                }
                4 => self.cuts.heal(),
                _ => {}
            }
            let us = self.random.u64(..150) * 1000;
            self.pass(us);
        }
    }

    /// Of 256 messages on their way `lost` are lost, `late` get stuck, for about a second, and the rest
    /// arrives.
    fn deliver_some(&mut self, lost: u8, late: u8) {
        for envelope in std::mem::take(&mut self.withheld) {
            let freed = self.random.u8(..16) == 0;
            if freed { self.network.push(envelope) } else { self.withheld.push(envelope) }
        }
        for envelope in std::mem::take(&mut self.network) {
            if self.random.u8(..) < lost {
                self.lose_message(&envelope);
            } else if self.random.u8(..) < late && self.withheld.len() < WITHHELD_MAX {
                self.withheld.push(envelope);
            } else {
                self.deliver(envelope, true);
            }
        }
    }

    fn crash_some(&mut self) {
        for at in 0..self.nodes() {
            match self.random.u8(..9) {
                0 | 1 => self.crash(at, 1),
                2 => self.crash(at, 0),
                3 => {}
                _ => self.start(at),
            }
        }
    }

    /// Some leader is asked to hand over to somebody.
    fn hand_over(&mut self) {
        let to = self.machines[self.random.usize(..self.nodes())].id;
        if let Some(leader) = self.some_leader() {
            self.act(leader, Input::Transfer(to));
        }
    }

    fn some_leader(&mut self) -> Option<usize> {
        let leaders: Vec<usize> = (0..self.nodes()).filter(|at| self.machines[*at].leads()).collect();
        (!leaders.is_empty()).then(|| leaders[self.random.usize(..leaders.len())])
    }

    /// What a shard does in one turn, with some chance left.
    fn busy_turn(&mut self, at: usize, persists: bool) {
        if self.machines[at].life.is_none() {
            return;
        }
        if self.random.u8(..8) == 0 {
            self.act(at, Input::Install);
        }
        if self.random.u8(..4) > 0 {
            self.act(at, Input::Submit);
        }
        if persists {
            self.persist_all(at);
        }
        self.apply(at);
        if self.random.u8(..6) == 0 {
            let count = self.random.u64(1..5);
            self.propose(at, count);
        }
        if self.random.u8(..30) == 0 {
            self.compact(at);
        }
        if self.random.u8(..6) == 0 {
            self.act(at, Input::Read);
        }
        self.send_all(at);
    }

    /// All batches in flight are durable.
    pub fn persist_all(&mut self, at: usize) {
        let in_flight = self.machines[at].node().map_or(0, |node| node.in_flight());
        (0..in_flight).for_each(|_| drop(self.act(at, Input::Persist)));
    }

    /// Everybody gets what there is for him.
    pub fn send_all(&mut self, at: usize) {
        let Some(node) = self.machines[at].node() else { return };
        let raft = &node.raft;
        let due = |to: &usize| {
            let peer = self.machines[*to].id;
            raft.has_messages(peer) || raft.next_append(peer).is_some()
        };
        let due: Vec<usize> = (0..self.nodes()).filter(due).collect();
        due.into_iter().for_each(|to| self.send(at, to));
    }
}
