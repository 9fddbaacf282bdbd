//! A leader's followers, by slot of the configuration in force.

use crate::progress::Progress;

/// Of each slot but the leader's own what is known of the follower there.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    followers: Box<[Progress]>,
    /// The slot that has no follower; beyond all others if the leader is no member.
    own: usize,
}

impl Peers {
    /// For `len` slots. `of` makes what is known of the follower in a slot.
    pub(crate) fn new(len: usize, own: Option<usize>, mut of: impl FnMut(usize) -> Progress) -> Peers {
        let followers = (0..len).filter(|&slot| Some(slot) != own).map(&mut of).collect();
        Peers { followers, own: own.unwrap_or(len) }
    }

    fn at(&self, slot: usize) -> Option<usize> {
        (slot != self.own).then(|| slot - usize::from(slot > self.own))
    }

    fn slot(&self, at: usize) -> usize {
        at + usize::from(at >= self.own)
    }

    /// `None` in the own slot, and beyond the last.
    pub(crate) fn get(&self, slot: usize) -> Option<&Progress> {
        self.followers.get(self.at(slot)?)
    }

    /// See [`Peers::get`].
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Progress> {
        self.followers.get_mut(self.at(slot)?)
    }

    /// Slots and followers, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &Progress)> + Clone {
        self.followers.iter().enumerate().map(|(at, peer)| (self.slot(at), peer))
    }

    /// See [`Peers::iter`].
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Progress)> {
        let own = self.own;
        self.followers.iter_mut().enumerate().map(move |(at, peer)| (at + usize::from(at >= own), peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Index, Time};

    #[test]
    fn every_slot_but_the_own_has_a_follower() {
        for own in [None, Some(0), Some(1), Some(3)] {
            let mut peers = Peers::new(4, own, |slot| Progress::new(Index(slot as u64 + 1), Time(0)));
            for slot in 0..4 {
                let next = (Some(slot) != own).then_some(Index(slot as u64 + 1));
                assert_eq!(peers.get(slot).map(|peer| peer.next), next);
                assert_eq!(peers.get_mut(slot).map(|peer| peer.next), next);
            }
            assert!(peers.get(4).is_none() && peers.get_mut(5).is_none());
            let slots: Vec<usize> = peers.iter().map(|(slot, _)| slot).collect();
            assert_eq!(slots, (0..4).filter(|&slot| Some(slot) != own).collect::<Vec<_>>());
            assert!(peers.iter_mut().all(|(slot, peer)| peer.next == Index(slot as u64 + 1)));
        }
    }
}
