//! What is wrong with the disks of a machine.

use super::machine::Machine;
use super::profile::Profile;
use super::world::World;
use crate::disk::SimDisk;

pub trait Timed {
    fn advance(&self, _now_us: u64) {}
    fn next_due(&self) -> Option<u64> {
        None
    }
    fn abandon(&self) {}
}
impl Timed for SimDisk {}

impl Machine {
    /// Gives the disks of a machine their speed.
    pub fn time_disks(&mut self, _profile: &Profile, _random: &mut fastrand::Rng) {}
}

impl World {
    /// The disks of a machine misbehave for a while.
    pub fn spoil_disks(&mut self, _machine: usize) {}

    /// Bytes on a disk of a machine change.
    pub fn rot(&mut self, _machine: usize) {}

    /// The disks of a machine work as they should.
    pub fn heal_disks(&mut self, _machine: usize) {}
}
