//! A follower as its leader knows it: how far it is, how it is fed, and what it is owed.

use smallvec::SmallVec;

use crate::event::FollowerState;
use crate::id::{EntryId, Index, Time};

/// How a follower is fed (thesis 10.2.1 and 3.5; the three states are etcd's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Looks for the place where the logs agree. While `waiting`, the last append is unanswered.
    Probe { waiting: bool },
    /// Sends ahead of the acks.
    Replicate,
    /// Lacks what is compacted.
    Snapshot(Box<Offer>),
}

/// How far a follower is from getting a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// When the shard was last asked for one.
    pub(crate) asked: Option<Time>,
    /// The one it named.
    pub(crate) offered: Option<EntryId>,
}

/// The window is kept in about this many heaps of appends, so that it needs little memory; of a window of fewer
/// appends each is its own heap.
const HEAPS: u32 = 8;

/// Appends that were sent one after the other.
#[derive(Clone, Copy, Debug)]
struct Heap {
    /// The last index of the last of them.
    last: Index,
    bytes: u32,
    appends: u32,
}

/// Appends sent and not acked. Emptied whenever the flow changes, so nothing can leak.
#[derive(Clone, Debug, Default)]
struct Inflight {
    heaps: SmallVec<[Heap; 2]>,
    bytes: u64,
    appends: u32,
}

impl Inflight {
    fn push(&mut self, last: Index, bytes: u32, window: Window) {
        self.bytes += u64::from(bytes);
        self.appends += 1;
        if let Some(heap) = self.heaps.last_mut()
            && heap.appends < window.appends_max / HEAPS
            && let Some(sum) = heap.bytes.checked_add(bytes)
            && u64::from(sum) <= window.bytes_max / u64::from(HEAPS)
        {
            *heap = Heap { last, bytes: sum, appends: heap.appends + 1 };
        } else {
            self.heaps.push(Heap { last, bytes, appends: 1 });
        }
    }

    /// Everything up to `matched` arrived. A heap goes when the last of it did.
    fn release(&mut self, matched: Index) {
        if self.heaps.last().is_some_and(|heap| heap.last <= matched) {
            self.clear();
        }
        while let Some(&heap) = self.heaps.first()
            && heap.last <= matched
        {
            self.heaps.remove(0);
            self.bytes -= u64::from(heap.bytes);
            self.appends -= heap.appends;
        }
    }

    fn clear(&mut self) {
        self.heaps.clear();
        (self.bytes, self.appends) = (0, 0);
    }
}

/// How much may be sent ahead of the acks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) appends_max: u32,
    pub(crate) bytes_max: u64,
}

/// One follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) flow: Flow,
    /// The newest index known to be durable there and equal to the leader's.
    pub(crate) matched: Index,
    /// The next index to send; always beyond `matched`.
    pub(crate) next: Index,
    inflight: Inflight,
    /// When it was last heard, and last sent anything.
    pub(crate) heard: Time,
    pub(crate) sent: Time,
    pub(crate) round_sent: u64,
    pub(crate) round_acked: u64,
    pub(crate) commit_sent: Index,
    /// Owed: a beat; an append without entries, which also finds out what got lost; an offer.
    pub(crate) beat_due: bool,
    pub(crate) empty_append_due: bool,
    pub(crate) offer_due: bool,
    /// Its standing is normal, as its newest ack says.
    pub(crate) stands: bool,
    /// It is to be told that the group rests.
    pub(crate) quiesce_due: bool,
    /// It asked how far it has to come after a loss, under this number.
    pub(crate) floor_due: Option<u64>,
    /// The send time of the newest round that it acknowledged with a promise to the lease.
    pub(crate) lease_from: Time,
}

impl Progress {
    /// A new leader assumes that everybody has what it has, and probes.
    pub(crate) fn new(next: Index, now: Time) -> Progress {
        Progress {
            flow: Flow::Probe { waiting: false },
            matched: Index::ZERO,
            next,
            inflight: Inflight::default(),
            heard: now,
            sent: now,
            round_sent: 0,
            round_acked: 0,
            commit_sent: Index::ZERO,
            beat_due: false,
            empty_append_due: false,
            offer_due: false,
            stands: false,
            quiesce_due: false,
            floor_due: None,
            lease_from: Time(0),
        }
    }

    /// Gives back memory that a resting group does not need.
    pub(crate) fn shrink(&mut self) {
        self.inflight.heaps.shrink_to_fit();
    }

    /// Whether it has everything up to `last`, knows that, and nothing is on its way to it.
    pub(crate) fn is_settled(&self, last: Index) -> bool {
        self.flow == Flow::Replicate
            && self.matched == last
            && self.commit_sent >= last
            && self.inflight.heaps.is_empty()
    }

    fn enter(&mut self, flow: Flow, next: Index) {
        self.flow = flow;
        self.next = next.max(self.matched.next());
        if !mutant!(InflightLeaks) {
            self.inflight.clear();
        }
        self.empty_append_due = false;
        self.offer_due = false;
    }

    /// Back to asking, at `next` or what is known to match, whichever is later.
    pub(crate) fn probe_at(&mut self, next: Index, waiting: bool) {
        self.enter(Flow::Probe { waiting }, next);
    }

    /// Needs a snapshot; nothing is sent but beats until then.
    pub(crate) fn enter_snapshot(&mut self) {
        self.enter(Flow::Snapshot(Box::default()), self.next);
    }

