//! Whether the shards of other nodes live, for all groups at once: what lets a group at rest cost nothing (design 4).
//!
//! A group at rest sends no beats of its own; the shards of its members beat for all their groups together, over each
//! link, 100 ms apart. A shard vouches only for itself, and only while its disk answers: a leader that cannot write is
//! no leader to wait for (raftcores bug 24: a hung disk). Whoever rests on a shard that is silent, does not vouch, or
//! was started anew (it may have forgotten that it led) is woken.

use std::collections::VecDeque;
use std::time::Duration;

use raft::Time;
use raftlog::BatchSeq;

use crate::wire::Beat;

/// Batches whose start is remembered: the oldest decides, so later ones may be left out.
const BATCHES_MAX: usize = 64;

/// What one shard knows of the shards at the other ends of its links, by the numbers of the links.
pub(super) struct Liveness {
    silence_max: Duration,
    peers: Vec<Peer>,
}

/// One peer's shard.
#[derive(Clone, Copy)]
struct Peer {
    /// The start of its node that was heard last; 0: none yet.
    boot: u64,
    /// When it vouched for itself last.
    vouched: Time,
    /// Nothing rests on it: it was given up, or was never heard.
    lost: bool,
    /// It said that it should not be made to lead.
    is_unfit: bool,
}

const UNKNOWN: Peer = Peer { boot: 0, vouched: Time(0), lost: true, is_unfit: false };

impl Liveness {
    /// A peer's shard is lost after `silence_max` without a beat that vouches.
    pub(super) fn new(silence_max: Duration) -> Liveness {
        Liveness { silence_max, peers: Vec::new() }
    }

    fn peer(&mut self, link: usize) -> &mut Peer {
        if self.peers.len() <= link {
            self.peers.resize(link + 1, UNKNOWN);
        }
        &mut self.peers[link]
    }

    /// A connection is up, and the peer's greeting names its start. True: it is another one than before, so what rests
    /// on the peer must wake. A connection vouches for nothing, except that the first one gives the peer its time.
    pub(super) fn connected(&mut self, link: usize, now: Time, boot: u64) -> bool {
        let peer = self.peer(link);
        if peer.boot == 0 {
            *peer = Peer { boot, vouched: now, lost: false, ..UNKNOWN };
            return false;
        }
        std::mem::replace(&mut peer.boot, boot) != boot
    }

    /// A beat came. True: it is of another start than the last one.
    pub(super) fn heard(&mut self, link: usize, now: Time, beat: Beat) -> bool {
        let peer = self.peer(link);
        if beat.vouches {
            (peer.vouched, peer.lost) = (now, false);
        }
        peer.is_unfit = beat.is_unfit;
        let before = std::mem::replace(&mut peer.boot, beat.boot);
        before != 0 && before != beat.boot
    }

    /// A link whose peer is lost as of now, each once until it vouches again.
    pub(super) fn take_silent(&mut self, now: Time) -> Option<usize> {
        let silent = |peer: &Peer| !peer.lost && now.saturating_sub(peer.vouched) >= self.silence_max;
        let link = self.peers.iter().position(silent)?;
        self.peers[link].lost = true;
        Some(link)
    }

    /// Whether nothing may rest on the peer of this link.
    pub(super) fn is_lost(&self, link: usize) -> bool {
        self.peers.get(link).is_none_or(|peer| peer.lost)
    }

    /// Whether the peer of this link said last that it should not be made to lead.
    pub(super) fn is_unfit(&self, link: usize) -> bool {
        self.peers.get(link).is_some_and(|peer| peer.is_unfit)
    }

    /// The link is another peer's from now on.
    pub(super) fn forget(&mut self, link: usize) {
        *self.peer(link) = UNKNOWN;
    }
}

/// How long the log's batches have been under way: what a shard's vouching is about.
pub(super) struct BatchClock {
    pending: VecDeque<(BatchSeq, Time)>,
    newest: BatchSeq,
}

impl BatchClock {
    /// Everything up to and with `durable` is on disk.
    pub(super) fn new(durable: BatchSeq) -> BatchClock {
        BatchClock { pending: VecDeque::new(), newest: durable }
    }

    /// The turn ended with `batch` as the newest that was handed to the log.
    pub(super) fn submitted(&mut self, now: Time, batch: BatchSeq) {
        if batch > self.newest && self.pending.len() < BATCHES_MAX {
            self.newest = batch;
            self.pending.push_back((batch, now));
        }
    }

    /// Everything up to and with `batch` is on disk.
    pub(super) fn durable(&mut self, batch: BatchSeq) {
        while self.pending.front().is_some_and(|(pending, _)| *pending <= batch) {
            self.pending.pop_front();
        }
    }

