//! What is wrong with links now.

use std::collections::BTreeSet;

use super::profile::{Links, Profile};
use super::world::World;

/// Something that began and will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spell {
    /// A partition, by number: a newer one is not ended by an older one's end.
    Partition(u64),
    /// A machine's disks misbehave.
    Disk(usize),
}

/// The state of all links between machines.
pub struct Weather {
    links: Links,
    /// By sender and receiver: cut.
    cut: Vec<Vec<bool>>,
    /// By sender and receiver: so many microseconds slower.
    slow_us: Vec<Vec<u64>>,
    /// The newest partition.
    pub partition: u64,
    /// Until then somebody who leads is deaf, and nothing else befalls the links.
    pub deaf_until: u64,
    /// Elections against living leaders that were thought about already.
    pub deposed: BTreeSet<(raft::GroupId, raft::Term)>,
}

impl Weather {
    /// Fair weather.
    pub fn new(profile: &Profile) -> Weather {
        let count = usize::from(profile.founders + profile.spares);
        Weather {
            links: profile.links,
            cut: vec![vec![false; count]; count],
            slow_us: vec![vec![0; count]; count],
            partition: 0,
            deaf_until: 0,
            deposed: BTreeSet::new(),
        }
    }

    /// Whether nothing passes from one machine to another. Clients, who are on no machine, are never cut off.
    pub fn is_cut(&self, from: Option<usize>, to: Option<usize>) -> bool {
        from.zip(to).is_some_and(|(from, to)| self.cut[from][to])
    }

    /// Cuts the links for which `is_cut` says so, by sender and receiver, and heals all others.
    pub fn cut(&mut self, is_cut: impl Fn(usize, usize) -> bool) {
        for (from, row) in self.cut.iter_mut().enumerate() {
            for (to, cut) in row.iter_mut().enumerate() {
                *cut = from != to && is_cut(from, to);
            }
        }
    }

    /// Makes the links slower by `slower_us(from, to)`.
    pub fn slow(&mut self, slower_us: impl Fn(usize, usize) -> u64) {
        for (from, row) in self.slow_us.iter_mut().enumerate() {
            for (to, slow) in row.iter_mut().enumerate() {
                *slow = slower_us(from, to);
            }
        }
    }

    /// Ends everything.
    pub fn clear(&mut self) {
        self.cut(|_, _| false);
        self.slow(|_, _| 0);
    }
}

impl World {
    /// How long a packet takes.
    pub fn delay_us(&mut self, from: Option<usize>, to: Option<usize>) -> u64 {
        let links = self.weather.links;
        let slow_us = from.zip(to).map_or(0, |(from, to)| self.weather.slow_us[from][to]);
        let jitter_us = if links.jitter_us == 0 { 0 } else { self.random.u64(..=2 * links.jitter_us) };
        links.delay_us + jitter_us + slow_us
    }

    /// A spell is over.
    pub fn clear(&mut self, spell: Spell) {
        match spell {
            Spell::Partition(number) if number == self.weather.partition => {
                self.say(|| "the network is whole again".into());
                self.weather.clear();
            }
            Spell::Partition(_) => {}
            Spell::Disk(machine) => self.heal_disks(machine),
        }
    }
}