    /// Whether an append with entries may go out, if there are entries.
    pub(crate) fn may_send(&self, window: Window) -> bool {
        match self.flow {
            Flow::Probe { waiting } => !waiting,
            Flow::Replicate => {
                self.inflight.appends < window.appends_max && self.inflight.bytes < window.bytes_max
            }
            Flow::Snapshot(_) => false,
        }
    }

    /// Whether an append without entries is owed: because beats ask for one, or because a probe has
    /// no entry to ask with.
    pub(crate) fn owes_empty_append(&self, last: Index) -> bool {
        match self.flow {
            Flow::Probe { waiting: false } => self.empty_append_due || self.next > last,
            Flow::Probe { waiting: true } | Flow::Replicate => self.empty_append_due,
            Flow::Snapshot(_) => false,
        }
    }

    /// The snapshot to offer, if one is owed.
    pub(crate) fn offer(&self) -> Option<EntryId> {
        match &self.flow {
            Flow::Snapshot(offer) if self.offer_due => offer.offered,
            _ => None,
        }
    }

    pub(crate) fn inflight_bytes(&self) -> u64 {
        self.inflight.bytes
    }

    /// Entries up to `last` went out, or none if `last` is before `next`.
    pub(crate) fn append_sent(&mut self, last: Index, bytes: u32, window: Window) {
        self.empty_append_due = false;
        match &mut self.flow {
            Flow::Probe { waiting } => *waiting = true,
            Flow::Replicate if last >= self.next => {
                self.inflight.push(last, bytes, window);
                self.next = last.next();
            }
            Flow::Replicate | Flow::Snapshot(_) => {}
        }
    }

    /// Any message went out, carrying these.
    pub(crate) fn message_sent(&mut self, now: Time, commit: Index, round: u64) {
        self.sent = now;
        self.commit_sent = self.commit_sent.max(commit);
        self.round_sent = round;
        self.beat_due = false;
    }

    /// It holds everything up to `matched`. Late and repeated acks change nothing. Returns whether
    /// this was news.
    pub(crate) fn acked(&mut self, matched: Index, compacted: Index) -> bool {
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match self.flow {
            Flow::Replicate => self.inflight.release(matched),
            Flow::Probe { .. } if news || matched == self.next.previous() => {
                self.enter(Flow::Replicate, self.matched.next());
            }
            Flow::Snapshot(ref offer)
                if self.matched >= compacted
                    && (!mutant!(SnapshotAcksMustMatch)
                        || offer.offered.is_some_and(|id| id.index == matched)) =>
            {
                self.enter(Flow::Replicate, self.matched.next());
            }
            Flow::Snapshot(ref offer) if offer.offered.is_some_and(|id| self.matched >= id.index) => {
                // It has what was offered, and still less than the log begins with: another one.
                self.enter_snapshot();
            }
            Flow::Probe { .. } | Flow::Snapshot(_) => {}
        }
        news
    }

    /// It did not find the entry at `probe`. `agree` is the newest entry of the leader's log that the
    /// follower's hint does not rule out. Rejections of old appends change nothing.
    pub(crate) fn rejected(&mut self, probe: Index, agree: Index) {
        match self.flow {
            _ if probe <= self.matched => {}
            Flow::Replicate => self.probe_at(self.matched.next(), false),
            Flow::Probe { .. } if probe == self.next.previous() => {
                // Next falls below what was refused, whatever the hint says: each answer is progress.
                self.probe_at(agree.next().min(probe), false);
            }
            Flow::Probe { .. } | Flow::Snapshot(_) => {}
        }
    }

    /// It took no append of this leader yet: it has forgotten those it took, or they are on their way.
    pub(crate) fn unproven(&mut self) {
        if self.flow == Flow::Replicate {
            self.probe_at(self.matched.next(), false);
        }
    }

    /// It has no room: ask again at the next beat.
    pub(crate) fn busy(&mut self) {
        match self.flow {
            Flow::Replicate => self.probe_at(self.matched.next(), true),
            Flow::Probe { .. } => self.probe_at(self.next, true),
            Flow::Snapshot(_) => {}
        }
    }

    /// What was sent may be lost, and what is owed may be repeated.
    pub(crate) fn unreachable(&mut self) {
        match &self.flow {
            Flow::Snapshot(offer) => self.offer_due = offer.offered.is_some(),
            Flow::Replicate => self.probe_at(self.matched.next(), false),
            // What matches is not known yet: going on asking where the search is, not at the start.
            Flow::Probe { .. } => self.probe_at(self.next, false),
        }
        self.round_sent = 0;
    }

    /// A beat's moment has come. Owes something if nothing else was sent for an interval or the
    /// follower has not heard of the newest commit.
    pub(crate) fn beat(&mut self, silent: bool, commit: Index) {
        if !silent && self.commit_sent >= commit {
            return;
        }
        match self.flow {
            Flow::Probe { ref mut waiting } if silent && !mutant!(ProbesOnce) => {
                *waiting = false;
                self.empty_append_due = true;
            }
            Flow::Replicate if silent && !self.inflight.heaps.is_empty() => self.empty_append_due = true,
            _ => self.beat_due = true,
        }
    }

    pub(crate) fn state(&self) -> FollowerState {
        match self.flow {
            Flow::Probe { .. } => FollowerState::Probe,
            Flow::Replicate => FollowerState::Replicate,
            Flow::Snapshot(_) => FollowerState::Snapshot,
        }
    }
}