    /// Whether no batch has been under way for `time_max`.
    pub(super) fn vouches(&self, now: Time, time_max: Duration) -> bool {
        self.pending.front().is_none_or(|(_, since)| now.saturating_sub(*since) < time_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    const SILENCE_MAX: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time(5_000_000 + millis * 1000)
    }

    fn beat(boot: u64, vouches: bool) -> Beat {
        Beat { boot, vouches, is_unfit: false }
    }

    fn silent(liveness: &mut Liveness, millis: u64) -> Vec<usize> {
        std::iter::from_fn(|| liveness.take_silent(at(millis))).collect()
    }

    #[test]
    fn silence_is_noticed_once_per_peer() {
        let mut liveness = Liveness::new(SILENCE_MAX);
        for link in [0, 2] {
            assert!(!liveness.connected(link, at(0), 7), "the first start is no news");
            assert!(!liveness.heard(link, at(100), beat(7, true)));
        }
        assert!(liveness.is_lost(1) && liveness.is_lost(9), "nobody was heard there");
        assert_eq!(silent(&mut liveness, 1099), NONE);
        assert!(!liveness.heard(2, at(1099), beat(7, true)));
        assert_eq!(silent(&mut liveness, 1100), [0]);
        assert!(liveness.is_lost(0) && !liveness.is_lost(2));
        assert_eq!(silent(&mut liveness, 2098), NONE, "link 0 was given up already");
        assert_eq!(silent(&mut liveness, 9000), [2]);
        // Back, and lost again.
        assert!(!liveness.heard(0, at(9000), beat(7, true)));
        assert!(!liveness.is_lost(0));
        assert_eq!(silent(&mut liveness, 10_000), [0]);
    }

    #[test]
    fn beats_that_do_not_vouch_are_no_sign_of_life() {
        let mut liveness = Liveness::new(SILENCE_MAX);
        liveness.connected(0, at(0), 1);
        for tick in 1..10 {
            liveness.heard(0, at(tick * 100), beat(1, false));
            assert_eq!(silent(&mut liveness, tick * 100), NONE);
        }
        assert_eq!(silent(&mut liveness, 1000), [0]);
        liveness.heard(0, at(1100), beat(1, false));
        assert!(liveness.is_lost(0));
        liveness.heard(0, at(1200), beat(1, true));
        assert!(!liveness.is_lost(0));
    }

    #[test]
    fn a_new_start_is_noticed_by_greeting_or_beat_and_a_connection_vouches_for_nothing() {
        let mut liveness = Liveness::new(SILENCE_MAX);
        liveness.connected(0, at(0), 1);
        liveness.heard(0, at(0), beat(1, true));
        assert!(!liveness.connected(0, at(500), 1), "only the cable broke");
        assert!(liveness.connected(0, at(600), 2));
        assert!(!liveness.connected(0, at(700), 2));
        assert_eq!(silent(&mut liveness, 1000), [0], "however often it connects");
        liveness.heard(0, at(1100), beat(2, true));
        assert!(liveness.heard(0, at(1200), beat(3, true)));
        assert!(!liveness.heard(0, at(1300), beat(3, true)));
        assert!(!liveness.is_unfit(0) && !liveness.is_unfit(7));
        liveness.heard(0, at(1350), Beat { is_unfit: true, ..beat(3, true) });
        assert!(liveness.is_unfit(0));
        liveness.forget(0);
        assert!(liveness.is_lost(0) && !liveness.is_unfit(0));
        assert!(!liveness.connected(0, at(1400), 9), "another peer");
    }

    #[test]
    fn a_shard_vouches_while_its_disk_answers() {
        let mut clock = BatchClock::new(BatchSeq(10));
        let vouches = |clock: &BatchClock, millis| clock.vouches(at(millis), SILENCE_MAX / 2);
        assert!(vouches(&clock, 0) && vouches(&clock, 100_000), "nothing is under way");
        clock.submitted(at(0), BatchSeq(10));
        assert!(vouches(&clock, 100_000), "that one was durable before");
        clock.submitted(at(1000), BatchSeq(11));
        clock.submitted(at(1200), BatchSeq(12));
        clock.submitted(at(1400), BatchSeq(12));
        assert!(vouches(&clock, 1499) && !vouches(&clock, 1500));
        clock.durable(BatchSeq(11));
        assert!(vouches(&clock, 1699) && !vouches(&clock, 1700), "the next one decides");
        clock.durable(BatchSeq(12));
        assert!(vouches(&clock, 100_000));
        for batch in 13..1000 {
            clock.submitted(at(2000), BatchSeq(batch));
        }
        assert_eq!(clock.pending.len(), BATCHES_MAX);
        clock.durable(BatchSeq(999));
        clock.submitted(at(3000), BatchSeq(1000));
        assert!(!vouches(&clock, 3500), "what was left out does not hide what comes later");
    }
}
